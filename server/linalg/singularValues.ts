/**
 * The singular values of a dense matrix alone, in float64: Householder to bidiagonal form, then the eigenvalues of
 * the symmetric tridiagonal matrix with a diagonal of zeros and d₁, e₁, d₂, e₂ … beside it, which are ± the singular values.
 * @see Golub & Kahan 1965, "Calculating the singular values and pseudo-inverse of a matrix"
 */
import { withoutScale } from "./svd.ts";
import { tridiagonalEigen } from "./tridiagonalEigen.ts";
import { addTimesAt, dotAt } from "./vectors.ts";

/**
 * @param matrix `[n, n]`, by rows or by columns; not changed
 * @returns `[n]` descending, ≥ 0, each within about n·2⁻⁵³ of the largest
 * @throws "spectrum.notConverged" on NaN, infinity, or an iteration that does not end
 */
export function svdValues(matrix: Float64Array, n: number): Float64Array {
  const { scaled, scale } = withoutScale(matrix, n, n);
  return tridiagonalEigen(new Float64Array(2 * n), bidiagonal(scaled, n), n, 0).values.map((value) => scale * Math.max(0, value));
}

/**
 * Reflections from the left and from the right in turn.
 * @param a `[n, n]` column-major; overwritten
 * @returns `[2n − 1]`: the diagonal, and between its entries what is above it
 */
function bidiagonal(a: Float64Array, n: number): Float64Array {
  const entries = new Float64Array(2 * n - 1);
  const row = new Float64Array(n);
  const image = new Float64Array(n);
  for (let k = 0; k < n; k++) {
    const at = k * n;
    const down = reflection(a.subarray(at + k, at + n));
    entries[2 * k] = down.left;
    for (let j = k + 1; j < n; j++) addTimesAt(a, j * n + k, -down.weight * dotAt(a, at + k, a, j * n + k, n - k), a, at + k, n - k);
    if (k === n - 1) break;
    for (let j = k + 1; j < n; j++) row[j] = a[j * n + k]!;
    const across = reflection(row.subarray(k + 1));
    entries[2 * k + 1] = across.left;
    image.fill(0);
    for (let j = k + 1; j < n; j++) addTimesAt(image, k + 1, across.weight * row[j]!, a, j * n + k + 1, n - k - 1);
    for (let j = k + 1; j < n; j++) addTimesAt(a, j * n + k + 1, -row[j]!, image, k + 1, n - k - 1);
  }
  return entries;
}

/**
 * x becomes the vector v of the reflection 1 − weight · v vᵀ that leaves of x only its first entry, which becomes `left`.
 * @param x overwritten; all of it far from the ends of float64's range, or 0
 */
function reflection(x: Float64Array): { left: number; weight: number } {
  const [first = 0] = x;
  const squares = dotAt(x, 0, x, 0, x.length);
  const length = Math.sqrt(squares);
  if (length === 0) return { left: first, weight: 0 };
  const left = first > 0 ? -length : length;
  x[0] = first - left;
  return { left, weight: 1 / (squares - first * left) };
}
