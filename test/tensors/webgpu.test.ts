/** The same conformance on the WebGPU provider. Needs a Vulkan driver: run through `npm run test:webgpu`. */
import * as tf from "@tensorflow/tfjs-core";
import { describe, expect, it } from "vitest";
import type { Weight } from "../../server/tensors/engine.ts";
import { float32 } from "../../server/tensors/hostTensor.ts";
import { createEngine } from "../../server/tensors/providers.ts";
import { conformanceSuite } from "./conformance.ts";

const enabled = process.env["DELTASCOPE_WEBGPU"] === "1";

// WGSL promises sin and cos to 2⁻¹¹ (absolute), exp and log to a few units in the last place, and the rest by those.
const shaderTolerances = { value: 2 ** -11, gradient: 2 ** -9 };
const gaps = { isNaN: "a WGSL compiler may assume that there is no NaN" };

if (enabled) conformanceSuite("onnx-webgpu", () => createEngine("onnx-webgpu"), shaderTolerances, gaps);

describe.runIf(enabled)("weights on the device", () => {
  it("a weight is sent once and reused by another program", async () => {
    const engine = await createEngine("onnx-webgpu");
    let reads = 0;
    const w: Weight = {
      key: "w",
      shape: [2, 2],
      data: () => {
        reads++;
        return Float32Array.of(1, 2, 3, 4);
      },
    };
    const x = float32(Float32Array.of(1, 1), [1, 2]);
    const signature = { inputs: { x }, weights: { w: w.shape } };
    const product = await engine.compile("product", ({ x }, { w }) => ({ y: tf.matMul(x!, w!) }), signature);
    const transposed = await engine.compile("transposed", ({ x }, { w }) => ({ y: tf.matMul(x!, w!, false, true) }), signature);
    expect([...(await product.run({ x }, { w }))["y"]!.data]).toEqual([4, 6]);
    expect([...(await product.run({ x }, { w }))["y"]!.data]).toEqual([4, 6]);
    expect([...(await transposed.run({ x }, { w }))["y"]!.data]).toEqual([3, 7]);
    expect(reads).toBe(1);
    expect(engine.memory().weightBytes).toBe(16);
    await engine.dispose();
  });
});

it.skipIf(enabled)("the WebGPU suite is skipped without DELTASCOPE_WEBGPU=1", () => {
  expect(enabled).toBe(false);
});
