/** Singular values of an upper bidiagonal matrix in float64, by QR steps with implicit shifts on the matrix itself, never on its square. */
import { WorkbenchError } from "../errors.ts";
import { peak } from "./vectors.ts";

/** A value takes two or three steps; many more means that the matrix holds no numbers. */
const maxSteps = 60;
/** Of the largest entry: far below what rounding leaves of any value. */
const negligible = 2 ** -60;

/**
 * @param d `[n]`, the diagonal, n ≥ 1; overwritten, its entries far from the ends of float64's range
 * @param e `[n]`, what stands above `d[1]`, `d[2]` …, and a last entry of 0; overwritten
 * @returns `[n]` descending, ≥ 0, each within about n·2⁻⁵³ of the largest
 * @throws "spectrum.notConverged"
 * @see Golub & Van Loan, "Matrix Computations", 8.6; LINPACK's dsvdc
 */
export function bidiagonalValues(d: Float64Array, e: Float64Array): Float64Array {
  const n = d.length;
  const least = negligible * Math.max(Math.abs(peak(d, 0, n)), Math.abs(peak(e, 0, n)));
  const stands = (k: number): boolean => Math.abs(e[k]!) > Math.max(least, Number.EPSILON * (Math.abs(d[k]!) + Math.abs(d[k + 1]!)));
  let steps = 0;
  for (let high = n - 1; high > 0;) {
    if (!stands(high - 1)) {
      high--;
      steps = 0;
      continue;
    }
    let low = high - 1;
    while (low > 0 && stands(low - 1)) low--;
    let zero = low;
    while (zero <= high && Math.abs(d[zero]!) > least) zero++;
    if (zero === high) clearColumn(d, e, low, high);
    else if (zero < high) clearRow(d, e, zero, high);
    else if (steps++ < maxSteps) step(d, e, low, high);
    else throw new WorkbenchError("spectrum.notConverged", `singular values of a bidiagonal ${n} × ${n} matrix did not settle in ${maxSteps} steps`);
  }
  return d
    .map((value) => Math.abs(value))
    .sort()
    .reverse();
}

/** d[high] is 0: rotations of columns take what stands above it, up to row `low`. */
function clearColumn(d: Float64Array, e: Float64Array, low: number, high: number): void {
  let bulge = e[high - 1]!;
  e[high - 1] = 0;
  for (let k = high - 1; k >= low; k--) {
    const length = Math.sqrt(d[k]! ** 2 + bulge ** 2);
    const [c, s] = [d[k]! / length, bulge / length];
    d[k] = length;
    if (k === low) return;
    bulge = -s * e[k - 1]!;
    e[k - 1]! *= c;
  }
}

/** d[zero] is 0: rotations of rows take what stands beside it, on to column `high`. */
function clearRow(d: Float64Array, e: Float64Array, zero: number, high: number): void {
  let bulge = e[zero]!;
  e[zero] = 0;
  d[zero] = 0;
  for (let k = zero + 1; k <= high; k++) {
    const length = Math.sqrt(d[k]! ** 2 + bulge ** 2);
    const [c, s] = length > 0 ? [d[k]! / length, bulge / length] : [1, 0];
    d[k] = length;
    bulge = -s * e[k]!;
    e[k]! *= c;
  }
}

/** One QR step on the block low … high, shifted by the eigenvalue of the last 2 × 2 of its square that is nearer to the last entry. */
function step(d: Float64Array, e: Float64Array, low: number, high: number): void {
  const [above, last, beside] = [d[high - 1]!, d[high]!, e[high - 1]!];
  const half = ((above + last) * (above - last) + beside * beside) / 2;
  const coupling = (last * beside) ** 2;
  const root = Math.sqrt(half * half + coupling);
  const shift = coupling > 0 ? coupling / (half + (half < 0 ? -root : root)) : 0;
  let here = d[low]!; // d[k] and e[k] as the rotation before has left them
  let f = (here + last) * (here - last) + shift;
  let g = here * e[low]!;
  for (let k = low; k < high; k++) {
    let length = Math.sqrt(f * f + g * g);
    let c = length > 0 ? f / length : 1;
    let s = length > 0 ? g / length : 0;
    if (k > low) e[k - 1] = length;
    const over = e[k]!;
    f = c * here + s * over;
    const left = c * over - s * here;
    g = s * d[k + 1]!;
    const under = c * d[k + 1]!;
    length = Math.sqrt(f * f + g * g);
    c = length > 0 ? f / length : 1;
    s = length > 0 ? g / length : 0;
    d[k] = length;
    f = c * left + s * under;
    here = c * under - s * left;
    g = s * e[k + 1]!;
    e[k + 1]! *= c;
  }
  d[high] = here;
  e[high - 1] = f;
}
