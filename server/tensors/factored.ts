/** Matrices kept as two thin factors, and their exact singular value decomposition. */
import { Matrix, QrDecomposition, SingularValueDecomposition } from "ml-matrix";

export interface FactoredMatrix {
  /** `[dOut, rank]` */
  readonly left: Float32Array;
  /** `[rank, dIn]` */
  readonly right: Float32Array;
  readonly dOut: number;
  readonly dIn: number;
  readonly rank: number;
  readonly scale: number;
}

export function factoredSvd(m: FactoredMatrix): { u: Float32Array; s: Float64Array; vt: Float32Array } {
  const left = Matrix.from1DArray(m.dOut, m.rank, m.left);
  const right = Matrix.from1DArray(m.rank, m.dIn, m.right);
  const qb = new QrDecomposition(left);
  const qa = new QrDecomposition(right.transpose());
  const core = qb.upperTriangularMatrix.mmul(qa.upperTriangularMatrix.transpose()).mul(m.scale);
  const svd = new SingularValueDecomposition(core, { autoTranspose: true });
  return { u: Float32Array.from(qb.orthogonalMatrix.mmul(svd.leftSingularVectors).to1DArray()), s: Float64Array.from(svd.diagonal), vt: Float32Array.from(qa.orthogonalMatrix.mmul(svd.rightSingularVectors).transpose().to1DArray()) };
}
