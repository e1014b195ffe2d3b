/** Small dense decompositions in float64 by Jacobi rotations: symmetric eigenvalues and singular values of n ≤ a few hundred. */
import { WorkbenchError } from "../errors.ts";

const maxSweeps = 60;

/**
 * Eigenvalues and eigenvectors of a symmetric matrix, cyclic Jacobi.
 * @param matrix `[n, n]`, symmetric; not changed
 * @returns `values` `[n]` descending; `vectors` `[n, n]`, column k belongs to value k
 * @throws "spectrum.notConverged" on NaN or infinity
 * @see Golub & Van Loan, "Matrix Computations", 8.5
 */
export function symmetricEigen(matrix: Float64Array, n: number): { values: Float64Array; vectors: Float64Array } {
  const a = matrix.slice();
  const v = identity(n);
  let total = 0;
  for (const value of a) total += value * value;
  if (!Number.isFinite(total)) throw new WorkbenchError("spectrum.notConverged", `eigenvalues of a ${n} × ${n} matrix: it holds NaN or infinity`);
  for (let sweep = 0; sweep < maxSweeps; sweep++) {
    let off = 0;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) off += a[p * n + q]! ** 2;
    if (off <= 1e-32 * total) return sorted(Float64Array.from({ length: n }, (_, k) => a[k * n + k]!), v, n);
    for (let p = 0; p < n - 1; p++) {
      for (let q = p + 1; q < n; q++) {
        const apq = a[p * n + q]!;
        if (apq === 0) continue;
        const theta = (a[q * n + q]! - a[p * n + p]!) / (2 * apq);
        const t = Math.sign(theta || 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        const c = 1 / Math.sqrt(t * t + 1);
        const s = t * c;
        rotateColumns(a, n, n, p, q, c, s);
        rotateRows(a, n, p, q, c, s);
        rotateColumns(v, n, n, p, q, c, s);
      }
    }
  }
  throw new WorkbenchError("spectrum.notConverged", `eigenvalues of a ${n} × ${n} matrix did not settle in ${maxSweeps} sweeps`);
}

/**
 * Singular value decomposition of a square matrix, one-sided Jacobi on its columns: M = U diag(s) Vᵀ.
 * @param matrix `[n, n]`; not changed
 * @returns `s` `[n]` descending; `u`, `v` `[n, n]` with vectors as columns; columns of `u` whose s is 0 are 0
 * @throws "spectrum.notConverged"
 * @see Demmel & Veselić 1992, "Jacobi's method is more accurate than QR"
 */
export function jacobiSvd(matrix: Float64Array, n: number): { u: Float64Array; s: Float64Array; v: Float64Array } {
  const a = matrix.slice();
  const v = identity(n);
  for (let sweep = 0; ; sweep++) {
    if (sweep === maxSweeps) throw new WorkbenchError("spectrum.notConverged", `singular values of a ${n} × ${n} matrix did not settle in ${maxSweeps} sweeps`);
    let rotated = false;
    for (let p = 0; p < n - 1; p++) {
      for (let q = p + 1; q < n; q++) {
        let [alpha, beta, gamma] = [0, 0, 0];
        for (let i = 0; i < n; i++) {
          const x = a[i * n + p]!;
          const y = a[i * n + q]!;
          alpha += x * x;
          beta += y * y;
          gamma += x * y;
        }
        if (!Number.isFinite(gamma)) throw new WorkbenchError("spectrum.notConverged", `singular values of a ${n} × ${n} matrix: it holds NaN or infinity`);
        if (Math.abs(gamma) <= 1e-15 * Math.sqrt(alpha * beta)) continue;
        rotated = true;
        const zeta = (beta - alpha) / (2 * gamma);
        const t = Math.sign(zeta || 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
        const c = 1 / Math.sqrt(1 + t * t);
        rotateColumns(a, n, n, p, q, c, c * t);
        rotateColumns(v, n, n, p, q, c, c * t);
      }
    }
    if (!rotated) break;
  }
  const norms = Float64Array.from({ length: n }, (_, k) => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += a[i * n + k]! ** 2;
    return Math.sqrt(sum);
  });
  for (let k = 0; k < n; k++) for (let i = 0; i < n; i++) a[i * n + k] = norms[k]! > 0 ? a[i * n + k]! / norms[k]! : 0;
  const { values, vectors } = sorted(norms, v, n);
  return { s: values, v: vectors, u: sorted(norms, a, n).vectors };
}

function identity(n: number): Float64Array {
  const eye = new Float64Array(n * n);
  for (let k = 0; k < n; k++) eye[k * n + k] = 1;
  return eye;
}

/** Columns p and q of `[rows, n]`: (x, y) → (c x − s y, s x + c y). */
function rotateColumns(a: Float64Array, rows: number, n: number, p: number, q: number, c: number, s: number): void {
  for (let i = 0; i < rows; i++) {
    const x = a[i * n + p]!;
    const y = a[i * n + q]!;
    a[i * n + p] = c * x - s * y;
    a[i * n + q] = s * x + c * y;
  }
}

function rotateRows(a: Float64Array, n: number, p: number, q: number, c: number, s: number): void {
  for (let j = 0; j < n; j++) {
    const x = a[p * n + j]!;
    const y = a[q * n + j]!;
    a[p * n + j] = c * x - s * y;
    a[q * n + j] = s * x + c * y;
  }
}

function sorted(values: Float64Array, vectors: Float64Array, n: number): { values: Float64Array; vectors: Float64Array } {
  const order = [...values.keys()].sort((x, y) => values[y]! - values[x]!);
  const moved = new Float64Array(n * n);
  order.forEach((from, to) => {
    for (let i = 0; i < n; i++) moved[i * n + to] = vectors[i * n + from]!;
  });
  return { values: Float64Array.from(order, (k) => values[k]!), vectors: moved };
}
