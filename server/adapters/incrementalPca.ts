/**
 * Ways to learn r directions of a stream of vectors that is seen in batches, in float64: incremental PCA, Sanger's Hebbian rule,
 * and a moving average of the batches' own principal directions.
 * @see Ross et al. 2008, "Incremental learning for robust visual tracking"; scikit-learn, IncrementalPCA; Sanger 1989
 */
import { at } from "../at.ts";
import { WorkbenchError } from "../errors.ts";
import type { FloatTensor } from "../tensors/hostTensor.ts";
import { leadingSvd } from "../linalg/leadingSvd.ts";
import { timesRows } from "../linalg/products.ts";
import { orthonormalRows } from "../linalg/qr.ts";
import { addTimes, addTimesAt, divide, dot, rowOf } from "../linalg/vectors.ts";

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
    const b = at(x.shape, 0);
    if (b === 0) return;
    const [n, held] = [this.#count, this.#values.length];
    const batchMean = columnMeans(x.data, b, d);
    const isFirst = n === 0;
    const rows = held + b + (isFirst ? 0 : 1);
    const merged = new Float64Array(rows * d);
    for (const [j, value] of this.#values.entries()) addTimesAt(merged, j * d, value, this.#rows, j * d, d);
    merged.set(x.data, held * d);
    for (let i = 0; i < b; i++) addTimesAt(merged, (held + i) * d, -1, batchMean, 0, d);
    if (!isFirst) {
      const weight = Math.sqrt((n * b) / (n + b));
      addTimesAt(merged, (rows - 1) * d, weight, this.#mean, 0, d);
      addTimesAt(merged, (rows - 1) * d, -weight, batchMean, 0, d);
    }
    const { s, vt } = leadingSvd(merged, rows, d, Math.min(this.#r, rows, d));
    this.#values = s;
    this.#rows = vt;
    this.#mean = this.#mean.map((value, c) => (n * value + b * at(batchMean, c)) / (n + b));
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
    const [b, d, r] = [at(x.shape, 0), this.#mean.length, this.#r];
    if (b === 0) return;
    this.#count += b;
    const batchMean = columnMeans(x.data, b, d);
    const share = b / this.#count;
    this.#mean.forEach((value, c) => (this.#mean[c] = value + (at(batchMean, c) - value) * share));
    const [joint, own] = [new Float64Array(r * d), new Float64Array(r * r)];
    for (const centred of rowsWithout(x.data, this.#mean)) {
      const y = timesRows(this.#rows, r, d, centred);
      for (const [j, value] of y.entries()) {
        addTimesAt(joint, j * d, value / b, centred, 0, d);
        addTimesAt(own, j * r, value / b, y, 0, j + 1);
      }
    }
    const next = this.#rows.slice();
    for (let j = 0; j < r; j++) {
      addTimesAt(next, j * d, this.#rate, joint, j * d, d);
      for (let k = 0; k <= j; k++) addTimesAt(next, j * d, -this.#rate * at(own, j * r + k), this.#rows, k * d, d);
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
    const [b, d] = [at(x.shape, 0), this.#rows.length / this.#r];
    // A batch with fewer vectors than directions says nothing of the rest.
    if (b < this.#r) return;
    const { vt } = leadingSvd(x.data, b, d, this.#r);
    this.#rows = this.#isFirst
      ? vt
      : orthonormalRows(
          this.#rows.map((value, i) => (1 - this.#share) * value + this.#share * at(vt, i)),
          this.#r,
          d,
        );
    this.#isFirst = false;
  }

  directions(): Float64Array {
    return this.#rows;
  }
}

/**
 * ‖X_c Pᵀ P‖² beside ‖X_c‖² of the centred batch, as 1 − ‖X_c − X_c Pᵀ P‖²/‖X_c‖²: between 0 and 1 for orthonormal rows.
 * @param p `[r, d]`
 */
export function keptShare(x: FloatTensor, p: ArrayLike<number>, r: number): number {
  const [b, d] = [at(x.shape, 0), at(x.shape, 1)];
  const basis = Float64Array.from(p);
  let [lost, whole] = [0, 0];
  for (const rest of rowsWithout(x.data, columnMeans(x.data, b, d))) {
    whole += dot(rest, rest);
    const y = timesRows(basis, r, d, rest);
    for (const [j, value] of y.entries()) addTimesAt(rest, 0, -value, basis, j * d, d);
    lost += dot(rest, rest);
  }
  return whole > 0 ? 1 - lost / whole : NaN;
}

/** Each row of x less the mean `[d]`, in a buffer that the next row overwrites. */
function* rowsWithout(x: Float32Array, mean: Float64Array): Generator<Float64Array> {
  const d = mean.length;
  const row = new Float64Array(d);
  for (let start = 0; start < x.length; start += d) {
    row.set(x.subarray(start, start + d));
    addTimes(row, -1, mean);
    yield row;
  }
}

function columnMeans(x: Float32Array, rows: number, d: number): Float64Array {
  const mean = new Float64Array(d);
  for (let i = 0; i < rows; i++) addTimes(mean, 1, rowOf(x, i, d));
  divide(mean, rows);
  return mean;
}
