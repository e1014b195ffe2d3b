/**
 * Ways to learn r directions of a stream of vectors that is seen in batches, in float64: incremental PCA, Sanger's Hebbian rule,
 * and a moving average of the batches' own principal directions.
 * @see Ross et al. 2008, "Incremental learning for robust visual tracking"; scikit-learn, IncrementalPCA; Sanger 1989
 */
import { WorkbenchError } from "../errors.ts";
import type { FloatTensor } from "../tensors/hostTensor.ts";
import { leadingSvd } from "../linalg/leadingSvd.ts";
import { thinQr } from "../linalg/qr.ts";

export interface DirectionLearner {
  /** @param x `[rows, d]` */
  update(x: FloatTensor): void;
  /** `[r, d]`, the leading direction first. */
  directions(): Float64Array;
}

/**
 * Exact PCA of all that was seen, but for what each merge drops below rank r. State n, μ, S, V; for a batch X of b rows:
 * μ' = (n μ + Σ X)/(n + b);  M = [diag(S) V; X − mean(X); √(n b/(n + b)) (μ − mean(X))];  S, V ← the leading r of M = U S V.
 */
export class IncrementalPca implements DirectionLearner {
  readonly #start: Float64Array;
  readonly #d: number;
  readonly #r: number;
  #count = 0;
  #mean: Float64Array;
  #values: Float64Array = new Float64Array(0);
  #rows: Float64Array = new Float64Array(0);

  /** @param start `[r, d]` orthonormal rows: what stands in while fewer than r vectors were seen */
  constructor(start: Float64Array, r: number) {
    this.#start = start;
    this.#r = r;
    this.#d = start.length / r;
    this.#mean = new Float64Array(this.#d);
  }

  get mean(): Float64Array {
    return this.#mean;
  }

  /** Singular values of the centred stream, `[min(r, seen)]`. */
  get values(): Float64Array {
    return this.#values;
  }

  update(x: FloatTensor): void {
    const d = this.#d;
    const b = x.shape[0]!;
    if (b === 0) return;
    const [n, held] = [this.#count, this.#values.length];
    const batchMean = columnMeans(x.data, b, d);
    const isFirst = n === 0;
    const rows = held + b + (isFirst ? 0 : 1);
    const merged = new Float64Array(rows * d);
    for (let j = 0; j < held; j++) for (let c = 0; c < d; c++) merged[j * d + c] = this.#values[j]! * this.#rows[j * d + c]!;
    for (let i = 0; i < b; i++) for (let c = 0; c < d; c++) merged[(held + i) * d + c] = x.data[i * d + c]! - batchMean[c]!;
    if (!isFirst) {
      const weight = Math.sqrt((n * b) / (n + b));
      for (let c = 0; c < d; c++) merged[(rows - 1) * d + c] = weight * (this.#mean[c]! - batchMean[c]!);
    }
    const { s, vt } = leadingSvd(merged, rows, d, Math.min(this.#r, rows, d));
    this.#values = s;
    this.#rows = vt;
    this.#mean = this.#mean.map((value, c) => (n * value + b * batchMean[c]!) / (n + b));
    this.#count = n + b;
  }

  directions(): Float64Array {
    if (this.#values.length === this.#r) return this.#rows;
    const found = new Float64Array(this.#r * this.#d);
    found.set(this.#rows);
    found.set(this.#start.subarray(this.#rows.length), this.#rows.length);
    return orthonormalRows(found, this.#r, this.#d);
  }
}

/** y = (x − μ) Pᵀ;  P ← P + η [(yᵀ (x − μ))/b − tril(yᵀ y/b) P]: the rows of P become the principal directions, in order. */
export class HebbianLearner implements DirectionLearner {
  readonly #r: number;
  readonly #rate: number;
  readonly #orthonormalises: boolean;
  #count = 0;
  readonly #mean: Float64Array;
  #rows: Float64Array;

  /** @param start `[r, d]` orthonormal rows @param rate η @param orthonormalises QR after every batch */
  constructor(start: Float64Array, r: number, rate: number, orthonormalises: boolean) {
    this.#r = r;
    this.#rate = rate;
    this.#orthonormalises = orthonormalises;
    this.#rows = start.slice();
    this.#mean = new Float64Array(start.length / r);
  }

  /** @throws "training.diverged" when η times the variance is too large for the rule to be stable */
  update(x: FloatTensor): void {
    const [b, d, r] = [x.shape[0]!, this.#mean.length, this.#r];
    if (b === 0) return;
    this.#count += b;
    const batchMean = columnMeans(x.data, b, d);
    for (let c = 0; c < d; c++) this.#mean[c]! += (batchMean[c]! - this.#mean[c]!) * (b / this.#count);
    const [joint, own] = [new Float64Array(r * d), new Float64Array(r * r)];
    const centred = new Float64Array(d);
    const y = new Float64Array(r);
    for (let i = 0; i < b; i++) {
      for (let c = 0; c < d; c++) centred[c] = x.data[i * d + c]! - this.#mean[c]!;
      for (let j = 0; j < r; j++) {
        let sum = 0;
        for (let c = 0; c < d; c++) sum += centred[c]! * this.#rows[j * d + c]!;
        y[j] = sum;
      }
      for (let j = 0; j < r; j++) {
        const value = y[j]! / b;
        for (let c = 0; c < d; c++) joint[j * d + c]! += value * centred[c]!;
        for (let k = 0; k <= j; k++) own[j * r + k]! += value * y[k]!;
      }
    }
    const next = this.#rows.slice();
    for (let j = 0; j < r; j++)
      for (let c = 0; c < d; c++) {
        let lower = 0;
        for (let k = 0; k <= j; k++) lower += own[j * r + k]! * this.#rows[k * d + c]!;
        next[j * d + c]! += this.#rate * (joint[j * d + c]! - lower);
      }
    if (!next.every((value) => Math.abs(value) < 1e6))
      throw new WorkbenchError(
        "training.diverged",
        `the Hebbian rule diverged at rate ${this.#rate}, for the inputs vary too much; use a smaller ghaRate, or orthonormalise`,
      );
    this.#rows = this.#orthonormalises ? orthonormalRows(next, r, d) : next;
  }

  directions(): Float64Array {
    return this.#rows;
  }
}

/** P ← V of the first batch, not centred; then P ← QR((1 − ε) P + ε V). */
export class MovingAverageLearner implements DirectionLearner {
  readonly #r: number;
  readonly #share: number;
  #rows: Float64Array;
  #isFirst = true;

  /** @param share ε */
  constructor(start: Float64Array, r: number, share: number) {
    this.#r = r;
    this.#share = share;
    this.#rows = start.slice();
  }

  update(x: FloatTensor): void {
    const [b, d] = [x.shape[0]!, this.#rows.length / this.#r];
    // A batch with fewer vectors than directions says nothing of the rest.
    if (b < this.#r) return;
    const { vt } = leadingSvd(x.data, b, d, this.#r);
    this.#rows = this.#isFirst
      ? vt
      : orthonormalRows(
          this.#rows.map((value, at) => (1 - this.#share) * value + this.#share * vt[at]!),
          this.#r,
          d,
        );
    this.#isFirst = false;
  }

  directions(): Float64Array {
    return this.#rows;
  }
}

/** Gram–Schmidt's rows, by QR of the transpose with R's diagonal positive: `[r, d]`, r ≤ d. */
export function orthonormalRows(rows: Float64Array, r: number, d: number): Float64Array {
  const qr = thinQr({ data: rows, rows: d, n: r, rowStride: 1, columnStride: d });
  const signs = new Float64Array(r * r);
  for (let j = 0; j < r; j++) signs[j * r + j] = qr.r[j * r + j]! < 0 ? -1 : 1;
  return qr.times(signs, r);
}

/**
 * ‖X_c Pᵀ P‖² beside ‖X_c‖² of the centred batch, as 1 − ‖X_c − X_c Pᵀ P‖²/‖X_c‖²: between 0 and 1 for orthonormal rows.
 * @param p `[r, d]`
 */
export function keptShare(x: FloatTensor, p: ArrayLike<number>, r: number): number {
  const [b, d] = [x.shape[0]!, x.shape[1]!];
  const mean = columnMeans(x.data, b, d);
  let [lost, whole] = [0, 0];
  const rest = new Float64Array(d);
  const y = new Float64Array(r);
  for (let i = 0; i < b; i++) {
    for (let c = 0; c < d; c++) rest[c] = x.data[i * d + c]! - mean[c]!;
    for (let j = 0; j < r; j++) {
      let sum = 0;
      for (let c = 0; c < d; c++) sum += rest[c]! * p[j * d + c]!;
      y[j] = sum;
    }
    for (let c = 0; c < d; c++) whole += rest[c]! * rest[c]!;
    for (let j = 0; j < r; j++) for (let c = 0; c < d; c++) rest[c]! -= y[j]! * p[j * d + c]!;
    for (let c = 0; c < d; c++) lost += rest[c]! * rest[c]!;
  }
  return whole > 0 ? 1 - lost / whole : NaN;
}

function columnMeans(x: Float32Array, rows: number, d: number): Float64Array {
  const mean = new Float64Array(d);
  for (let i = 0; i < rows; i++) for (let c = 0; c < d; c++) mean[c]! += x[i * d + c]!;
  return mean.map((value) => value / rows);
}
