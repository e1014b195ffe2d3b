/** Eigenvalues and eigenvectors of a symmetric tridiagonal matrix in float64, by the QL method with implicit shifts. */
import { at } from "../at.ts";
import { WorkbenchError } from "../errors.ts";
import { peak, rotate } from "./vectors.ts";

export interface TridiagonalEigen {
  /** `[k]`, the largest first */
  readonly values: Float64Array;
  /** `[k, tracked]`, an eigenvector a row: its last components */
  readonly vectors: Float64Array;
}

/** An eigenvalue takes one or two iterations; many more means that the matrix holds no numbers. */
const maxIterations = 50;
/** Beside entries near 1: far below what rounding leaves of any value, and where two values are 0, all that tells when to end. */
const negligible = 2 ** -60;

/**
 * @param diagonal `[n]`
 * @param beside `[n − 1]`
 * @param k how many pairs are returned
 * @param tracked how many components of each eigenvector are computed, counted from the last; they cost 3 · tracked · n² products
 * @throws "spectrum.notConverged"
 * @see Golub & Van Loan, "Matrix Computations", 8.3; EISPACK's tql2
 */
export function tridiagonalEigen(diagonal: ArrayLike<number>, beside: ArrayLike<number>, k: number, tracked = diagonal.length): TridiagonalEigen {
  const n = diagonal.length;
  const scale = scaleOf(Float64Array.from(diagonal), Float64Array.from(beside));
  const d = Float64Array.from(diagonal, (value) => value / scale);
  const e = Float64Array.from({ length: n }, (_, i) => (beside[i] ?? 0) / scale);
  const z = new Float64Array(n * tracked); // row j becomes the eigenvector of d[j]
  for (let j = 0; j < tracked; j++) z[(n - tracked + j) * tracked + j] = 1;
  for (let low = 0; low < n; low++) {
    for (let iteration = 0; ; iteration++) {
      let high = low;
      while (high < n - 1 && Math.abs(e[high]!) > Math.max(negligible, Number.EPSILON * (Math.abs(d[high]!) + Math.abs(d[high + 1]!)))) high++;
      if (high === low) break;
      if (iteration === maxIterations)
        throw new WorkbenchError("spectrum.notConverged", `eigenvalues of a tridiagonal ${n} × ${n} matrix did not settle in ${maxIterations} iterations`);
      sweep(d, e, z, low, high, tracked);
    }
  }
  const leading = [...d.entries()].sort(([, x], [, y]) => y - x).slice(0, k);
  const vectors = new Float64Array(k * tracked);
  leading.forEach(([from], to) => vectors.set(z.subarray(from * tracked, (from + 1) * tracked), to * tracked));
  return { values: Float64Array.from(leading, ([, value]) => scale * value), vectors };
}

/** The power of two that brings the largest entry near 1, so that squares neither overflow nor vanish; 1 when there is no such entry. */
function scaleOf(...parts: readonly Float64Array[]): number {
  let largest = 0;
  for (const part of parts) largest = Math.max(largest, Math.abs(peak(part, 0, part.length)));
  return largest > 0 && Number.isFinite(largest) ? 2 ** Math.max(-1022, Math.floor(Math.log2(largest))) : 1;
}

/** One implicit QL step on the block low … high, shifted by the eigenvalue of its first 2 × 2 that is nearer to d[low]. */
function sweep(d: Float64Array, e: Float64Array, z: Float64Array, low: number, high: number, tracked: number): void {
  const [first, coupling] = [at(d, low), at(e, low)];
  const half = (at(d, low + 1) - first) / (2 * coupling);
  let above = at(d, high); // d[i + 1] as it was before this step
  let g = above - first + coupling / (half + (half < 0 ? -1 : 1) * Math.sqrt(half * half + 1));
  let [s, c, p] = [1, 1, 0];
  for (let i = high - 1; i >= low; i--) {
    const [here, beside] = [d[i]!, e[i]!];
    const f = s * beside;
    const b = c * beside;
    const r = Math.sqrt(f * f + g * g);
    e[i + 1] = r;
    if (r === 0) {
      d[i + 1] = above - p;
      e[high] = 0;
      return;
    }
    s = f / r;
    c = g / r;
    const shifted = above - p;
    const turn = (here - shifted) * s + 2 * c * b;
    p = s * turn;
    d[i + 1] = shifted + p;
    g = c * turn - b;
    above = here;
    rotate(z, i * tracked, (i + 1) * tracked, c, s, tracked);
  }
  d[low] = above - p;
  e[low] = g;
  e[high] = 0;
}
