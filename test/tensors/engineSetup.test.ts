/** Setting up engines: what is said where nothing could be installed, and what another package's loading must not change. */
import * as tf from "@tensorflow/tfjs-core";
import { expect, it } from "vitest";
import { registerGradients } from "../../server/tensors/gradients.ts";
import { readAnswer } from "../../server/tensors/gpuProbe.ts";
import { checkInstalled, checkSystem, cudaNeeds } from "../../server/tensors/setup/setup.ts";
import { checkDevice, createTfjsNodeEngine, restoreRemovedUtilities } from "../../server/tensors/tfjsNode.ts";

it("our gradients are back after another table was registered over them", () => {
  const ours = tf.getGradient("Tile");
  tf.unregisterGradient("Tile");
  tf.registerGradient({ kernelName: "Tile", gradFunc: () => ({}) });
  registerGradients();
  expect(tf.getGradient("Tile").gradFunc).toBe(ours.gradFunc);
});

it("a set-up that installed nothing fails and names the file", () => {
  expect(() => checkInstalled("tfjs-node", ["/nowhere/tfjs_binding.node"])).toThrow("but /nowhere/tfjs_binding.node is not there");
});

it("a system without CUDA for Node is refused by name", () => {
  expect(() => checkSystem("cuda", "win32", "x64")).toThrow("for Linux x64 only, and this is win32 x64");
});

it("the CUDA packages are those that the wheel's metadata names", () => {
  const metadata = 'Requires-Dist: numpy>=1.26.0\nRequires-Dist: nvidia-cublas-cu12<13.0,>=12.5.3.2; extra == "and-cuda"\n';
  expect(cudaNeeds(metadata)).toEqual(["nvidia-cublas-cu12<13.0,>=12.5.3.2"]);
});

it.each([
  [
    "a missing library and how to get it",
    "libcublasLt.so.13: cannot open shared object file: No such file",
    "load failed",
    "libcublasLt.so.13 is not here (deltascope setup cuda)",
  ],
  ["a missing driver", "libcuda.so.1: cannot open shared object file", "load failed", "an NVIDIA driver for CUDA 13 is needed"],
  [
    "CUDA's own failure alone",
    "",
    "bool onnxruntime::CudaCall(...) CUDA failure 100: no CUDA-capable device is detected ; GPU=-1",
    "CUDA failure 100: no CUDA-capable device is detected",
  ],
])("the GPU probe says %s", (_, stderr, error, words) => {
  const { works, detail } = readAnswer(JSON.stringify({ error }), stderr, null);
  expect(works).toBe(false);
  expect(detail).toContain(words);
  expect(detail.length).toBeLessThan(100);
});

it("libtensorflow under the wrong name, or without a GPU, is refused", () => {
  expect(() => checkDevice("tfjs-node-gpu", { isGPUPackage: true, isUsingGpuDevice: false })).toThrow("found no GPU");
  expect(() => checkDevice("tfjs-node", { isGPUPackage: true, isUsingGpuDevice: true })).toThrow("the other of the two");
  expect(() => checkDevice("tfjs-node-gpu", { isGPUPackage: true, isUsingGpuDevice: true })).not.toThrow();
});

it("tfjs-node refuses --threads, which it could not honour", async () => {
  await expect(createTfjsNodeEngine("tfjs-node", { threads: 2 })).rejects.toThrow("no setting for threads");
});

it("what Node 23 took from node:util is put back, and what is there stays", () => {
  const isArray = () => true;
  const util = { isArray };
  restoreRemovedUtilities(util);
  expect(util.isArray).toBe(isArray);
  expect("isNullOrUndefined" in util && typeof util.isNullOrUndefined === "function" && util.isNullOrUndefined(undefined)).toBe(true);
});
