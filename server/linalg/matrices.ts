/** Small rules about matrices as flat arrays. */
import { at } from "../at.ts";

/** `[n, n]` with `values` along its diagonal, 0 elsewhere. */
export function diagonal(values: ArrayLike<number>): Float64Array {
  const n = values.length;
  const matrix = new Float64Array(n * n);
  for (let i = 0; i < n; i++) matrix[i * n + i] = at(values, i);
  return matrix;
}

/** `[n, n]` */
export function identity(n: number): Float64Array {
  return diagonal(new Float64Array(n).fill(1));
}

/** `[cols, rows]` of a row-major `[rows, cols]`; a column-major one is turned by `transposed(x, cols, rows)`. */
export function transposed<T extends Float32Array | Float64Array>(matrix: T, rows: number, cols: number): T {
  const turned = matrix.slice() as T;
  for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) turned[j * rows + i] = matrix[i * cols + j]!;
  return turned;
}
