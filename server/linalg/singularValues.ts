/**
 * The singular values of a dense matrix alone, in float64: Householder to bidiagonal form, then QR steps on that.
 * @see Golub & Kahan 1965, "Calculating the singular values and pseudo-inverse of a matrix"
 */
import { bidiagonalValues } from "./bidiagonalValues.ts";
import { addToEach, dotsWith, subtractCombined, workspace, type Columns } from "./columnKernels.ts";
import { scaleOf } from "./svd.ts";
import { dotAt } from "./vectors.ts";

/**
 * @param matrix `[n, n]`, by rows or by columns; not changed
 * @returns `[n]` descending, ≥ 0, each within about n·2⁻⁵³ of the largest
 * @throws "spectrum.notConverged" on NaN, infinity, or an iteration that does not end
 */
export function svdValues(matrix: Float64Array, n: number): Float64Array {
  const scale = scaleOf(matrix, n, n);
  const stride = n + (n % 2);
  const [row, image, weights] = [n * stride, (n + 1) * stride, (n + 2) * stride];
  const a = workspace((n + 3) * stride);
  for (let j = 0; j < n; j++) for (let i = 0; i < n; i++) a[j * stride + i] = matrix[j * n + i]! / scale;
  const [d, e] = [new Float64Array(n), new Float64Array(n)];
  // Reflections from the left and from the right in turn. Kernels begin at even rows; what stands above row k is no longer needed.
  for (let k = 0; k < n; k++) {
    const even = k - (k % 2);
    const column = k * stride;
    const down = reflection(a, column + k, n - k);
    d[k] = down.left;
    if (k === n - 1) break;
    if (even < k) a[column + even] = 0;
    const rest: Columns = { first: column + stride + even, count: n - k - 1, length: stride - even, stride };
    dotsWith(column + even, rest, weights);
    for (let j = 0; j < rest.count; j++) a[weights + j]! *= -down.weight;
    addToEach(rest, weights, column + even);
    for (let j = k + 1; j < n; j++) a[row + j] = a[j * stride + k]!;
    const across = reflection(a, row + k + 1, n - k - 1);
    e[k] = across.left;
    a.fill(0, image, image + stride);
    subtractCombined(image + even, row + k + 1, rest);
    for (let j = 0; j < rest.count; j++) a[weights + j] = across.weight * a[row + k + 1 + j]!;
    addToEach(rest, weights, image + even);
  }
  return bidiagonalValues(d, e).map((value) => scale * value);
}

/**
 * x, the `length` entries of `a` from `at`, becomes the vector v of the reflection 1 − weight · v vᵀ that leaves of x only its
 * first entry, which becomes `left`. All of x is far from the ends of float64's range, or 0.
 */
function reflection(a: Float64Array, at: number, length: number): { left: number; weight: number } {
  const first = a[at]!;
  const squares = dotAt(a, at, a, at, length);
  if (squares === 0) return { left: first, weight: 0 };
  const left = first > 0 ? -Math.sqrt(squares) : Math.sqrt(squares);
  a[at] = first - left;
  return { left, weight: 1 / (squares - first * left) };
}
