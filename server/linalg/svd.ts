/**
 * Singular value decomposition of dense matrices in float64, column-major.
 * 1. Up to 128 columns: QR, so that columns are short. More: M V₀, V₀ the eigenvectors of MᵀM, whose columns are orthogonal already but for rounding.
 * 2. One-sided Jacobi, which keeps small values accurate and, after V₀, has little left to do.
 * Values are right to about n·2⁻⁵³ of the largest, and so are U and V orthonormal.
 * @see Drmač & Veselić 2008, "New fast and accurate Jacobi SVD algorithm"
 */
import { at } from "../at.ts";
import { WorkbenchError } from "../errors.ts";
import { identity, transposed } from "./matrices.ts";
import { householderQr } from "./qr.ts";
import { gramMatrix, timesMatrix, type TallMatrix } from "./tallMatrix.ts";
import { symmetricEigen } from "./symmetricEigen.ts";
import { divide, dotAt, peak, rotate } from "./vectors.ts";

/** M = U diag(s) Vᵀ with k = min(rows, cols). */
export interface Svd {
  /** `[rows, k]` column-major; a column whose value is 0 is 0 */
  readonly u: Float64Array;
  /** `[k]` descending, ≥ 0 */
  readonly s: Float64Array;
  /** `[cols, k]` column-major, orthonormal when rows ≥ cols */
  readonly v: Float64Array;
}

const jacobiColumns = 128;
/** Jacobi settles in 5 to 12 sweeps; more means that rounding keeps it busy. */
const maxSweeps = 60;
/** After as many sweeps as ever settle, columns that are rounding beside the longest are taken for 0: they would go on turning each other. */
const patientSweeps = 14;
/** Columns this small beside a largest entry near 1 count as 0: their products leave the range in which float64 rounds well. */
const vanishing = 2 ** -480;

/**
 * @param matrix `[rows, cols]` column-major; not changed
 * @throws "spectrum.notConverged" on NaN, infinity, or an iteration that does not end
 */
export function svd(matrix: Float64Array, rows: number, cols: number): Svd {
  const { scaled, scale } = withoutScale(matrix, rows, cols);
  const { u, s, v } = scaledSvd(scaled, rows, cols);
  return { u, v, s: s.map((value) => value * scale) };
}

function scaledSvd(matrix: Float64Array, rows: number, cols: number): Svd {
  if (rows < cols) {
    const { u, s, v } = scaledSvd(transposed(matrix, cols, rows), cols, rows);
    return { u: v, s, v: u };
  }
  if (cols > jacobiColumns) return nearlyOrthogonal(matrix, rows, cols);
  const eye = identity(cols);
  if (rows === cols) return jacobi(matrix, eye, rows, cols);
  const qr = householderQr(matrix, rows, cols);
  const { u, s, v } = jacobi(qr.r, eye, cols, cols);
  return { u: qr.times(u, cols), s, v };
}

function nearlyOrthogonal(matrix: Float64Array, rows: number, cols: number): Svd {
  const tall: TallMatrix = { data: matrix, rows, n: cols, rowStride: 1, columnStride: rows };
  const { vectors } = symmetricEigen(gramMatrix(tall), cols, cols);
  return jacobi(timesMatrix(tall, vectors, cols), vectors, rows, cols);
}

function withoutScale(matrix: Float64Array, rows: number, cols: number): { scaled: Float64Array; scale: number } {
  const scale = scaleOf(matrix, rows, cols);
  return { scaled: matrix.map((value) => value / scale), scale };
}

/**
 * The power of two, hence exact, that brings the largest entry near 1, so that squares neither overflow nor vanish.
 * @throws "spectrum.notConverged" on NaN or infinity
 */
export function scaleOf(matrix: Float64Array, rows: number, cols: number): number {
  const odd = matrix.find((value) => !Number.isFinite(value));
  if (odd !== undefined)
    throw new WorkbenchError("spectrum.notConverged", `singular values of a ${rows} × ${cols} matrix: it holds ${odd}; expected finite values`);
  const largest = Math.abs(peak(matrix, 0, matrix.length));
  return largest > 0 ? 2 ** Math.max(-1022, Math.floor(Math.log2(largest))) : 1;
}

/**
 * One-sided Jacobi: rotations from the right until all columns are orthogonal; their lengths are the singular values.
 * @param a `[rows, n]` column-major, M V @param v `[n, n]` column-major, orthogonal; both overwritten
 * @see Demmel & Veselić 1992, "Jacobi's method is more accurate than QR"
 */
function jacobi(a: Float64Array, v: Float64Array, rows: number, n: number): Svd {
  const squares = new Float64Array(n);
  const tolerance = 2 ** -52 * Math.max(8, rows); // what rounding leaves of a dot product of n terms
  let floor = vanishing ** 2;
  for (let sweep = 0, rotated = true; rotated; sweep++) {
    if (sweep === maxSweeps) throw new WorkbenchError("spectrum.notConverged", `singular values of a ${n} × ${n} matrix did not settle in ${maxSweeps} sweeps`);
    rotated = false;
    for (let k = 0; k < n; k++) squares[k] = dotAt(a, k * rows, a, k * rows, rows);
    if (sweep === patientSweeps) floor = (n * 2 ** -52) ** 2 * squares.reduce((x, y) => Math.max(x, y));
    for (let p = 0; p < n - 1; p++) {
      for (let q = p + 1; q < n; q++) {
        // The longer column first (de Rijk): fewer sweeps, and values come out nearly sorted.
        if (squares[p]! < squares[q]!) swapColumns(a, v, squares, p, q, rows, n);
        const alpha = squares[p]!;
        const beta = squares[q]!;
        if (beta < floor) continue;
        const gamma = dotAt(a, p * rows, a, q * rows, rows);
        if (Math.abs(gamma) <= tolerance * Math.sqrt(alpha) * Math.sqrt(beta)) continue;
        rotated = true;
        const zeta = (beta - alpha) / (2 * gamma);
        const t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
        const c = 1 / Math.sqrt(1 + t * t);
        rotate(a, p * rows, q * rows, c, c * t, rows);
        rotate(v, p * n, q * n, c, c * t, n);
        squares[p] = alpha - t * gamma;
        const shorter = beta + t * gamma;
        // Cancellation would leave the short column's length wrong: measure it again.
        squares[q] = shorter > 0.1 * beta ? shorter : dotAt(a, q * rows, a, q * rows, rows);
      }
    }
  }
  return sorted(a, v, rows, n, Math.sqrt(floor));
}

/** @param least shorter columns are 0 */
function sorted(a: Float64Array, v: Float64Array, rows: number, n: number, least: number): Svd {
  const lengths = Float64Array.from({ length: n }, (_, k) => Math.sqrt(dotAt(a, k * rows, a, k * rows, rows)));
  const order = [...lengths.entries()].sort(([, x], [, y]) => y - x);
  const s = Float64Array.from(order, ([, length]) => (length < least ? 0 : length));
  const [left, right] = [new Float64Array(rows * n), new Float64Array(n * n)];
  for (const [to, [from, length]] of order.entries()) {
    right.set(v.subarray(from * n, (from + 1) * n), to * n);
    if (!(length > 0) || length < least) continue;
    const column = left.subarray(to * rows, (to + 1) * rows);
    column.set(a.subarray(from * rows, (from + 1) * rows));
    divide(column, length);
  }
  return { u: left, s, v: right };
}

function swapColumns(a: Float64Array, v: Float64Array, squares: Float64Array, p: number, q: number, rows: number, n: number): void {
  rotate(a, p * rows, q * rows, 0, 1, rows); // (x, y) → (−y, x): a swap, and still a rotation
  rotate(v, p * n, q * n, 0, 1, n);
  [squares[p], squares[q]] = [at(squares, q), at(squares, p)];
}
