/** Singular values of one site's ΔW and its leading component, by the cheapest exact way its factors allow. */
import { at } from "../../at.ts";
import { denseProduct, factoredSvd, type FactoredMatrix } from "../../linalg/factored.ts";
import { thinQr } from "../../linalg/qr.ts";
import { gramMatrix } from "../../linalg/tallMatrix.ts";
import { randomStream } from "../../linalg/random.ts";
import { Lanczos, randomUnit } from "../../linalg/lanczos.ts";
import { timesColumns, timesRows } from "../../linalg/products.ts";
import { addTimesAt, norm } from "../../linalg/vectors.ts";
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
  const left = u.filter((_, place) => place % m.rank === 0);
  return { values: s.slice(0, count), leading: at(s, 0) > 0 ? { left, right: vt.slice(0, m.dIn) } : null };
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
  if (!(at(values, 0) > 0)) return { values, leading: null };
  return { values, leading: leadingComponent(dense ? { ...m, left: dense, rank: m.dIn, scale: 1, right: null } : m) };
}

function denseOf(m: FactoredMatrix): Float32Array {
  const isIdentity = m.rank === m.dIn && m.right.every((value, place) => value === (Math.floor(place / m.dIn) === place % m.dIn ? 1 : 0));
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
      const weight = at(r, k * n + i);
      if (weight !== 0) addTimesAt(row, 0, weight, g, k * n, n);
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
  return timesRows(left, dOut, rank, right ? timesRows(right, rank, dIn, x) : x).map((value) => scale * value);
}

function timesTransposed({ left, right, rank, dOut, dIn, scale }: Applied, y: Float64Array): Float64Array {
  const thin = timesColumns(left, dOut, rank, y).map((value) => scale * value);
  return right ? timesColumns(right, rank, dIn, thin) : thin;
}
