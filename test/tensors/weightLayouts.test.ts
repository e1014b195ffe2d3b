import * as tf from "@tensorflow/tfjs-core";
import { afterEach, describe, expect, it } from "vitest";
import { at } from "../../server/at.ts";
import { randomStream, uniforms } from "../../server/linalg/random.ts";
import type { ProgramFunction, Signature, Weight } from "../../server/tensors/engine.ts";
import { float32, type HostTensor } from "../../server/tensors/hostTensor.ts";
import { loadOrt, OnnxEngine, type OnnxEngineOptions } from "../../server/tensors/onnx.ts";

const random = randomStream(3);
const [inner, width] = [192, 384];
const weightOf = (key: string, shape: readonly [number, number]): Weight => {
  const values = uniforms(shape[0] * shape[1], 1, random);
  return { key, shape, data: () => values };
};
const plain = weightOf("plain", [inner, width]);
const turned = weightOf("turned", [width, inner]);

let engine: OnnxEngine | undefined;
const engineOf = async (options: OnnxEngineOptions = {}): Promise<OnnxEngine> =>
  (engine = new OnnxEngine("onnx-cpu", await loadOrt(), { threads: 2, ...options }));
afterEach(async () => engine?.dispose());

/** Σ_k x[row, k] w[k, column], the weight read as its product does. */
function product(x: HostTensor, weight: Weight, isTransposed: boolean): Float64Array {
  const rows = x.data.length / inner;
  const w = weight.data();
  return Float64Array.from({ length: rows * width }, (_, at) => {
    const [row, column] = [Math.floor(at / width), at % width];
    let sum = 0;
    for (let k = 0; k < inner; k++) sum += (x.data[row * inner + k] ?? NaN) * (w[isTransposed ? column * inner + k : k * width + column] ?? NaN);
    return sum;
  });
}

async function runs(
  one: OnnxEngine,
  count: number,
  fn: ProgramFunction,
  x: HostTensor,
  weight: Weight,
  more: Partial<Signature> = {},
): Promise<Float32Array[]> {
  const program = await one.compile(`${fn}`, fn, { inputs: { x }, weights: { w: weight.shape }, ...more });
  const all: Float32Array[] = [];
  for (let i = 0; i < count; i++) all.push((await program.run({ x }, { w: weight }))["y"]!.data as Float32Array);
  return all;
}

/** How many numbers differ. */
const differing = (x: Float32Array, y: Float32Array): number => x.reduce((count, value, i) => count + (Object.is(value, y[i]) ? 0 : 1), 0);

const timesPlain: ProgramFunction = ({ x }, { w }) => ({ y: tf.matMul(x!, w!) });
const timesTurned: ProgramFunction = ({ x }, { w }) => ({ y: tf.matMul(x!, w!, false, true) });
const input = (...shape: number[]): HostTensor =>
  float32(
    uniforms(
      shape.reduce((n, dim) => n * dim, inner),
      1,
      random,
    ),
    [...shape, inner],
  );

function expectNear(found: ArrayLike<number>, expected: Float64Array): void {
  expect(found.length).toBe(expected.length);
  const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  expect(expected.reduce((most, value, i) => Math.max(most, Math.abs(value - (found[i] ?? NaN))), 0)).toBeLessThan(1e-5 * scale);
}

describe("a product with a frozen weight", () => {
  for (const shape of [[1], [2], [16], [48], [49], [200], [1100]]) {
    it(`of ${shape[0]} rows is the same from the first run to the fifth, whichever way the weight lies`, async () => {
      const one = await engineOf();
      const x = input(...shape);
      for (const [fn, weight, isTransposed] of [
        [timesPlain, plain, false],
        [timesTurned, turned, true],
      ] as const) {
        const all = await runs(one, 5, fn, x, weight);
        for (const y of all) {
          expectNear(y, product(x, weight, isTransposed));
          // Nobody can tell when a copy was made.
          expect(differing(y, at(all, 0))).toBe(0);
        }
      }
    });
  }

  it("of rows in a batch keeps its shape", async () => {
    const one = await engineOf();
    const x = input(2, 3, 5);
    // A tensor of rank 4 beside the product, so that its shape matters.
    const fn: ProgramFunction = ({ x: given }, { w }) => ({
      y: tf.mul(tf.add(tf.matMul(given!, tf.expandDims(tf.expandDims(w!, 0), 0)), 1), tf.ones([2, 3, 5, 1])),
    });
    for (const y of await runs(one, 5, fn, x, plain))
      expectNear(
        y,
        product(x, plain, false).map((value) => value + 1),
      );
  });

  it("and the same rows with two weights, and again with what came of one, are right together", async () => {
    const one = await engineOf();
    const x = input(7);
    const fn: ProgramFunction = ({ x: given }, { w }) => {
      const there = tf.matMul(given!, w!, false, true);
      return { y: tf.add(there, tf.matMul(tf.matMul(there, w!), w!, false, true)) };
    };
    const there = product(x, turned, true);
    const back = new Float64Array(7 * inner);
    const w = turned.data();
    for (let row = 0; row < 7; row++)
      for (let k = 0; k < inner; k++) for (let c = 0; c < width; c++) back[row * inner + k]! += there[row * width + c]! * w[c * inner + k]!;
    const again = product(float32(Float32Array.from(back), [7, inner]), turned, true);
    for (const y of await runs(one, 5, fn, x, turned))
      expectNear(
        y,
        there.map((value, i) => value + again[i]!),
      );
  });
});

describe("a bias after a product", () => {
  const bias = Float32Array.from({ length: width }, (_, i) => i / width - 0.5);
  const withBias =
    (isTransposed: boolean, isReadTwice: boolean): ProgramFunction =>
    ({ x }, { w }) => {
      const sums = tf.matMul(x!, w!, false, isTransposed);
      const y = tf.add(sums, tf.tensor1d(bias));
      return { y: isReadTwice ? tf.add(y, tf.mul(sums, 2)) : y };
    };

  it.each([1, 2, 7, 48, 64, 300])("is added to %i rows, to the same bits from the first run to the fifth, and what is read twice is kept", async (rows) => {
    const one = await engineOf();
    const x = input(rows);
    for (const [weight, isTransposed] of [
      [plain, false],
      [turned, true],
    ] as const)
      for (const isReadTwice of [false, true]) {
        const fn = withBias(isTransposed, isReadTwice);
        const program = await one.compile(`bias ${isTransposed} ${isReadTwice}`, fn, { inputs: { x }, weights: { w: weight.shape } });
        const sums = product(x, weight, isTransposed);
        const expected = sums.map((value, i) => (isReadTwice ? 3 : 1) * value + (bias[i % width] ?? NaN));
        let first: Float32Array | undefined;
        for (let i = 0; i < 5; i++) {
          const y = (await program.run({ x }, { w: weight }))["y"]!.data as Float32Array;
          expectNear(y, expected);
          expect(differing(y, (first ??= y))).toBe(0);
        }
      }
  });
});

describe("a transposed copy", () => {
  it("is made at the third run, and not beyond its bound", async () => {
    const x = input(16);
    const one = await engineOf();
    await runs(one, 2, timesPlain, x, plain);
    expect(one.memory().weightBytes).toBe(0);
    await runs(one, 1, timesPlain, x, plain);
    expect(one.memory().weightBytes).toBe(4 * inner * width);
    await one.dispose();
    expect(one.memory().weightBytes).toBe(0);
    const bounded = await engineOf({ maxTurnedBytes: 4 * inner * width - 1 });
    await runs(bounded, 5, timesPlain, x, plain);
    expect(bounded.memory().weightBytes).toBe(0);
  });

  it("is not made for programs that give their memory back: a resumed training has the bits of one that never stopped", async () => {
    const one = await engineOf();
    const [first, ...others] = await runs(one, 5, timesPlain, input(16), plain, { returnsMemory: true });
    for (const y of others) expect(y).toEqual(first);
    expect(one.memory().weightBytes).toBe(0);
  });

  it("of a weight that nobody runs any more makes room for another", async () => {
    const one = await engineOf({ maxTurnedBytes: 4 * inner * width });
    const x = input(2);
    await runs(one, 3, timesPlain, x, plain);
    const other = weightOf("other", [inner, width]);
    await runs(one, 900, timesPlain, x, other);
    for (const y of await runs(one, 300, timesPlain, x, other)) expectNear(y, product(x, other, false));
    expect(one.memory().weightBytes).toBe(4 * inner * width);
    // The first is used as it lies again, until the other is forgotten.
    for (const y of await runs(one, 3, timesPlain, x, plain)) expectNear(y, product(x, plain, false));
    expect(one.memory().weightBytes).toBe(4 * inner * width);
  });
});
