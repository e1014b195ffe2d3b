/**
 * Thin QR of tall matrices in float64, X = Q R, with Q kept as a rule and not as numbers.
 *
 * 1. Gram matrix XᵀX and its Cholesky factor: R, and Q = X R⁻¹.
 * 2. That loses κ² digits, so it stands only while κ of the scaled columns is small ("Cholesky QR"); else Householder reflections.
 *
 * Both leave the columns' lengths out of the error: a factor with columns of very different size is no harder than another.
 * @see Golub & Van Loan, "Matrix Computations", 5.2; Yamamoto et al. 2015, "Roundoff error analysis of the CholeskyQR2 algorithm"
 */
import { at } from "../at.ts";
import { WorkbenchError } from "../errors.ts";
import { cholesky } from "./cholesky.ts";
import { diagonal, diagonalSum } from "./matrices.ts";
import { gramMatrix, timesMatrix, type TallMatrix } from "./tallMatrix.ts";
import { addTimesAt, dotAt } from "./vectors.ts";

export interface ThinQr {
  readonly method: "cholesky" | "householder";
  /** `[n, n]` upper triangular, column-major; rows past min(rows, n) are 0. */
  readonly r: Float64Array;
  /** Q · mix, `[rows, k]`, of `mix` `[n, k]`; both column-major. */
  times(mix: Float64Array, k: number): Float64Array;
}

/** Largest ‖R‖·‖R⁻¹‖ (Frobenius, scaled columns) for Cholesky QR: Q is then orthonormal to about κ²·2⁻⁵³ ≈ 1e-8, below float32. */
const choleskyCondition = 1e4;

/**
 * @param gram XᵀX, when it is known
 * @throws "spectrum.notConverged" when `x` holds NaN or infinity
 */
export function thinQr(x: TallMatrix, gram = gramMatrix(x)): ThinQr {
  const { n } = x;
  // A column that holds one has no finite length.
  if (!Number.isFinite(diagonalSum(gram, n)))
    throw new WorkbenchError("spectrum.notConverged", `QR of a ${x.rows} × ${n} matrix: it holds NaN or infinity; expected finite values`);
  return choleskyQr(x, gram) ?? householderQr(columnsOf(x), x.rows, n);
}

/** Null where the columns are too near dependence for the Gram matrix to tell. */
function choleskyQr(x: TallMatrix, gram: Float64Array): ThinQr | null {
  const { n } = x;
  const factor = cholesky(gram, n);
  if (factor === null) return null;
  const { r, inverse } = factor;
  // With columns scaled to length 1, D being their lengths: ‖R D⁻¹‖ = √n and ‖D R⁻¹‖. Cholesky's rounding does not depend on the scale.
  let squares = 0;
  for (let j = 0; j < n; j++) for (let i = 0; i <= j; i++) squares += gram[i * n + i]! * inverse[j * n + i]! ** 2;
  if (!(Math.sqrt(n * squares) <= choleskyCondition)) return null;
  return { method: "cholesky", r, times: (mix, k) => timesMatrix(x, upperTimes(inverse, mix, n, k), k) };
}

function upperTimes(upper: Float64Array, mix: Float64Array, n: number, k: number): Float64Array {
  const product = new Float64Array(n * k);
  for (let c = 0; c < k; c++) for (let j = 0; j < n; j++) addTimesAt(product, c * n, at(mix, c * n + j), upper, j * n, j + 1);
  return product;
}

function columnsOf({ data, rows, n, rowStride, columnStride }: TallMatrix): Float64Array {
  const columns = new Float64Array(rows * n);
  for (let j = 0; j < n; j++) for (let i = 0; i < rows; i++) columns[j * rows + i] = data[i * rowStride + j * columnStride]!;
  return columns;
}

/**
 * Householder QR; right for any rank and any condition.
 * @param columns `[rows, n]` column-major, finite; overwritten with the reflectors
 */
export function householderQr(columns: Float64Array, rows: number, n: number): ThinQr {
  const count = Math.min(rows, n);
  const r = new Float64Array(n * n);
  const twice = new Float64Array(count); // 2 / ‖v‖²; 0 for a reflection that does nothing
  for (let j = 0; j < n; j++) {
    const column = columns.subarray(j * rows, (j + 1) * rows);
    for (let k = 0; k < Math.min(j, count); k++) reflect(column, columns, k * rows, at(twice, k), k);
    r.set(column.subarray(0, Math.min(j, count)), j * n);
    if (j >= count) continue;
    const squares = dotAt(column, j, column, j, rows - j);
    const first = at(column, j);
    // What is left of a column that others already span shrinks from one to the next, out of the range in which squares round well.
    if (squares < vanishingSquares) {
      r[j * n + j] = first;
      continue;
    }
    const diagonal = first > 0 ? -Math.sqrt(squares) : Math.sqrt(squares);
    r[j * n + j] = diagonal;
    column[j] = first - diagonal;
    const length = squares - first * first + (first - diagonal) ** 2;
    twice[j] = length > 0 ? 2 / length : 0;
  }
  return {
    method: "householder",
    r,
    times(mix, k) {
      const result = new Float64Array(rows * k);
      for (let c = 0; c < k; c++) {
        const column = result.subarray(c * rows, (c + 1) * rows);
        column.set(mix.subarray(c * n, c * n + count));
        for (let j = count - 1; j >= 0; j--) reflect(column, columns, j * rows, at(twice, j), j);
      }
      return result;
    },
  };
}

const vanishingSquares = 2 ** -960;

/** y ← y − 2 v (vᵀy) / ‖v‖² on entries `from`… */
function reflect(y: Float64Array, v: Float64Array, vAt: number, twice: number, from: number): void {
  if (twice === 0) return;
  let along = 0;
  for (let i = from; i < y.length; i++) along += v[vAt + i]! * y[i]!;
  const amount = twice * along;
  for (let i = from; i < y.length; i++) y[i]! -= amount * v[vAt + i]!;
}

/** Gram–Schmidt's rows, by QR of the transpose with R's diagonal positive: `[k, d]` orthonormal whatever the rank, k ≤ d. */
export function orthonormalRows(rows: Float64Array, k: number, d: number): Float64Array {
  const qr = thinQr({ data: rows, rows: d, n: k, rowStride: 1, columnStride: d });
  const signs = Array.from({ length: k }, (_, j) => (at(qr.r, j * k + j) < 0 ? -1 : 1));
  return qr.times(diagonal(signs), k);
}
