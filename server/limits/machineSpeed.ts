/** What this machine can do at best: matrix products of each engine, and moving memory. */
import * as tf from "@tensorflow/tfjs-core";
import type { Engine } from "../tensors/engine.ts";
import { float32 } from "../tensors/hostTensor.ts";

/** [rows, inner, columns] of a product x Wᵀ, as of a linear layer with W `[columns, inner]`. */
export type ProductShape = readonly [rows: number, inner: number, columns: number];

/** A short prompt, a long one, and the batch of a sweep, at GPT-2-small's width. */
export const productShapes: readonly ProductShape[] = [
  [16, 768, 3072],
  [128, 768, 3072],
  [512, 768, 3072],
  [512, 3072, 768],
  [128, 768, 50257],
];

/** Runs of each thing timed, after one that is not. */
const repeats = 9;

/** @returns floating point operations a second, 2 · rows · inner · columns of them a product, of the fastest of nine */
export async function productSpeed(engine: Engine, [rows, inner, columns]: ProductShape): Promise<number> {
  const x = float32(filled(rows * inner), [rows, inner]);
  const values = filled(inner * columns);
  const w = { key: `limit ${columns}x${inner}`, shape: [columns, inner], data: () => values };
  // Summed up, so that the product is all that is timed and little is handed out.
  const program = await engine.compile("limit", ({ x: left }, { w: right }) => (left && right ? { y: tf.sum(tf.matMul(left, right, false, true), 0) } : {}), {
    inputs: { x: { shape: x.shape, dtype: "float32" } },
    weights: { w: w.shape },
  });
  return (2 * rows * inner * columns) / (await fastest(() => program.run({ x }, { w })));
}

/** Far more than the caches hold. */
const largeLength = 2 ** 24;

/** @returns bytes a second, read and written ones both counted, of one array into another by one thread */
export async function copySpeed(): Promise<number> {
  const [from, to] = [filled(largeLength), new Float32Array(largeLength)];
  return (2 * from.byteLength) / (await fastest(() => Promise.resolve(to.set(from))));
}

async function fastest(run: () => Promise<unknown>): Promise<number> {
  await run();
  let best = Infinity;
  for (let i = 0; i < repeats; i++) {
    const start = performance.now();
    await run();
    best = Math.min(best, (performance.now() - start) / 1000);
  }
  return best;
}

const filled = (length: number): Float32Array => Float32Array.from({ length }, (_, i) => ((i * 7919) % 1000) / 1000 - 0.5);
