/** Products of a row-major matrix A `[rows, cols]` with one vector, four rows at a time. */
import { at } from "../at.ts";
import { addTimes, dot, rowOf } from "./vectors.ts";

type Matrix = Float32Array | Float64Array;

/** A x. @param x `[cols]` @param y `[rows]`, overwritten and returned */
export function timesRows(a: Matrix, rows: number, cols: number, x: Float64Array, y = new Float64Array(rows)): Float64Array {
  let r = 0;
  for (; r + 3 < rows; r += 4) {
    let [s0, s1, s2, s3] = [0, 0, 0, 0];
    const [a0, a1, a2, a3] = [r * cols, (r + 1) * cols, (r + 2) * cols, (r + 3) * cols];
    for (let c = 0; c < cols; c++) {
      const value = x[c]!;
      s0 += a[a0 + c]! * value;
      s1 += a[a1 + c]! * value;
      s2 += a[a2 + c]! * value;
      s3 += a[a3 + c]! * value;
    }
    y[r] = s0;
    y[r + 1] = s1;
    y[r + 2] = s2;
    y[r + 3] = s3;
  }
  for (; r < rows; r++) y[r] = dot(rowOf(a, r, cols), x);
  return y;
}

/** Aᵀ x. @param x `[rows]` @param y `[cols]`, overwritten and returned */
export function timesColumns(a: Matrix, rows: number, cols: number, x: Float64Array, y = new Float64Array(cols)): Float64Array {
  y.fill(0, 0, cols);
  let r = 0;
  for (; r + 3 < rows; r += 4) {
    const [x0, x1, x2, x3] = [x[r]!, x[r + 1]!, x[r + 2]!, x[r + 3]!];
    const [a0, a1, a2, a3] = [r * cols, (r + 1) * cols, (r + 2) * cols, (r + 3) * cols];
    for (let c = 0; c < cols; c++) y[c]! += x0 * a[a0 + c]! + x1 * a[a1 + c]! + x2 * a[a2 + c]! + x3 * a[a3 + c]!;
  }
  for (; r < rows; r++) addTimes(y, at(x, r), rowOf(a, r, cols));
  return y;
}
