/**
 * Examples as batches of like length. Batch number `index` of a run is a function of the seed and the index alone,
 * so a resumed run needs no stored order.
 */
import { WorkbenchError } from "../errors.ts";
import { randomStream, shuffled } from "../linalg/random.ts";
import type { Batch, Example } from "./example.ts";

/** Lengths are padded up to a multiple of this, so that few shapes of programs arise. */
const positionStep = 8;
/** Batches among which lengths are sorted: enough to pad little, few enough to keep the order random. */
const batchesInWindow = 16;

export interface BatchPlanOptions {
  readonly batchSize: number;
  readonly seed: number;
  readonly shuffle: boolean;
  /** Positions that the model has; padding does not go beyond. */
  readonly nCtx: number;
}

export class BatchPlan {
  readonly batchesPerEpoch: number;
  readonly #examples: readonly Example[];
  readonly #options: BatchPlanOptions;
  #epoch: { readonly number: number; readonly rows: readonly (readonly number[])[] } | null = null;

  /** @throws "data.empty" */
  constructor(examples: readonly Example[], options: BatchPlanOptions) {
    if (examples.length === 0) throw new WorkbenchError("data.empty", "there are no examples to train on; expected at least one", { field: "data.path" });
    this.#examples = examples;
    this.#options = options;
    this.batchesPerEpoch = Math.ceil(examples.length / options.batchSize);
  }

  /** Batch `index` of the run, 0 the first; every example is in exactly one batch of each epoch. */
  at(index: number): Batch {
    const number = Math.floor(index / this.batchesPerEpoch);
    if (this.#epoch?.number !== number) this.#epoch = { number, rows: this.#rowsOf(number) };
    return batchOf(
      this.#epoch.rows[index % this.batchesPerEpoch]!.map((i) => this.#examples[i]!),
      this.#options.nCtx,
    );
  }

  /** Indices of the examples of each batch of an epoch. */
  #rowsOf(epoch: number): number[][] {
    const { batchSize, seed, shuffle } = this.#options;
    const count = this.#examples.length;
    if (!shuffle)
      return cut(
        Array.from({ length: count }, (_, i) => i),
        batchSize,
      );
    const order = [...shuffled(count, randomStream(seed, "order", epoch))];
    const windows = cut(order, batchSize * batchesInWindow).map((window) =>
      window.toSorted((a, b) => this.#examples[a]!.tokens.length - this.#examples[b]!.tokens.length),
    );
    const batches = cut(windows.flat(), batchSize);
    return [...shuffled(batches.length, randomStream(seed, "batches", epoch))].map((i) => batches[i]!);
  }
}

/** All examples once, the longest first, so that a batch too large for memory fails at once. */
export function evaluationBatches(examples: readonly Example[], batchSize: number, nCtx: number): Batch[] {
  return cut(
    examples.toSorted((a, b) => b.tokens.length - a.tokens.length),
    batchSize,
  ).map((rows) => batchOf(rows, nCtx));
}

/** Padded at the end with token 0 to the longest, rounded up; what the padding's places compute is never used. */
export function batchOf(examples: readonly Example[], nCtx: number): Batch {
  const rows = examples.length;
  const longest = Math.max(...examples.map(({ tokens }) => tokens.length));
  const positions = Math.max(longest, Math.min(nCtx, Math.ceil(longest / positionStep) * positionStep));
  const batch: Batch = {
    rows,
    positions,
    tokens: new Int32Array(rows * positions),
    targets: new Int32Array(rows * positions),
    lossWeights: new Float32Array(rows * positions),
    last: Int32Array.from(examples, ({ tokens }) => tokens.length - 1),
    labels: Int32Array.from(examples, ({ label }) => label ?? 0),
    tasks: Int32Array.from(examples, ({ task }) => task),
  };
  examples.forEach(({ tokens, lossWeights }, row) => {
    batch.tokens.set(tokens, row * positions);
    batch.targets.set(tokens.subarray(1), row * positions);
    batch.lossWeights.set(lossWeights.subarray(1), row * positions);
  });
  return batch;
}

function cut<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}
