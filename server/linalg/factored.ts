/**
 * Matrices kept as two thin factors, and their exact singular values, without ever forming the product.
 * 1. B = Q_B R_B and Aᵀ = Q_A R_A, in float64.
 * 2. R_B R_Aᵀ = Y Σ Zᵀ, one rank × rank problem.
 * 3. s·B·A = (Q_B Y) (|s| Σ) (Q_A Z)ᵀ, the sign of s going into the left vectors.
 */
import { at } from "../at.ts";
import { WorkbenchError } from "../errors.ts";
import { diagonalOf, diagonalSum } from "./matrices.ts";
import { thinQr, type ThinQr } from "./qr.ts";
import { gramMatrix, type TallMatrix } from "./tallMatrix.ts";
import { svdValues } from "./singularValues.ts";
import { svd, type Svd } from "./svd.ts";
import { subtractCombined, workspace } from "./columnKernels.ts";
import { addTimesAt, copyTimes, dot, norm, peak } from "./vectors.ts";

/** scale · left · right */
export interface FactoredMatrix {
  /** `[dOut, rank]`: LoRA's B */
  readonly left: Float32Array;
  /** `[rank, dIn]`: LoRA's A */
  readonly right: Float32Array;
  readonly dOut: number;
  readonly dIn: number;
  readonly rank: number;
  readonly scale: number;
}

/** Of s·B·A, all NaN when a factor holds NaN or infinity. */
export interface FactoredSpectrum {
  /** Singular values `[rank]`, descending, ≥ 0; beyond min(dOut, dIn) they are 0. */
  readonly values: Float64Array;
  /** ‖s·B·A‖_F, not by way of the values, so that Σσ² can be checked against it. */
  readonly norm: number;
  /** Σᵢ B[i, k]² and Σᵢ A[k, i]² of each of the rank-one terms that make up the product. */
  readonly squares: { readonly left: Float64Array; readonly right: Float64Array };
}

/**
 * Singular values of s·B·A.
 * @returns `[rank]` descending, ≥ 0; beyond min(dOut, dIn) they are 0
 * @throws "spectrum.zero" at rank 0; "spectrum.notConverged" when a factor holds NaN or infinity
 */
export function singularValues(m: FactoredMatrix): Float64Array {
  checkRank(m);
  return valuesOf(m, coreOf(thinQr(columnsOfLeft(m)), thinQr(rowsOfRight(m)), m.rank));
}

/**
 * The same and more, of one whose Gram matrices are known; of rank 0, nothing.
 * @param columns BᵀB @param rows A Aᵀ, both `[rank, rank]`
 * @throws "spectrum.notConverged"
 */
export function spectrumOfGrams(m: FactoredMatrix, columns: Float64Array, rows: Float64Array): FactoredSpectrum {
  const squares = { left: diagonalOf(columns, m.rank), right: diagonalOf(rows, m.rank) };
  const trace = dot(columns, rows);
  if (m.rank === 0 || !Number.isFinite(trace)) return { values: new Float64Array(m.rank).fill(NaN), norm: m.rank === 0 ? 0 : NaN, squares };
  const core = coreOf(thinQr(columnsOfLeft(m), columns), thinQr(rowsOfRight(m), rows), m.rank);
  const size = isCancelled(m, trace, columns, rows) ? norm(core) : Math.sqrt(trace);
  return { values: valuesOf(m, core), norm: Math.abs(m.scale) * size, squares };
}

/**
 * s·B·A = U diag(s) Vᵀ, thin. Signs: the largest entry of each right vector is positive, so that runs can be compared.
 * @returns `u` `[dOut, rank]`, columns whose value is 0 are 0; `s` `[rank]` descending; `vt` `[rank, dIn]`, orthonormal rows up to dIn
 * @throws "spectrum.zero" at rank 0; "spectrum.notConverged" when a factor holds NaN or infinity
 */
export function factoredSvd(m: FactoredMatrix): { u: Float32Array; s: Float64Array; vt: Float32Array } {
  const { rank, dOut, dIn } = m;
  const b = thinQr(columnsOfLeft(m));
  const a = thinQr(rowsOfRight(m));
  const core = coreSvd(m, b, a);
  const right = a.times(core.v, rank);
  const left = b.times(core.u, rank);
  const vt = new Float32Array(rank * dIn);
  const u = new Float32Array(dOut * rank);
  for (let k = 0; k < rank; k++) {
    const flip = peak(right, k * dIn, dIn) < 0 ? -1 : 1;
    copyTimes(vt, k * dIn, 1, flip, right, k * dIn, dIn);
    const turn = m.scale < 0 ? -flip : flip;
    copyTimes(u, k, rank, turn, left, k * dOut, dOut);
  }
  return { u, s: core.s, vt };
}

/**
 * ‖s·B·A‖_F = |s| √tr(BᵀB · A Aᵀ): a way of its own, so that Σσ² can be checked against it.
 * @returns NaN when a factor holds NaN or infinity
 */
export function frobeniusNorm(m: FactoredMatrix): number {
  const columns = gramMatrix(columnsOfLeft(m));
  const rows = gramMatrix(rowsOfRight(m));
  const trace = dot(columns, rows);
  if (!Number.isFinite(trace)) return NaN;
  if (!isCancelled(m, trace, columns, rows)) return Math.abs(m.scale) * Math.sqrt(trace);
  return Math.abs(m.scale) * norm(coreOf(thinQr(columnsOfLeft(m), columns), thinQr(rowsOfRight(m), rows), m.rank));
}

/** Whether factors nearly cancel, which leaves only rounding in tr(BᵀB · A Aᵀ); the triangles do not square it. */
function isCancelled({ rank }: FactoredMatrix, trace: number, columns: Float64Array, rows: Float64Array): boolean {
  return !(trace > 1e-6 * diagonalSum(columns, rank) * diagonalSum(rows, rank));
}

/** The whole product, `[dOut, dIn]`; for tests and small sites. */
export function denseProduct(m: FactoredMatrix): Float32Array {
  const dense = new Float32Array(m.dOut * m.dIn);
  for (const [o, row] of productRows(m)) dense.set(row, o * m.dIn);
  return dense;
}

/** Rows of scale · left · right in float64, each with its place; one buffer `[dIn]`, which the next row overwrites. */
export function* productRows({ left, right, dOut, dIn, rank, scale }: FactoredMatrix): Generator<[o: number, row: Float64Array]> {
  const row = new Float64Array(dIn);
  const rows = new Float64Array(right);
  for (let o = 0; o < dOut; o++) {
    row.fill(0);
    for (let k = 0; k < rank; k++) addTimesAt(row, 0, scale * at(left, o * rank + k), rows, k * dIn, dIn);
    yield [o, row];
  }
}

/**
 * Σ of factored matrices of one shape, factors side by side: rank is the sum of ranks.
 * Scales go into the left factor, rounded to float32, unless all are equal.
 * @throws "adapter.shapeMismatch" when shapes differ, "spectrum.zero" when there are none
 */
export function sumOf(terms: readonly FactoredMatrix[]): FactoredMatrix {
  const [first] = terms;
  if (!first) throw new WorkbenchError("spectrum.zero", "sum of factored matrices: found none; expected at least one");
  const { dOut, dIn } = first;
  const rank = terms.reduce((sum, term) => sum + term.rank, 0);
  const scale = terms.every((term) => term.scale === first.scale) ? first.scale : 1;
  const left = new Float32Array(dOut * rank);
  const right = new Float32Array(rank * dIn);
  let start = 0;
  for (const term of terms) {
    if (term.dOut !== dOut || term.dIn !== dIn)
      throw new WorkbenchError(
        "adapter.shapeMismatch",
        `sum of factored matrices: one is [${term.dOut}, ${term.dIn}]; expected [${dOut}, ${dIn}] like the first`,
      );
    const factor = scale === term.scale ? 1 : term.scale;
    for (let o = 0; o < dOut; o++) copyTimes(left, o * rank + start, 1, factor, term.left, o * term.rank, term.rank);
    right.set(term.right, start * dIn);
    start += term.rank;
  }
  return { left, right, dOut, dIn, rank, scale };
}

/** B */
export function columnsOfLeft({ left, dOut, rank }: FactoredMatrix): TallMatrix {
  return { data: left, rows: dOut, n: rank, rowStride: rank, columnStride: 1 };
}

/** Aᵀ, seen through strides. */
export function rowsOfRight({ right, dIn, rank }: FactoredMatrix): TallMatrix {
  return { data: right, rows: dIn, n: rank, rowStride: 1, columnStride: dIn };
}

function coreSvd(m: FactoredMatrix, b: ThinQr, a: ThinQr): Svd {
  checkRank(m);
  const { u, s, v } = svd(coreOf(b, a, m.rank), m.rank, m.rank);
  return { u, v, s: s.map((value) => Math.abs(m.scale) * value) };
}

function valuesOf(m: FactoredMatrix, core: Float64Array): Float64Array {
  return svdValues(core, m.rank).map((value) => Math.abs(m.scale) * value);
}

function checkRank({ rank }: FactoredMatrix): void {
  if (rank === 0) throw new WorkbenchError("spectrum.zero", "a matrix of rank 0 has no singular values");
}

/** R_B R_Aᵀ, `[n, n]` column-major: column j is Σ_{k ≥ j} R_A[j, k] times column k of R_B. */
function coreOf(b: ThinQr, a: ThinQr, n: number): Float64Array {
  const [weights, y] = [n * n, 2 * n * n];
  const work = workspace(y + n);
  work.set(b.r);
  for (let k = 0; k < n; k++) for (let j = 0; j <= k; j++) work[weights + j * n + k] = -a.r[k * n + j]!;
  const product = new Float64Array(n * n);
  for (let j = 0; j < n; j++) {
    work.fill(0, y, y + n);
    subtractCombined(y, weights + j * n + j, { first: j * n, count: n - j, length: n, stride: n });
    product.set(work.subarray(y, y + n), j * n);
  }
  return product;
}
