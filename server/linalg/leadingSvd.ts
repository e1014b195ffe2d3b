/**
 * The leading singular triplets of a dense matrix in float64, on this thread, to full precision.
 * 1. Many triplets: the eigenvectors of AᵀA (or AAᵀ, whichever is smaller), formed once.
 * 2. Few: Lanczos with full reorthogonalisation on that product, applied by A and Aᵀ, from a fixed start, until the wanted pairs have settled.
 * 3. The other side's vectors are A v / σ, made orthonormal again, so that small and zero values have vectors too.
 * @see Golub & Van Loan, "Matrix Computations", 10.1 and 10.4; Parlett, "The Symmetric Eigenvalue Problem", 13
 */
import { WorkbenchError } from "../errors.ts";
import { orthonormalRows } from "./qr.ts";
import { gramMatrix } from "./tallMatrix.ts";
import { Lanczos, randomUnit } from "./lanczos.ts";
import { timesColumns, timesRows } from "./products.ts";
import { randomStream } from "./random.ts";
import { symmetricEigen } from "./symmetricEigen.ts";
import { tridiagonalEigen } from "./tridiagonalEigen.ts";
import { divide, norm, peak } from "./vectors.ts";

/** A V = U diag(s); each row of `vt` has its entry of largest size positive. */
export interface LeadingSvd {
  /** `[k, rows]`, rows orthonormal: Uᵀ */
  readonly ut: Float64Array;
  /** `[k]` descending, ≥ 0 */
  readonly s: Float64Array;
  /** `[k, cols]`, rows orthonormal: Vᵀ */
  readonly vt: Float64Array;
}

/** ‖(AᵀA − λ) v‖ below this share of the largest λ: rounding leaves about 1e-15. */
const settled = 1e-13;

export interface LeadingOptions {
  /**
   * A pair counts as found when ‖(AᵀA − σ²) v‖ is below this share of σ₁². Singular values then are right to that share; vectors to it over their gap.
   * A flat spectrum takes half the steps with 1e-6 that it takes with the default.
   */
  readonly accuracy?: number;
}

/**
 * @param a `[rows, cols]` row-major; not changed
 * @param k at most min(rows, cols)
 * @throws "spectrum.notConverged" when `a` holds NaN or infinity
 */
export function leadingSvd(a: Float32Array | Float64Array, rows: number, cols: number, k: number, { accuracy = settled }: LeadingOptions = {}): LeadingSvd {
  for (const value of a)
    if (!Number.isFinite(value))
      throw new WorkbenchError("spectrum.notConverged", `singular vectors of a ${rows} × ${cols} matrix: it holds ${value}; expected finite values`);
  const isTall = rows >= cols;
  const short = Math.min(rows, cols);
  const near = k * 8 > short ? symmetricEigen(shortGram(a, rows, cols), short, k).vectors : krylovDirections(a, rows, cols, k, accuracy);
  const far = orthonormalImages(near, a, rows, cols, isTall, k);
  const [ut, vt] = isTall ? [far.vectors, near] : [near, far.vectors];
  for (let j = 0; j < k; j++) {
    if (peak(vt, j * cols, cols) >= 0) continue;
    divide(vt.subarray(j * cols, (j + 1) * cols), -1);
    divide(ut.subarray(j * rows, (j + 1) * rows), -1);
  }
  return { ut, s: far.lengths, vt };
}

/** BᵀB, B the matrix with its shorter side last. */
function shortGram(a: Float32Array | Float64Array, rows: number, cols: number): Float64Array {
  return gramMatrix(
    rows >= cols ? { data: a, rows, n: cols, rowStride: cols, columnStride: 1 } : { data: a, rows: cols, n: rows, rowStride: 1, columnStride: cols },
  );
}

/** Leading eigenvectors of BᵀB as rows `[k, n]`, by products with B. */
function krylovDirections(a: Float32Array | Float64Array, rows: number, cols: number, k: number, accuracy: number): Float64Array {
  const [isTall, n] = [rows >= cols, Math.min(rows, cols)];
  const random = randomStream(0, "lanczos", n);
  const lanczos = new Lanczos(randomUnit(n, random), n * Number.EPSILON);
  const between = new Float64Array(Math.max(rows, cols));
  for (let step = 1; ; step++) {
    const image = new Float64Array(n);
    if (isTall) {
      timesRows(a, rows, cols, lanczos.vector, between);
      timesColumns(a, rows, cols, between, image);
    } else {
      timesColumns(a, rows, cols, lanczos.vector, between);
      timesRows(a, rows, cols, between, image);
    }
    lanczos.absorb(image);
    if (step === n || (step % 16 === 0 && hasSettled(lanczos, k, accuracy))) return lanczos.ritzVectors(k);
    // An invariant subspace: what is missing lies beside it.
    if (lanczos.isComplete) lanczos.restart(randomUnit(n, random));
  }
}

/** ‖(BᵀB − λ) v‖ of a Ritz vector is the next length times the last component of its eigenvector. */
function hasSettled({ diagonal, beside, isComplete }: Lanczos, k: number, accuracy: number): boolean {
  const next = beside[diagonal.length - 1];
  if (isComplete || next === undefined || diagonal.length < k) return false;
  const { values, vectors: tails } = tridiagonalEigen(diagonal, beside, k, 1);
  return tails.every((tail) => next * Math.abs(tail) <= accuracy * (values[0] ?? 0));
}

/** B v of each row v, made orthonormal as rows `[k, long]`, and their lengths: the singular values. */
function orthonormalImages(
  near: Float64Array,
  a: Float32Array | Float64Array,
  rows: number,
  cols: number,
  isTall: boolean,
  k: number,
): { vectors: Float64Array; lengths: Float64Array } {
  const [short, long] = isTall ? [cols, rows] : [rows, cols];
  const vectors = new Float64Array(k * long);
  for (let j = 0; j < k; j++) {
    const [from, to] = [near.subarray(j * short, (j + 1) * short), vectors.subarray(j * long, (j + 1) * long)];
    if (isTall) timesRows(a, rows, cols, from, to);
    else timesColumns(a, rows, cols, from, to);
  }
  const lengths = Float64Array.from({ length: k }, (_, j) => norm(vectors.subarray(j * long, (j + 1) * long)));
  // Orthonormal whatever the rank, for where the lengths vanish QR goes by reflections; R is diagonal up to rounding, so only signs can differ.
  return { vectors: orthonormalRows(vectors, k, long), lengths };
}
