/** Singular values of one site's ΔW and its leading component, by the cheapest exact way its factors allow. */
import { factoredSvd, type FactoredMatrix } from "../../tensors/factored.ts";
import { gramMatrix, thinQr } from "../../tensors/qr.ts";
import { randomStream } from "../../tensors/random.ts";
import { svd } from "../../tensors/svd.ts";
import { Lanczos, norm } from "./lanczos.ts";
import { symmetricEigenvalues } from "./symmetricEigenvalues.ts";

export interface SiteSpectrum {
  /** `[min(rank, dOut, dIn)]` descending. */
  readonly values: Float64Array;
  /** Unit vectors `[dOut]` and `[dIn]` of the largest; null when ΔW is 0. Their common sign is arbitrary. */
  readonly leading: { readonly left: Float32Array; readonly right: Float32Array } | null;
}

/** Up to this rank Jacobi on the rank × rank core, which keeps small values accurate, costs little. */
const jacobiRank = 48;
/** Lanczos steps to the leading component of a full-rank ΔW; its error then is far below what a figure shows. */
const leadingSteps = 48;

/** @throws "spectrum.notConverged" when a factor holds NaN or infinity */
export function spectrumOf(m: FactoredMatrix): SiteSpectrum {
  const count = Math.min(m.rank, m.dOut, m.dIn);
  if (isZero(m)) return { values: new Float64Array(count), leading: null };
  if (m.rank > jacobiRank) return fullSpectrum(m, count);
  const { u, s, vt } = factoredSvd(m);
  const left = Float32Array.from({ length: m.dOut }, (_, row) => u[row * m.rank]!);
  return { values: s.slice(0, count), leading: s[0]! > 0 ? { left, right: vt.slice(0, m.dIn) } : null };
}

/** Most methods begin with a factor that is all zeros. */
function isZero({ left, right, scale, rank }: FactoredMatrix): boolean {
  const isEmpty = (values: Float32Array) => values.every((value) => value === 0);
  return rank === 0 || scale === 0 || isEmpty(left) || isEmpty(right);
}

/** σ² = eigenvalues of R BᵀB Rᵀ with Aᵀ = Q R: right to about 1e-8 of the largest σ. */
function fullSpectrum(m: FactoredMatrix, count: number): SiteSpectrum {
  const { rank: n } = m;
  const gram = gramMatrix({ data: m.left, rows: m.dOut, n, rowStride: n, columnStride: 1 });
  const { r } = thinQr({ data: m.right, rows: m.dIn, n, rowStride: 1, columnStride: m.dIn });
  const half = upperTimes(r, gram, n);
  // (R G Rᵀ)ᵀ = R (R G)ᵀ
  const core = upperTimes(r, transposed(half, n), n);
  const values = symmetricEigenvalues(core, n).slice(0, count).map((value) => Math.abs(m.scale) * Math.sqrt(Math.max(0, value)));
  return { values, leading: values[0]! > 0 ? leadingComponent(m) : null };
}

/** R · G, row-major, of an upper triangle R (column-major) and a symmetric or row-major G. */
function upperTimes(r: Float64Array, g: Float64Array, n: number): Float64Array {
  const product = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const row = product.subarray(i * n, (i + 1) * n);
    for (let k = i; k < n; k++) {
      const weight = r[k * n + i]!;
      if (weight === 0) continue;
      const from = k * n;
      for (let j = 0; j < n; j++) row[j]! += weight * g[from + j]!;
    }
  }
  return product;
}

function transposed(matrix: Float64Array, n: number): Float64Array {
  const turned = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) turned[j * n + i] = matrix[i * n + j]!;
  return turned;
}

/** The largest component of a ΔW whose rank is too large for a decomposition at every look. */
export function leadingComponent(m: FactoredMatrix): NonNullable<SiteSpectrum["leading"]> {
  const random = randomStream(0, "leading component");
  const start = Float64Array.from({ length: m.dIn }, () => random.gaussian());
  const length = norm(start);
  const lanczos = new Lanczos(start.map((value) => value / length));
  for (let step = 0; step < leadingSteps && !lanczos.isComplete; step++) lanczos.absorb(timesTransposed(m, times(m, lanczos.vector)));
  const { matrix, n } = lanczos.tridiagonal();
  const { u } = svd(matrix, n, n);
  const right = new Float64Array(m.dIn);
  for (let j = 0; j < n; j++) for (let i = 0; i < m.dIn; i++) right[i]! += u[j]! * lanczos.basis[j]![i]!;
  const left = times(m, right);
  const size = norm(left);
  return { left: Float32Array.from(left, (value) => value / size), right: Float32Array.from(right) };
}

function times({ left, right, rank, dOut, dIn, scale }: FactoredMatrix, x: Float64Array): Float64Array {
  const thin = Float64Array.from({ length: rank }, (_, k) => {
    let sum = 0;
    for (let i = 0; i < dIn; i++) sum += right[k * dIn + i]! * x[i]!;
    return scale * sum;
  });
  return Float64Array.from({ length: dOut }, (_, o) => {
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += left[o * rank + k]! * thin[k]!;
    return sum;
  });
}

function timesTransposed({ left, right, rank, dOut, dIn, scale }: FactoredMatrix, y: Float64Array): Float64Array {
  const thin = new Float64Array(rank);
  for (let o = 0; o < dOut; o++) for (let k = 0; k < rank; k++) thin[k]! += scale * y[o]! * left[o * rank + k]!;
  const image = new Float64Array(dIn);
  for (let k = 0; k < rank; k++) for (let i = 0; i < dIn; i++) image[i]! += thin[k]! * right[k * dIn + i]!;
  return image;
}
