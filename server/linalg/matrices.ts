/** Small rules about matrices as flat arrays. */
import { at } from "../at.ts";

/** `[n, n]` with `values` along its diagonal, 0 elsewhere. */
export function diagonal(values: ArrayLike<number>): Float64Array {
  const n = values.length;
  const matrix = new Float64Array(n * n);
  for (let i = 0; i < n; i++) matrix[i * n + i] = at(values, i);
  return matrix;
}

/** M[i, i] of an `[n, n]` matrix. */
export function diagonalOf(matrix: Float64Array, n: number): Float64Array {
  const entries = new Float64Array(n);
  for (let i = 0; i < n; i++) entries[i] = at(matrix, i * n + i);
  return entries;
}

/** Σ M[i, i]: the trace. */
export function diagonalSum(matrix: Float64Array, n: number): number {
  return diagonalOf(matrix, n).reduce((sum, value) => sum + value, 0);
}

/** `[n, n]` */
export function identity(n: number): Float64Array {
  return diagonal(new Float64Array(n).fill(1));
}

/** `[cols, rows]` of a row-major `[rows, cols]`; a column-major one is turned by `transposed(x, cols, rows)`. */
export function transposed<T extends Float32Array | Float64Array>(matrix: T, rows: number, cols: number): T {
  const turned = matrix.slice() as T;
  // In squares that stay in the cache.
  for (let top = 0; top < rows; top += side)
    for (let left = 0; left < cols; left += side) {
      const [bottom, right] = [Math.min(rows, top + side), Math.min(cols, left + side)];
      for (let i = top; i < bottom; i++) for (let j = left; j < right; j++) turned[j * rows + i] = matrix[i * cols + j]!;
    }
  return turned;
}

const side = 32;

/** A weight as `[dOut, dIn]`, whichever way it is stored. */
export function asOutIn(values: Float32Array, stored: "outIn" | "inOut", dOut: number, dIn: number): Float32Array {
  return stored === "outIn" ? values : transposed(values, dIn, dOut);
}

/** diag(factors) · M of a row-major M `[factors.length, cols]`. */
export function scaledRows<T extends Float32Array | Float64Array>(matrix: T, factors: ArrayLike<number>): T {
  const cols = matrix.length / factors.length;
  return matrix.map((value, i) => value * at(factors, Math.floor(i / cols))) as T;
}

/** M · diag(factors) of a row-major M `[rows, factors.length]`. */
export function scaledColumns<T extends Float32Array | Float64Array>(matrix: T, factors: ArrayLike<number>): T {
  return matrix.map((value, i) => value * at(factors, i % factors.length)) as T;
}

/** The columns `picked` of a row-major M `[rows, width]`: `[rows, picked.length]`. */
export function columnsOf(matrix: Float32Array, width: number, picked: readonly number[]): Float32Array {
  return Float32Array.from({ length: (matrix.length / width) * picked.length }, (_, i) =>
    at(matrix, Math.floor(i / picked.length) * width + at(picked, i % picked.length)),
  );
}
