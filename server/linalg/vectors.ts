/**
 * Sums of vectors, which may lie inside longer arrays: the inner loops of the linear algebra. Sums run four at a time, which keeps
 * the processor busy. Nothing is checked here, for a check costs more than a product: what lies past the end of an array is NaN.
 */

/** Σ a b */
export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return dotAt(a, 0, b, 0, a.length);
}

/** Σ a b over `n` entries, from `aAt` and from `bAt`. */
export function dotAt(a: ArrayLike<number>, aAt: number, b: ArrayLike<number>, bAt: number, n: number): number {
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
export function norm(a: ArrayLike<number>): number {
  return Math.sqrt(dot(a, a));
}

/** a ← a + factor · b */
export function addTimes(a: Float64Array, factor: number, b: ArrayLike<number>): void {
  addTimesAt(a, 0, factor, b, 0, a.length);
}

/** The `n` entries of a from `aAt` ← themselves + factor · those of b from `bAt`. */
export function addTimesAt(a: Float64Array, aAt: number, factor: number, b: ArrayLike<number>, bAt: number, n: number): void {
  for (let i = 0; i < n; i++) a[aAt + i]! += factor * b[bAt + i]!;
}

/** The `n` entries of a from `aAt` ← themselves + f · x + g · y. */
export function addTwo(a: Float64Array, aAt: number, f: number, x: Float64Array, g: number, y: Float64Array, n: number): void {
  for (let i = 0; i < n; i++) a[aAt + i]! += f * x[i]! + g * y[i]!;
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
export function peak(values: ArrayLike<number>, start: number, n: number): number {
  let found = 0;
  for (let i = start; i < start + n; i++) if (Math.abs(values[i]!) > Math.abs(found)) found = values[i]!;
  return found;
}
