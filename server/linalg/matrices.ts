/** Small rules about matrices as flat arrays. */

/** `[n, n]` */
export function identity(n: number): Float32Array {
  const eye = new Float32Array(n * n);
  for (let i = 0; i < n; i++) eye[i * n + i] = 1;
  return eye;
}

/** `[cols, rows]` of a row-major `[rows, cols]`; a column-major one is turned by `transposed(x, cols, rows)`. */
export function transposed<T extends Float32Array | Float64Array>(matrix: T, rows: number, cols: number): T {
  const turned = matrix.slice() as T;
  for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) turned[j * rows + i] = matrix[i * cols + j]!;
  return turned;
}
