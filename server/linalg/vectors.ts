/**
 * Sums of vectors, which may lie inside longer arrays: the inner loops of the linear algebra. Sums run four at a time, which keeps
 * the processor busy. Nothing is checked here, for a check costs more than a product: what lies past the end of an array is NaN.
 * All but `norm` take float64 alone: a loop that has seen two kinds of arrays is half as fast for both. `rowOf` turns a row into it.
 */

type Floats = Float32Array | Float64Array;

/** Row i of a row-major matrix of `cols` columns, as a copy in float64. */
export function rowOf(matrix: Floats, i: number, cols: number): Float64Array {
  return new Float64Array(matrix.subarray(i * cols, (i + 1) * cols));
}

/** Σ a b */
export function dot(a: Float64Array, b: Float64Array): number {
  return dotAt(a, 0, b, 0, a.length);
}

/** Σ a b over `n` entries, from `aAt` and from `bAt`. */
export function dotAt(a: Float64Array, aAt: number, b: Float64Array, bAt: number, n: number): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let i = 0;
  for (; i + 3 < n; i += 4) {
    s0 += a[aAt + i]! * b[bAt + i]!;
    s1 += a[aAt + i + 1]! * b[bAt + i + 1]!;
    s2 += a[aAt + i + 2]! * b[bAt + i + 2]!;
    s3 += a[aAt + i + 3]! * b[bAt + i + 3]!;
  }
  for (; i < n; i++) s0 += a[aAt + i]! * b[bAt + i]!;
  return s0 + s1 + (s2 + s3);
}

/** √Σ a² */
export function norm(a: Floats): number {
  return Math.sqrt(squares(a));
}

/** Σ a² */
export function squares(a: Floats): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let i = 0;
  for (; i + 3 < a.length; i += 4) {
    s0 += a[i]! ** 2;
    s1 += a[i + 1]! ** 2;
    s2 += a[i + 2]! ** 2;
    s3 += a[i + 3]! ** 2;
  }
  for (; i < a.length; i++) s0 += a[i]! ** 2;
  return s0 + s1 + (s2 + s3);
}

/** a ← a + factor · b */
export function addTimes(a: Float64Array, factor: number, b: Float64Array): void {
  addTimesAt(a, 0, factor, b, 0, a.length);
}

/** The `n` entries of a from `aAt` ← themselves + factor · those of b from `bAt`. */
export function addTimesAt(a: Float64Array, aAt: number, factor: number, b: Float64Array, bAt: number, n: number): void {
  for (let i = 0; i < n; i++) a[aAt + i]! += factor * b[bAt + i]!;
}

/** Every `step`-th entry of `to` from `toAt`, `n` of them ← factor · those of `from` from `fromAt`. */
export function copyTimes(to: Float32Array, toAt: number, step: number, factor: number, from: ArrayLike<number>, fromAt: number, n: number): void {
  for (let i = 0; i < n; i++) to[toAt + i * step] = factor * from[fromAt + i]!;
}

/** a ← a / divisor */
export function divide(a: Float64Array, divisor: number): void {
  for (let i = 0; i < a.length; i++) a[i]! /= divisor;
}

/** (x, y) → (c x − s y, s x + c y) of the `n` entries from `x` and from `y`. */
export function rotate(a: Float64Array, x: number, y: number, c: number, s: number, n: number): void {
  for (let i = 0; i < n; i++) {
    const [p, q] = [a[x + i]!, a[y + i]!];
    a[x + i] = c * p - s * q;
    a[y + i] = s * p + c * q;
  }
}

/** The entry of largest size among the `n` from `start`; 0 where there is none. */
export function peak(values: Float64Array, start: number, n: number): number {
  let found = 0;
  for (let i = start; i < start + n; i++) if (Math.abs(values[i]!) > Math.abs(found)) found = values[i]!;
  return found;
}
