/**
 * The leading singular triplets of a dense matrix in float64, on this thread, to full precision.
 * 1. A symmetric operator on the shorter side: AᵀA (or AAᵀ), formed once when many triplets are asked for, else applied by two products.
 * 2. Lanczos with full reorthogonalisation, from a fixed start, until the wanted eigenpairs have settled.
 * 3. The other side's vectors are A v / σ, made orthonormal again, so that small and zero values have vectors too.
 * @see Golub & Van Loan, "Matrix Computations", 10.1 and 10.4; Parlett, "The Symmetric Eigenvalue Problem", 13
 */
import { WorkbenchError } from "../errors.ts";
import { gramMatrix, thinQr } from "./qr.ts";
import { randomStream, type RandomStream } from "./random.ts";
import { tridiagonalEigen } from "./tridiagonal.ts";
import { dotAt } from "./vectors.ts";

/** A V = U diag(s); each row of `vt` has its entry of largest size positive. */
export interface LeadingSvd {
  /** `[k, rows]`, rows orthonormal: Uᵀ */
  readonly ut: Float64Array;
  /** `[k]` descending, ≥ 0 */
  readonly s: Float64Array;
  /** `[k, cols]`, rows orthonormal: Vᵀ */
  readonly vt: Float64Array;
}

/** ‖(AᵀA − λ) v‖ below this share of the largest λ: rounding leaves about 1e-15. */
const settled = 1e-13;

/**
 * @param a `[rows, cols]` row-major; not changed
 * @param k at most min(rows, cols)
 * @throws "spectrum.notConverged" when `a` holds NaN or infinity
 */
export function leadingSvd(a: Float32Array | Float64Array, rows: number, cols: number, k: number): LeadingSvd {
  for (const value of a)
    if (!Number.isFinite(value))
      throw new WorkbenchError("spectrum.notConverged", `singular vectors of a ${rows} × ${cols} matrix: it holds ${value}; expected finite values`);
  const isTall = rows >= cols;
  const near = lanczos(symmetricOperator(a, rows, cols, k), Math.min(rows, cols), k);
  const far = orthonormalImages(near, a, rows, cols, isTall, k);
  const [ut, vt] = isTall ? [far.vectors, near] : [near, far.vectors];
  for (let j = 0; j < k; j++) {
    if (peak(vt, j * cols, cols) >= 0) continue;
    for (let i = j * cols; i < (j + 1) * cols; i++) vt[i]! *= -1;
    for (let i = j * rows; i < (j + 1) * rows; i++) ut[i]! *= -1;
  }
  return { ut, s: far.lengths, vt };
}

type Operator = (x: Float64Array, y: Float64Array) => void;

/** y = BᵀB x, B the matrix with its shorter side last. The matrix BᵀB costs as much as `short` products: it pays when about that many follow. */
function symmetricOperator(a: Float32Array | Float64Array, rows: number, cols: number, k: number): Operator {
  const isTall = rows >= cols;
  const short = Math.min(rows, cols);
  if (k * 8 > short) {
    const gram = gramMatrix(
      isTall ? { data: a, rows, n: cols, rowStride: cols, columnStride: 1 } : { data: a, rows: cols, n: rows, rowStride: 1, columnStride: cols },
    );
    return (x, y) => timesRows(gram, short, short, x, y);
  }
  const between = new Float64Array(Math.max(rows, cols));
  return isTall
    ? (x, y) => {
        timesRows(a, rows, cols, x, between);
        timesColumns(a, rows, cols, between, y);
      }
    : (x, y) => {
        timesColumns(a, rows, cols, x, between);
        timesRows(a, rows, cols, between, y);
      };
}

/** Leading eigenvectors of a symmetric positive operator on n numbers, as rows `[k, n]`. */
function lanczos(apply: Operator, n: number, k: number): Float64Array {
  const random = randomStream(0, "lanczos", n);
  let capacity = Math.min(n, 2 * k + 40);
  let basis = new Float64Array(capacity * n);
  const diagonal: number[] = [];
  const beside: number[] = []; // between step j and j + 1
  const image = new Float64Array(n);
  fillUnit(basis, 0, n, random);
  let largest = 0;
  for (let step = 1; ; step++) {
    const at = (step - 1) * n;
    apply(basis.subarray(at, at + n), image);
    diagonal.push(dotAt(image, 0, basis, at, n));
    largest = Math.max(largest, Math.abs(diagonal.at(-1)!));
    // Twice is enough (Kahan): the first pass leaves rounding of the size of what it took out.
    for (let pass = 0; pass < 2; pass++) for (let j = 0; j < step; j++) takeOut(image, basis, j * n, n);
    let length = Math.sqrt(dotAt(image, 0, image, 0, n));
    if (step === n) return combine(basis, tridiagonalEigen(diagonal, beside, k).vectors, step, n, k);
    if (length <= Number.EPSILON * largest * n) length = 0;
    if (step >= k && (length === 0 || step % 16 === 0 || step === capacity)) {
      // ‖(AᵀA − λ) v‖ of a Ritz vector is the next length times the last component of its eigenvector.
      const { vectors: tails } = tridiagonalEigen(diagonal, beside, k, 1);
      if (length > 0 && tails.every((tail) => length * Math.abs(tail) <= settled * largest))
        return combine(basis, tridiagonalEigen(diagonal, beside, k).vectors, step, n, k);
    }
    if (step === capacity) {
      capacity = Math.min(n, capacity + Math.max(64, capacity >> 1));
      const longer = new Float64Array(capacity * n);
      longer.set(basis);
      basis = longer;
    }
    beside.push(length);
    if (length > 0) for (let i = 0; i < n; i++) basis[step * n + i] = image[i]! / length;
    else restart(basis, step, n, random); // an invariant subspace: what is missing lies beside it
  }
}

function restart(basis: Float64Array, step: number, n: number, random: RandomStream): void {
  fillUnit(basis, step * n, n, random);
  const fresh = basis.subarray(step * n, (step + 1) * n);
  for (let pass = 0; pass < 2; pass++) for (let j = 0; j < step; j++) takeOut(fresh, basis, j * n, n);
  const length = Math.sqrt(dotAt(fresh, 0, fresh, 0, n));
  for (let i = 0; i < n; i++) fresh[i]! /= length;
}

function fillUnit(x: Float64Array, at: number, n: number, random: RandomStream): void {
  for (let i = at; i < at + n; i++) x[i] = random.gaussian();
  const length = Math.sqrt(dotAt(x, at, x, at, n));
  for (let i = at; i < at + n; i++) x[i]! /= length;
}

/** B v of each row v, made orthonormal as rows `[k, long]`, and their lengths: the singular values. */
function orthonormalImages(
  near: Float64Array,
  a: Float32Array | Float64Array,
  rows: number,
  cols: number,
  isTall: boolean,
  k: number,
): { vectors: Float64Array; lengths: Float64Array } {
  const [short, long] = isTall ? [cols, rows] : [rows, cols];
  const vectors = new Float64Array(k * long);
  for (let j = 0; j < k; j++) {
    const [from, to] = [near.subarray(j * short, (j + 1) * short), vectors.subarray(j * long, (j + 1) * long)];
    if (isTall) timesRows(a, rows, cols, from, to);
    else timesColumns(a, rows, cols, from, to);
  }
  const lengths = Float64Array.from({ length: k }, (_, j) => Math.sqrt(dotAt(vectors, j * long, vectors, j * long, long)));
  // Orthonormal whatever the rank, for where the lengths vanish QR goes by reflections; R is diagonal up to rounding, so only signs can differ.
  const qr = thinQr({ data: vectors, rows: long, n: k, rowStride: 1, columnStride: long });
  const signs = new Float64Array(k * k);
  for (let j = 0; j < k; j++) signs[j * k + j] = qr.r[j * k + j]! < 0 ? -1 : 1;
  return { vectors: qr.times(signs, k), lengths };
}

/** y = A x, A row-major; four rows at a time keep the processor busy. */
function timesRows(a: Float32Array | Float64Array, rows: number, cols: number, x: Float64Array, y: Float64Array): void {
  let r = 0;
  for (; r + 3 < rows; r += 4) {
    let [s0, s1, s2, s3] = [0, 0, 0, 0];
    const [a0, a1, a2, a3] = [r * cols, (r + 1) * cols, (r + 2) * cols, (r + 3) * cols];
    for (let c = 0; c < cols; c++) {
      const value = x[c]!;
      s0 += a[a0 + c]! * value;
      s1 += a[a1 + c]! * value;
      s2 += a[a2 + c]! * value;
      s3 += a[a3 + c]! * value;
    }
    y[r] = s0;
    y[r + 1] = s1;
    y[r + 2] = s2;
    y[r + 3] = s3;
  }
  for (; r < rows; r++) {
    let sum = 0;
    for (let c = 0; c < cols; c++) sum += a[r * cols + c]! * x[c]!;
    y[r] = sum;
  }
}

/** y = Aᵀ x */
function timesColumns(a: Float32Array | Float64Array, rows: number, cols: number, x: Float64Array, y: Float64Array): void {
  y.fill(0, 0, cols);
  let r = 0;
  for (; r + 3 < rows; r += 4) {
    const [x0, x1, x2, x3] = [x[r]!, x[r + 1]!, x[r + 2]!, x[r + 3]!];
    const [a0, a1, a2, a3] = [r * cols, (r + 1) * cols, (r + 2) * cols, (r + 3) * cols];
    for (let c = 0; c < cols; c++) y[c]! += x0 * a[a0 + c]! + x1 * a[a1 + c]! + x2 * a[a2 + c]! + x3 * a[a3 + c]!;
  }
  for (; r < rows; r++) {
    const value = x[r]!;
    for (let c = 0; c < cols; c++) y[c]! += value * a[r * cols + c]!;
  }
}

function takeOut(x: Float64Array, basis: Float64Array, at: number, n: number): void {
  const share = dotAt(x, 0, basis, at, n);
  for (let i = 0; i < n; i++) x[i]! -= share * basis[at + i]!;
}

/** `[k, n]`: row j is Σ mix[j, i] basis[i]. */
function combine(basis: Float64Array, mix: Float64Array, steps: number, n: number, k: number): Float64Array {
  const out = new Float64Array(k * n);
  for (let j = 0; j < k; j++) timesColumns(basis, steps, n, mix.subarray(j * steps, (j + 1) * steps), out.subarray(j * n, (j + 1) * n));
  return out;
}

function peak(values: Float64Array, at: number, n: number): number {
  let found = 0;
  for (let i = at; i < at + n; i++) if (Math.abs(values[i]!) > Math.abs(found)) found = values[i]!;
  return found;
}
