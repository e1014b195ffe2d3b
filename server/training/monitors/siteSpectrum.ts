/** Singular values of one site's ΔW and its leading component, by the cheapest exact way its factors allow. */
import { denseProduct, factoredSvd, type FactoredMatrix } from "../../linalg/factored.ts";
import { thinQr } from "../../linalg/qr.ts";
import { gramMatrix } from "../../linalg/tallMatrix.ts";
import { randomStream } from "../../linalg/random.ts";
import { Lanczos, randomUnit } from "../../linalg/lanczos.ts";
import { norm } from "../../linalg/vectors.ts";
import { transposed } from "../../linalg/matrices.ts";
import { symmetricEigenvalues } from "../../linalg/symmetricEigen.ts";

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

/** σ² = eigenvalues of ΔWᵀΔW or ΔWΔWᵀ where ΔW has full rank, of R BᵀB Rᵀ with Aᵀ = Q R below: right to about 1e-8 of the largest σ. */
function fullSpectrum(m: FactoredMatrix, count: number): SiteSpectrum {
  const dense = m.rank >= Math.min(m.dOut, m.dIn) ? denseOf(m) : null;
  const { core, n, scale } = dense ? { core: shortGram(dense, m), n: count, scale: 1 } : { core: factorCore(m), n: m.rank, scale: Math.abs(m.scale) };
  const values = symmetricEigenvalues(core, n)
    .slice(0, count)
    .map((value) => scale * Math.sqrt(Math.max(0, value)));
  if (!(values[0]! > 0)) return { values, leading: null };
  return { values, leading: leadingComponent(dense ? { ...m, left: dense, rank: m.dIn, scale: 1, right: null } : m) };
}

function denseOf(m: FactoredMatrix): Float32Array {
  const isIdentity = m.rank === m.dIn && m.right.every((value, at) => value === (Math.floor(at / m.dIn) === at % m.dIn ? 1 : 0));
  if (!isIdentity) return denseProduct(m);
  return m.scale === 1 ? m.left : m.left.map((value) => m.scale * value);
}

/** Products of the rows or of the columns, whichever are fewer. */
function shortGram(dense: Float32Array, { dOut, dIn }: FactoredMatrix): Float64Array {
  return dOut < dIn
    ? gramMatrix({ data: dense, rows: dIn, n: dOut, rowStride: 1, columnStride: dIn })
    : gramMatrix({ data: dense, rows: dOut, n: dIn, rowStride: dIn, columnStride: 1 });
}

function factorCore(m: FactoredMatrix): Float64Array {
  const { rank: n } = m;
  const gram = gramMatrix({ data: m.left, rows: m.dOut, n, rowStride: n, columnStride: 1 });
  const { r } = thinQr({ data: m.right, rows: m.dIn, n, rowStride: 1, columnStride: m.dIn });
  // (R G Rᵀ)ᵀ = R (R G)ᵀ
  return upperTimes(r, transposed(upperTimes(r, gram, n), n, n), n);
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

/** A ΔW as factors, or dense when there is no right one. */
type Applied = Omit<FactoredMatrix, "right"> & { readonly right: Float32Array | null };

/** The largest component of a ΔW whose rank is too large for a decomposition at every look. */
export function leadingComponent(m: Applied): NonNullable<SiteSpectrum["leading"]> {
  const lanczos = new Lanczos(randomUnit(m.dIn, randomStream(0, "leading component")));
  for (let step = 0; step < leadingSteps && !lanczos.isComplete; step++) lanczos.absorb(timesTransposed(m, times(m, lanczos.vector)));
  const right = lanczos.ritzVectors(1);
  const left = times(m, right);
  const size = norm(left);
  return { left: Float32Array.from(left, (value) => value / size), right: Float32Array.from(right) };
}

function times({ left, right, rank, dOut, dIn, scale }: Applied, x: Float64Array): Float64Array {
  return rowsTimes(left, dOut, rank, right ? rowsTimes(right, rank, dIn, x) : x, scale);
}

function timesTransposed({ left, right, rank, dOut, dIn, scale }: Applied, y: Float64Array): Float64Array {
  const thin = rowsSum(left, dOut, rank, y, scale);
  return right ? rowsSum(right, rank, dIn, thin) : thin;
}

/** scale · M x of row-major M `[rows, cols]`; four sums at a time keep the processor busy. */
function rowsTimes(matrix: Float32Array, rows: number, cols: number, x: Float64Array, scale = 1): Float64Array {
  const out = new Float64Array(rows);
  const whole = cols - (cols % 4);
  for (let row = 0, at = 0; row < rows; row++, at += cols) {
    let [s0, s1, s2, s3] = [0, 0, 0, 0];
    for (let i = 0; i < whole; i += 4) {
      s0 += matrix[at + i]! * x[i]!;
      s1 += matrix[at + i + 1]! * x[i + 1]!;
      s2 += matrix[at + i + 2]! * x[i + 2]!;
      s3 += matrix[at + i + 3]! * x[i + 3]!;
    }
    for (let i = whole; i < cols; i++) s0 += matrix[at + i]! * x[i]!;
    out[row] = scale * (s0 + s1 + (s2 + s3));
  }
  return out;
}

/** scale · Mᵀ y of row-major M `[rows, cols]`. */
function rowsSum(matrix: Float32Array, rows: number, cols: number, y: Float64Array, scale = 1): Float64Array {
  const out = new Float64Array(cols);
  for (let row = 0, at = 0; row < rows; row++, at += cols) {
    const weight = scale * y[row]!;
    for (let i = 0; i < cols; i++) out[i]! += weight * matrix[at + i]!;
  }
  return out;
}
