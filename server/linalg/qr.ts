/**
 * Thin QR of tall matrices in float64, X = Q R, with Q kept as a rule and not as numbers.
 *
 * 1. Gram matrix XᵀX, columns scaled to length 1, and its Cholesky factor: R, and Q = X R⁻¹.
 * 2. That loses κ² digits, so it stands only while κ of the scaled columns is small ("Cholesky QR"); else Householder reflections.
 *
 * Both leave the columns' lengths out of the error: a factor with columns of very different size is no harder than another.
 * @see Golub & Van Loan, "Matrix Computations", 5.2; Yamamoto et al. 2015, "Roundoff error analysis of the CholeskyQR2 algorithm"
 */
import { at } from "../at.ts";
import { WorkbenchError } from "../errors.ts";
import { diagonal } from "./matrices.ts";
import { addTimesAt, dotAt, norm } from "./vectors.ts";

/** `[rows, n]` seen through strides: entry (i, j) is data[i · rowStride + j · columnStride]. */
export interface TallMatrix {
  readonly data: Float32Array | Float64Array;
  readonly rows: number;
  readonly n: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

export interface ThinQr {
  readonly method: "cholesky" | "householder";
  /** `[n, n]` upper triangular, column-major; rows past min(rows, n) are 0. */
  readonly r: Float64Array;
  /** Q · mix, `[rows, k]`, of `mix` `[n, k]`; both column-major. */
  times(mix: Float64Array, k: number): Float64Array;
}

/** Largest ‖R‖·‖R⁻¹‖ (Frobenius, scaled columns) for Cholesky QR: Q is then orthonormal to about κ²·2⁻⁵³ ≈ 1e-8, below float32. */
const choleskyCondition = 1e4;
/** Rows of a panel: 16 columns of them in float64 fit the first-level cache. */
const panelRows = 128;

/** @throws "spectrum.notConverged" when `x` holds NaN or infinity */
export function thinQr(x: TallMatrix): ThinQr {
  const { n } = x;
  const gram = gramMatrix(x);
  if (!gram.every(Number.isFinite))
    throw new WorkbenchError("spectrum.notConverged", `QR of a ${x.rows} × ${n} matrix: it holds NaN or infinity; expected finite values`);
  return choleskyQr(x, gram) ?? householderQr(columnsOf(x), x.rows, n);
}

/** XᵀX, `[n, n]`, summed in float64. */
export function gramMatrix(x: TallMatrix): Float64Array {
  const { n } = x;
  const wide = Math.ceil(n / 4) * 4; // columns of zeros up to a multiple of the tile
  const panel = new Float64Array(wide * panelRows);
  const sums = new Float64Array(wide * wide);
  for (let start = 0; start < x.rows; start += panelRows) {
    fillPanel(panel, x, start);
    addGram(sums, panel, wide);
  }
  const gram = new Float64Array(n * n);
  for (let j = 0; j < n; j++) for (let i = 0; i <= j; i++) gram[i * n + j] = gram[j * n + i] = sums[i * wide + j]!;
  return gram;
}

/** Rows `start`… of x, column after column; 0 past the last row. */
function fillPanel(panel: Float64Array, { data, rows, n, rowStride, columnStride }: TallMatrix, start: number): void {
  const count = Math.min(panelRows, rows - start);
  if (count < panelRows) panel.fill(0);
  for (let j = 0; j < n; j++) {
    for (let i = 0, from = start * rowStride + j * columnStride, to = j * panelRows; i < count; i++, from += rowStride, to++) panel[to] = data[from]!;
  }
}

/** Adds a panel's XᵀX to the upper triangle, in 2 × 4 tiles whose eight sums stay in registers. */
function addGram(sums: Float64Array, panel: Float64Array, wide: number): void {
  for (let b = 0; b < wide; b += 4) {
    for (let a = 0; a < b + 4; a += 2) {
      let [s00, s01, s02, s03, s10, s11, s12, s13] = [0, 0, 0, 0, 0, 0, 0, 0];
      const x = a * panelRows;
      const y = b * panelRows;
      for (let i = 0; i < panelRows; i++) {
        const x0 = panel[x + i]!;
        const x1 = panel[x + panelRows + i]!;
        const y0 = panel[y + i]!;
        const y1 = panel[y + panelRows + i]!;
        const y2 = panel[y + 2 * panelRows + i]!;
        const y3 = panel[y + 3 * panelRows + i]!;
        s00 += x0 * y0;
        s01 += x0 * y1;
        s02 += x0 * y2;
        s03 += x0 * y3;
        s10 += x1 * y0;
        s11 += x1 * y1;
        s12 += x1 * y2;
        s13 += x1 * y3;
      }
      const at = a * wide + b;
      sums[at]! += s00;
      sums[at + 1]! += s01;
      sums[at + 2]! += s02;
      sums[at + 3]! += s03;
      sums[at + wide]! += s10;
      sums[at + wide + 1]! += s11;
      sums[at + wide + 2]! += s12;
      sums[at + wide + 3]! += s13;
    }
  }
}

/** Null where the columns are too near dependence for the Gram matrix to tell. */
function choleskyQr(x: TallMatrix, gram: Float64Array): ThinQr | null {
  const { n } = x;
  const lengths = Float64Array.from({ length: n }, (_, j) => Math.sqrt(at(gram, j * n + j)));
  if (!lengths.every((length) => length > 0)) return null;
  const r = new Float64Array(n * n);
  for (let j = 0; j < n; j++) {
    for (let i = 0; i <= j; i++) {
      const sum = at(gram, i * n + j) / (at(lengths, i) * at(lengths, j)) - dotAt(r, i * n, r, j * n, i);
      if (i < j) r[j * n + i] = sum / at(r, i * n + i);
      else if (sum > 0) r[j * n + j] = Math.sqrt(sum);
      else return null;
    }
  }
  const inverse = invertUpper(r, n);
  if (!(norm(r) * norm(inverse) <= choleskyCondition)) return null;
  // R = R_scaled · diag(lengths)
  for (const [j, length] of lengths.entries())
    for (let i = 0; i <= j; i++) {
      const place = j * n + i;
      r[place] = at(r, place) * length;
      inverse[place] = at(inverse, place) / at(lengths, i);
    }
  return { method: "cholesky", r, times: (mix, k) => timesMatrix(x, upperTimes(inverse, mix, n, k), k) };
}

function invertUpper(r: Float64Array, n: number): Float64Array {
  const inverse = new Float64Array(n * n);
  // Column j solves R x = e_j, from the last entry up: x_i known, its multiple of R's column i goes over to the right side.
  for (let j = 0; j < n; j++) {
    inverse[j * n + j] = 1;
    for (let i = j; i >= 0; i--) {
      const found = at(inverse, j * n + i) / at(r, i * n + i);
      inverse[j * n + i] = found;
      addTimesAt(inverse, j * n, -found, r, i * n, i);
    }
  }
  return inverse;
}

function upperTimes(upper: Float64Array, mix: Float64Array, n: number, k: number): Float64Array {
  const product = new Float64Array(n * k);
  for (let c = 0; c < k; c++) for (let j = 0; j < n; j++) addTimesAt(product, c * n, at(mix, c * n + j), upper, j * n, j + 1);
  return product;
}

/** X · mix, `[rows, k]` column-major, in tiles of four columns of X and two of the result. */
export function timesMatrix(x: TallMatrix, mix: Float64Array, k: number): Float64Array {
  const { rows, n } = x;
  const wide = Math.ceil(n / 4) * 4;
  const panel = new Float64Array(wide * panelRows);
  const tile = new Float64Array(2 * panelRows);
  const result = new Float64Array(rows * k);
  const weights = new Float64Array(wide * (k + 1)); // one column of zeros, for an odd k
  for (let c = 0; c < k; c++) weights.set(mix.subarray(c * n, (c + 1) * n), c * wide);
  for (let start = 0; start < rows; start += panelRows) {
    fillPanel(panel, x, start);
    const count = Math.min(panelRows, rows - start);
    for (let c = 0; c < k; c += 2) {
      tile.fill(0);
      for (let j = 0; j < wide; j += 4) addTile(tile, panel, j * panelRows, weights, c * wide + j, wide);
      result.set(tile.subarray(0, count), c * rows + start);
      if (c + 1 < k) result.set(tile.subarray(panelRows, panelRows + count), (c + 1) * rows + start);
    }
  }
  return result;
}

function addTile(tile: Float64Array, panel: Float64Array, from: number, weights: Float64Array, start: number, wide: number): void {
  const [w0 = 0, w1 = 0, w2 = 0, w3 = 0] = weights.subarray(start, start + 4);
  const [z0 = 0, z1 = 0, z2 = 0, z3 = 0] = weights.subarray(start + wide, start + wide + 4);
  for (let i = 0; i < panelRows; i++) {
    const x0 = panel[from + i]!;
    const x1 = panel[from + panelRows + i]!;
    const x2 = panel[from + 2 * panelRows + i]!;
    const x3 = panel[from + 3 * panelRows + i]!;
    tile[i]! += w0 * x0 + w1 * x1 + w2 * x2 + w3 * x3;
    tile[panelRows + i]! += z0 * x0 + z1 * x1 + z2 * x2 + z3 * x3;
  }
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
