/** Linear equations in float64. */
import { WorkbenchError } from "../errors.ts";

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
    let pivot = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(left[i]![k]!) > Math.abs(left[pivot]![k]!)) pivot = i;
    const most = left[pivot]![k]!;
    if (!Number.isFinite(most) || most === 0)
      throw new WorkbenchError("spectrum.notConverged", `equations with a ${n} × ${n} matrix: its pivot ${k + 1} is ${most}; expected a regular matrix`);
    for (const rows of [left, right]) [rows[k], rows[pivot]] = [rows[pivot]!, rows[k]!];
    for (let i = k + 1; i < n; i++) {
      const factor = left[i]![k]! / most;
      if (factor === 0) continue;
      takeOff(left[i]!, factor, left[k]!, k);
      takeOff(right[i]!, factor, right[k]!, 0);
    }
  }
  for (let k = n - 1; k >= 0; k--) {
    for (let j = k + 1; j < n; j++) takeOff(right[k]!, left[k]![j]!, right[j]!, 0);
    const pivot = left[k]![k]!;
    for (let c = 0; c < cols; c++) right[k]![c]! /= pivot;
  }
  const x = new Float64Array(n * cols);
  right.forEach((row, i) => x.set(row, i * cols));
  return x;
}

function rowsOf(matrix: Float64Array, n: number, cols: number): Float64Array[] {
  return Array.from({ length: n }, (_, i) => matrix.slice(i * cols, (i + 1) * cols));
}

function takeOff(row: Float64Array, factor: number, from: Float64Array, start: number): void {
  for (let i = start; i < row.length; i++) row[i]! -= factor * from[i]!;
}
