/** The conformance suite: every case of the table, values and gradients, on one engine. */
import * as tf from "@tensorflow/tfjs-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Engine } from "../../server/tensors/engine.ts";
import { float32, type HostTensor, type IntTensor } from "../../server/tensors/hostTensor.ts";
import { type Case, cases, type Domain } from "./conformanceCases.ts";
import { type Array64, gradient, size } from "./reference64.ts";

export interface Tolerances {
  readonly value: number;
  readonly gradient: number;
}

/**
 * Float32 rounds by 6e-8; the cases add at most some hundred roundings, and tfjs's erf is itself good to 1.5e-7.
 * A derivative passes through the forward values and as many roundings again.
 */
export const float32Tolerances: Tolerances = { value: 1e-5, gradient: 5e-5 };

/** A small seeded generator (mulberry32), uniform in [0, 1). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function sample(domain: Domain, shapes: readonly (readonly number[])[], seed: number): Array64[] {
  const next = random(seed);
  const count = shapes.reduce((total, shape) => total + size(shape), 0);
  // For "apart": a shuffled grid of odd multiples of 0.05, so that no two values are equal, and none is 0 or an integer or near.
  const grid = Array.from({ length: count }, (_, i) => (2 * (i - (count >> 1)) + 1) * 0.053);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [grid[i], grid[j]] = [grid[j]!, grid[i]!];
  }
  const draw: Record<Domain, () => number> = {
    any: () => 4 * next() - 2,
    positive: () => 0.4 + 2 * next(),
    unit: () => 1.6 * next() - 0.8,
    apart: () => grid.pop()!,
  };
  // Rounded to float32, so that engine and reference start from the same numbers.
  return shapes.map((shape) => ({ shape, data: Float64Array.from({ length: size(shape) }, () => Math.fround(draw[domain]())) }));
}

const host = ({ shape, data }: Array64): HostTensor => float32(Float32Array.from(data), shape);

function expectClose(found: HostTensor, wanted: Array64, tolerance: number, what: string): void {
  expect(found.shape, `shape of ${what}`).toEqual(wanted.shape);
  wanted.data.forEach((value, i) => {
    const error = Math.abs(found.data[i]! - value) / (1 + Math.abs(value));
    // Written so that NaN fails.
    if (!(error <= tolerance)) expect.fail(`${what}, entry ${i}: ${found.data[i]!} where the reference has ${value} (relative error ${error})`);
  });
}

async function check(engine: Engine, tolerances: Tolerances, name: string, { fn, reference, shapes, domain, gradient: hasGradient }: Case): Promise<void> {
  const inputs = sample(domain, shapes, 1);
  const wanted = reference(inputs);
  const cotangent = sample("any", [wanted.shape], 2)[0]!;
  const names = inputs.map((_, i) => `x${i}`);
  const feeds: Record<string, HostTensor> = Object.fromEntries(inputs.map((input, i) => [names[i]!, host(input)]));
  const value = await engine.compile(name, (tensors) => ({ y: fn(names.map((one) => tensors[one]!)) }), { inputs: feeds, weights: {} });
  const { y } = await value.run(feeds);
  expectClose(y!, wanted, y!.dtype === "float32" ? tolerances.value : 0, "the value");
  if (!hasGradient) return;
  const derivative = await engine.compile(
    `${name}, gradient`,
    (tensors) => {
      const loss = (...operands: tf.Tensor[]): tf.Scalar => tf.sum(tf.mul(fn(operands), tensors["cotangent"]!));
      const found = tf.grads(loss)(names.map((one) => tensors[one]!));
      return Object.fromEntries(found.map((one, i) => [names[i]!, one]));
    },
    { inputs: { ...feeds, cotangent: host(cotangent) }, weights: {} },
  );
  const found = await derivative.run({ ...feeds, cotangent: host(cotangent) });
  names.forEach((one, i) => {
    expectClose(found[one]!, gradient(reference, inputs, i, cotangent), tolerances.gradient, `the gradient of ${one}`);
  });
}

/** `gaps`: cases this engine is known to fail, each with the reason; they must fail, or the entry is out of date. */
export function conformanceSuite(
  label: string,
  create: () => Promise<Engine>,
  tolerances = float32Tolerances,
  gaps: Readonly<Record<string, string>> = {},
): void {
  describe(`operations on ${label}`, () => {
    let engine: Engine;
    beforeAll(async () => {
      engine = await create();
    });
    afterAll(async () => {
      await engine.dispose();
      expect(tf.memory().numTensors, "tensors left behind").toBe(0);
    });

    it.each(Object.entries(cases))("%s agrees with float64, and so does its gradient", async (name, one) => {
      const checked = check(engine, tolerances, name, one);
      await (name in gaps ? expect(checked, gaps[name]).rejects.toThrow() : checked);
    });

    it("a program can return its input, a constant, a scalar, integers, booleans and nothing", async () => {
      const feeds = { x: float32(Float32Array.of(1, -2), [2]), i: { dtype: "int32", shape: [2], data: Int32Array.of(4, 5) } as IntTensor };
      const program = await engine.compile(
        "odd outputs",
        ({ x, i }) => ({
          x: x!,
          again: x!,
          constant: tf.tensor1d([1, 2, 3]),
          scalar: tf.sum(x!),
          i: tf.add(i!, i!),
          b: tf.greater(x!, 0),
          empty: tf.zeros([0, 3]),
          ones: tf.ones([2, 2]),
        }),
        { inputs: feeds, weights: {} },
      );
      const found = await program.run(feeds);
      expect(found).toEqual({
        x: float32(Float32Array.of(1, -2), [2]),
        again: float32(Float32Array.of(1, -2), [2]),
        constant: float32(Float32Array.of(1, 2, 3), [3]),
        scalar: float32(Float32Array.of(-1), []),
        i: { dtype: "int32", shape: [2], data: Int32Array.of(8, 10) },
        b: { dtype: "bool", shape: [2], data: Uint8Array.of(1, 0) },
        empty: float32(new Float32Array(0), [0, 3]),
        ones: float32(Float32Array.of(1, 1, 1, 1), [2, 2]),
      });
    });

    it("inputs of size zero give results of size zero", async () => {
      const feeds = { x: float32(new Float32Array(0), [0, 3]), w: float32(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]) };
      const program = await engine.compile("empty", ({ x, w }) => ({ y: tf.matMul(tf.add(x!, 1), w!, false, true), s: tf.sum(x!, 0) }), {
        inputs: feeds,
        weights: {},
      });
      const { y, s } = await program.run(feeds);
      expect(y!.shape).toEqual([0, 2]);
      expect(s).toEqual(float32(new Float32Array(3), [3]));
    });
  });
}
