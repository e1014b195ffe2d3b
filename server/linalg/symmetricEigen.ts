/** Eigenvalues and leading eigenvectors of a real symmetric matrix: Householder to tridiagonal form, then QL with implicit shifts. */
import { at } from "../at.ts";
import { WorkbenchError } from "../errors.ts";
import { tridiagonalEigen } from "./tridiagonalEigen.ts";
import { addTimes, divide, dot } from "./vectors.ts";

/**
 * @param matrix `[n, n]`, symmetric; not changed
 * @returns `[n]`, descending; each within about n·2⁻⁵³ of the largest
 * @throws "spectrum.notConverged" on NaN or infinity
 * @see Golub & Van Loan, "Matrix Computations", 8.3
 */
export function symmetricEigenvalues(matrix: Float64Array, n: number): Float64Array {
  const { diagonal, beside } = tridiagonal(finite(matrix, n), n);
  return tridiagonalEigen(diagonal, beside, n, 0).values;
}

/**
 * The `k` largest eigenvalues and their vectors.
 * @param matrix `[n, n]`, symmetric; not changed
 * @returns `values` `[k]` descending; `vectors` `[k, n]`, rows orthonormal to about n·2⁻⁵³
 * @throws "spectrum.notConverged" on NaN or infinity
 * @see Golub & Van Loan, "Matrix Computations", 8.3
 */
export function symmetricEigen(matrix: Float64Array, n: number, k: number): { values: Float64Array; vectors: Float64Array } {
  const { reflectors, halves, diagonal, beside } = tridiagonal(finite(matrix, n), n);
  const { values, vectors } = tridiagonalEigen(diagonal, beside, k);
  // A = H_{n−1} … H₂ T H₂ … H_{n−1}, so the reflections go back in the order of their size, all vectors under one while it is at hand.
  for (let size = 2; size < n; size++) {
    const half = halves[size] ?? 0;
    if (half === 0) continue;
    const v = reflectors.subarray(size * n, size * n + size);
    for (let j = 0; j < k; j++) {
      const x = vectors.subarray(j * n, j * n + size);
      addTimes(x, -dot(v, x) / half, v);
    }
  }
  return { values, vectors };
}

/** A copy. */
function finite(matrix: Float64Array, n: number): Float64Array {
  if (!matrix.every(Number.isFinite))
    throw new WorkbenchError("spectrum.notConverged", `eigenvalues of a ${n} × ${n} matrix: it holds NaN or infinity; expected finite values`);
  return matrix.slice();
}

interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** `beside[i]` couples i and i + 1 */
  readonly beside: Float64Array;
  /** Row k holds in its first k entries the vector v of the reflection 1 − v vᵀ / halves[k]; halves of 0 stand for none. */
  readonly reflectors: Float64Array;
  readonly halves: Float64Array;
}

/** Reflections from the last row up; only the lower triangle is read. @param a overwritten */
function tridiagonal(a: Float64Array, n: number): Tridiagonal {
  const halves = new Float64Array(n);
  const beside = new Float64Array(n);
  const space = new Float64Array(n);
  for (let k = n - 1; k > 1; k--) {
    const row = a.subarray(k * n, k * n + k);
    let scale = 0;
    for (const value of row) scale = Math.max(scale, Math.abs(value));
    if (scale === 0) continue;
    divide(row, scale);
    const squares = dot(row, row);
    const last = at(row, k - 1);
    const turned = last > 0 ? -Math.sqrt(squares) : Math.sqrt(squares);
    beside[k - 1] = scale * turned;
    const half = squares - last * turned; // ‖v‖² / 2 of v = row − turned · e
    halves[k] = half;
    row[k - 1] = last - turned;
    // image = A v / half, from the lower triangle alone
    const image = space.subarray(0, k).fill(0);
    for (let i = 0; i < k; i++) {
      const [start, vi] = [i * n, row[i]!];
      let sum = a[start + i]! * vi;
      for (let j = 0; j < i; j++) {
        const value = a[start + j]!;
        sum += value * row[j]!;
        image[j]! += value * vi;
      }
      image[i]! += sum;
    }
    divide(image, half);
    addTimes(image, -dot(image, row) / (2 * half), row);
    // A ← A − v wᵀ − w vᵀ
    for (let i = 0; i < k; i++) {
      const [start, vi, wi] = [i * n, row[i]!, image[i]!];
      for (let j = 0; j <= i; j++) a[start + j]! -= vi * image[j]! + wi * row[j]!;
    }
  }
  if (n > 1) beside[0] = at(a, n);
  return { diagonal: Float64Array.from({ length: n }, (_, i) => at(a, i * n + i)), beside, reflectors: a, halves };
}
