/** Linear equations in float64. */
import { at } from "../at.ts";
import { WorkbenchError } from "../errors.ts";
import { addTimes, addTimesAt, divide } from "./vectors.ts";

/**
 * X with A X = B, by elimination with the largest pivot of each column.
 * @param a `[n, n]` row-major @param b `[n, cols]` row-major; neither is changed
 * @returns `[n, cols]` row-major
 * @throws "spectrum.notConverged" when A is singular or holds NaN or infinity
 * @see Golub & Van Loan, "Matrix Computations", 3.4
 */
export function solve(a: Float64Array, b: Float64Array, n: number): Float64Array {
  const cols = b.length / n;
  const [left, right] = [rowsOf(a, n, n), rowsOf(b, n, cols)];
  for (let k = 0; k < n; k++) {
    const column = left.map((row) => at(row, k));
    const pivot = k + column.slice(k).reduce((best, value, i, rest) => (Math.abs(value) > Math.abs(at(rest, best)) ? i : best), 0);
    const most = at(column, pivot);
    if (!Number.isFinite(most) || most === 0)
      throw new WorkbenchError("spectrum.notConverged", `equations with a ${n} × ${n} matrix: its pivot ${k + 1} is ${most}; expected a regular matrix`);
    for (const rows of [left, right]) [rows[k], rows[pivot]] = [at(rows, pivot), at(rows, k)];
    const [pivotLeft, pivotRight] = [at(left, k), at(right, k)];
    for (let i = k + 1; i < n; i++) {
      const row = at(left, i);
      const factor = at(row, k) / most;
      if (factor === 0) continue;
      addTimesAt(row, k, -factor, pivotLeft, k, n - k);
      addTimes(at(right, i), -factor, pivotRight);
    }
  }
  for (let k = n - 1; k >= 0; k--) {
    const [row, x] = [at(left, k), at(right, k)];
    for (let j = k + 1; j < n; j++) addTimes(x, -at(row, j), at(right, j));
    divide(x, at(row, k));
  }
  const x = new Float64Array(n * cols);
  right.forEach((row, i) => x.set(row, i * cols));
  return x;
}

function rowsOf(matrix: Float64Array, n: number, cols: number): Float64Array[] {
  return Array.from({ length: n }, (_, i) => matrix.slice(i * cols, (i + 1) * cols));
}
