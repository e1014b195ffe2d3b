/** Cholesky factors of small symmetric matrices in float64, with their inverses. */
import { subtractCombined, workspace } from "./columnKernels.ts";

/** Upper triangles, `[n, n]` column-major; 0 below the diagonal. */
export interface CholeskyFactor {
  readonly r: Float64Array;
  readonly inverse: Float64Array;
}

/**
 * G = RᵀR. A column of Rᵀ is what earlier ones leave of G's, over the root of its first entry: L_j = (G_j − Σ_{k<j} R_kj L_k) / R_jj;
 * one of R⁻¹ is −Σ_{k<i} R_ki X_k / R_ii, with 1 / R_ii on the diagonal.
 * @param gram `[n, n]`, symmetric; not changed
 * @returns null unless rounding leaves every pivot above 0
 */
export function cholesky(gram: Float64Array, n: number): CholeskyFactor | null {
  const stride = n + (n % 2);
  const [lower, inverse, upper, y] = [0, n * stride, 2 * n * stride, 3 * n * stride];
  const work = workspace(y + stride);
  for (let j = 0; j < n; j++) {
    for (let i = j; i < n; i++) work[y + i] = gram[j * n + i]!;
    subtractCombined(y + j, upper + j * stride, { first: lower + j, count: j, length: n - j, stride });
    const pivot = work[y + j]!;
    if (!(pivot > 0)) return null;
    const root = Math.sqrt(pivot);
    for (let i = j; i < n; i++) work[lower + j * stride + i] = work[upper + i * stride + j] = work[y + i]! / root;
  }
  for (let i = 0; i < n; i++) {
    const column = inverse + i * stride;
    work.fill(0, y, y + i);
    subtractCombined(y, upper + i * stride, { first: inverse, count: i, length: i, stride });
    const pivot = work[upper + i * stride + i]!;
    for (let k = 0; k < i; k++) work[column + k] = work[y + k]! / pivot;
    work[column + i] = 1 / pivot;
  }
  const packed = (from: number): Float64Array => {
    const triangle = new Float64Array(n * n);
    for (let j = 0; j < n; j++) for (let i = 0; i <= j; i++) triangle[j * n + i] = work[from + j * stride + i]!;
    return triangle;
  };
  return { r: packed(upper), inverse: packed(inverse) };
}
