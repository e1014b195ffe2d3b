/** Batches: every example once an epoch, padding that counts for nothing, and an order that needs no memory. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BatchPlan, evaluationBatches } from "../../server/data/batches.ts";
import type { Batch, Example } from "../../server/data/example.ts";
import { expectCode } from "../formats/expectCode.ts";

const nCtx = 60;

/** Tokens and loss weights that name the example and the place: none is 0, so padding shows. */
const exampleOf = (length: number, index: number): Example => ({
  tokens: Int32Array.from({ length }, (_, place) => 1 + index * nCtx + place),
  lossWeights: Float32Array.from({ length }, (_, place) => (place === 0 ? 0 : 1 + index)),
  label: index % 3,
  task: index % 2,
});
const lengths = fc.array(fc.integer({ min: 1, max: nCtx }), { minLength: 1, maxLength: 200 });
const plans = fc.record({ lengths, batchSize: fc.integer({ min: 1, max: 40 }), seed: fc.nat(), shuffle: fc.boolean(), epoch: fc.nat(3) });

const indexAt = ({ tokens, positions }: Batch, row: number) => (tokens[row * positions]! - 1) / nCtx;
const indicesIn = (batch: Batch) => Array.from({ length: batch.rows }, (_, row) => indexAt(batch, row));
const epochOf = (plan: BatchPlan, epoch: number): Batch[] => Array.from({ length: plan.batchesPerEpoch }, (_, i) => plan.at(epoch * plan.batchesPerEpoch + i));
const ascending = (numbers: readonly number[]) => numbers.toSorted((a, b) => a - b);
const padding = (batches: readonly Batch[]) => batches.reduce((sum, { last, positions }) => sum + last.reduce((n, place) => n + positions - 1 - place, 0), 0);

describe("a plan of batches", () => {
  it("has every example in exactly one batch of every epoch, and only the last cut short", () => {
    fc.assert(
      fc.property(plans, ({ lengths: all, epoch, ...options }) => {
        const batches = epochOf(new BatchPlan(all.map(exampleOf), { ...options, nCtx }), epoch);
        expect(ascending(batches.flatMap(indicesIn))).toEqual(all.map((_, i) => i));
        expect(batches).toHaveLength(Math.ceil(all.length / options.batchSize));
        expect(batches.filter(({ rows }) => rows !== options.batchSize).length).toBeLessThanOrEqual(1);
      }),
    );
  });

  it("pads to few lengths, gives padding no weight, and targets the token after each place", () => {
    fc.assert(
      fc.property(plans, ({ lengths: all, epoch, ...options }) => {
        const examples = all.map(exampleOf);
        for (const batch of epochOf(new BatchPlan(examples, { ...options, nCtx }), epoch)) {
          const { rows, positions } = batch;
          expect(positions % 8 === 0 || positions === nCtx).toBe(true);
          for (let row = 0; row < rows; row++) {
            const index = indexAt(batch, row);
            const { tokens, lossWeights, label, task } = examples[index]!;
            const at = (values: Int32Array | Float32Array) => Array.from(values.subarray(row * positions, (row + 1) * positions));
            const padded = (values: ArrayLike<number>) => [...Array.from(values), ...Array.from({ length: positions - values.length }, () => 0)];
            expect(at(batch.tokens)).toEqual(padded(tokens));
            expect(at(batch.targets)).toEqual(padded(tokens.subarray(1)));
            expect(at(batch.lossWeights)).toEqual(padded(lossWeights.subarray(1)));
            expect([batch.last[row], batch.labels[row], batch.tasks[row]]).toEqual([tokens.length - 1, label, task]);
          }
        }
      }),
      { numRuns: 40 },
    );
  });

  it("gives a batch by its number alone, whatever was asked before", () => {
    fc.assert(
      fc.property(plans, fc.array(fc.nat(60), { maxLength: 6 }), fc.nat(60), ({ lengths: all, epoch: _, ...options }, before, index) => {
        const examples = all.map(exampleOf);
        const used = new BatchPlan(examples, { ...options, nCtx });
        for (const other of before) used.at(other);
        expect(used.at(index)).toEqual(new BatchPlan(examples, { ...options, nCtx }).at(index));
      }),
      { numRuns: 40 },
    );
  });

  const many = Array.from({ length: 400 }, (_, i) => exampleOf(1 + ((i * 37) % nCtx), i));
  const order = (seed: number, epoch: number, shuffle = true) => epochOf(new BatchPlan(many, { batchSize: 8, seed, shuffle, nCtx }), epoch).flatMap(indicesIn);

  it("draws another order in each epoch and for each seed, and keeps the file's without shuffling", () => {
    expect(order(1, 0)).not.toEqual(order(1, 1));
    expect(order(1, 0)).not.toEqual(order(2, 0));
    expect(order(1, 1, false)).toEqual(many.map((_, i) => i));
  });

  it("puts like lengths together: less than a quarter of the padding that the file's order has", () => {
    const padded = (shuffle: boolean) => padding(epochOf(new BatchPlan(many, { batchSize: 8, seed: 1, shuffle, nCtx }), 0));
    expect(padded(true)).toBeLessThan(0.25 * padded(false));
  });

  it("does not go from short to long", () => {
    const positions = epochOf(new BatchPlan(many, { batchSize: 8, seed: 1, shuffle: true, nCtx }), 0).map((batch) => batch.positions);
    const rises = positions.slice(1).filter((length, i) => length > positions[i]!).length;
    expect(rises).toBeGreaterThan(positions.length / 4);
  });

  it("needs an example", () => expectCode(() => new BatchPlan([], { batchSize: 1, seed: 0, shuffle: true, nCtx }), "data.empty"));
});

describe("batches for evaluation", () => {
  it("hold every example once, the longest first, and may be none", () => {
    fc.assert(
      fc.property(lengths, fc.integer({ min: 1, max: 40 }), (all, batchSize) => {
        const batches = evaluationBatches(all.map(exampleOf), batchSize, nCtx);
        expect(ascending(batches.flatMap(indicesIn))).toEqual(all.map((_, i) => i));
        const inOrder = batches.flatMap(({ last }) => [...last]);
        expect(inOrder).toEqual(ascending(inOrder).reverse());
      }),
    );
    expect(evaluationBatches([], 4, nCtx)).toEqual([]);
  });
});
