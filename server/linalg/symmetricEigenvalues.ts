/** Eigenvalues alone of a real symmetric matrix: Householder to tridiagonal form, then QL with implicit shifts. */
import { WorkbenchError } from "../errors.ts";

/** Each eigenvalue settles in two or three shifts. */
const maxShifts = 60;

/**
 * @param matrix `[n, n]`, symmetric; not changed
 * @returns `[n]`, descending; each within about n·2⁻⁵³ of the largest
 * @throws "spectrum.notConverged" on NaN or infinity
 * @see Golub & Van Loan, "Matrix Computations", 8.3
 */
export function symmetricEigenvalues(matrix: Float64Array, n: number): Float64Array {
  if (!matrix.every(Number.isFinite))
    throw new WorkbenchError("spectrum.notConverged", `eigenvalues of a ${n} × ${n} matrix: it holds NaN or infinity; expected finite values`);
  const { diagonal, beside } = tridiagonal(matrix.slice(), n);
  implicitQl(diagonal, beside, n);
  return diagonal.sort().reverse();
}

/** Reflections from the last row up; only the lower triangle is read. @param a overwritten @returns `beside[i]` couples i and i + 1 */
function tridiagonal(a: Float64Array, n: number): { diagonal: Float64Array; beside: Float64Array } {
  const beside = new Float64Array(n);
  const image = new Float64Array(n);
  for (let k = n - 1; k > 1; k--) {
    const row = a.subarray(k * n, k * n + k);
    let scale = 0;
    for (const value of row) scale = Math.max(scale, Math.abs(value));
    if (scale === 0) continue;
    let squares = 0;
    for (let i = 0; i < k; i++) {
      row[i]! /= scale;
      squares += row[i]! * row[i]!;
    }
    const last = row[k - 1]!;
    const turned = last > 0 ? -Math.sqrt(squares) : Math.sqrt(squares);
    beside[k - 1] = scale * turned;
    const half = squares - last * turned; // ‖v‖² / 2 of v = row − turned · e
    row[k - 1] = last - turned;
    // image = A v / half, from the lower triangle alone
    image.fill(0, 0, k);
    for (let i = 0; i < k; i++) {
      const at = i * n;
      const vi = row[i]!;
      let sum = a[at + i]! * vi;
      for (let j = 0; j < i; j++) {
        const value = a[at + j]!;
        sum += value * row[j]!;
        image[j]! += value * vi;
      }
      image[i]! += sum;
    }
    let along = 0;
    for (let i = 0; i < k; i++) {
      image[i]! /= half;
      along += image[i]! * row[i]!;
    }
    const share = along / (2 * half);
    for (let i = 0; i < k; i++) image[i]! -= share * row[i]!;
    // A ← A − v wᵀ − w vᵀ
    for (let i = 0; i < k; i++) {
      const [at, vi, wi] = [i * n, row[i]!, image[i]!];
      for (let j = 0; j <= i; j++) a[at + j]! -= vi * image[j]! + wi * row[j]!;
    }
  }
  if (n > 1) beside[0] = a[n]!;
  return { diagonal: Float64Array.from({ length: n }, (_, i) => a[i * n + i]!), beside };
}

/** @param d diagonal, becomes the eigenvalues @param e `e[i]` couples i and i + 1; overwritten */
function implicitQl(d: Float64Array, e: Float64Array, n: number): void {
  for (let l = 0; l < n; l++) {
    for (let shift = 0; ; shift++) {
      let m = l;
      while (m < n - 1 && Math.abs(e[m]!) > Number.EPSILON * (Math.abs(d[m]!) + Math.abs(d[m + 1]!))) m++;
      if (m === l) break;
      if (shift === maxShifts) throw new WorkbenchError("spectrum.notConverged", `eigenvalues of a ${n} × ${n} matrix did not settle in ${maxShifts} shifts`);
      const q = (d[l + 1]! - d[l]!) / (2 * e[l]!);
      const r = Math.hypot(q, 1);
      let g = d[m]! - d[l]! + e[l]! / (q + (q < 0 ? -r : r));
      let [s, c, p] = [1, 1, 0];
      let isCut = false;
      for (let i = m - 1; i >= l; i--) {
        const f = s * e[i]!;
        const b = c * e[i]!;
        const length = Math.hypot(f, g);
        e[i + 1] = length;
        if (length === 0) {
          d[i + 1]! -= p;
          e[m] = 0;
          isCut = true;
          break;
        }
        s = f / length;
        c = g / length;
        g = d[i + 1]! - p;
        const t = (d[i]! - g) * s + 2 * c * b;
        p = s * t;
        d[i + 1] = g + p;
        g = c * t - b;
      }
      if (isCut) continue;
      d[l]! -= p;
      e[l] = g;
      e[m] = 0;
    }
  }
}
