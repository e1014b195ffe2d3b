/**
 * Times the engine at GPT-2-small's shape (12 blocks, width 768, 12 heads), on random weights.
 * Run: npx tsx bench/engine.ts [onnx-cpu|wasm|onnx-webgpu] [threads]
 */
import * as tf from "@tensorflow/tfjs-core";
import type { EngineName, ProgramFunction, Tensors, Weight } from "../server/tensors/engine.ts";
import { float32, type HostTensor } from "../server/tensors/hostTensor.ts";
import { createEngine } from "../server/tensors/providers.ts";

const [nLayers, nHeads, dModel, dMlp, rank] = [12, 12, 768, 3072, 8];
const dHead = dModel / nHeads;

const blockShapes = {
  ln1: [2, dModel],
  qkv: [3 * dModel, dModel],
  qkvBias: [3 * dModel],
  out: [dModel, dModel],
  outBias: [dModel],
  ln2: [2, dModel],
  up: [dMlp, dModel],
  upBias: [dMlp],
  down: [dModel, dMlp],
  downBias: [dModel],
} as const;

function layerNorm(x: tf.Tensor, gainAndBias: tf.Tensor): tf.Tensor {
  const [gain, bias] = tf.unstack(gainAndBias);
  const centred = tf.sub(x, tf.mean(x, -1, true));
  const variance = tf.mean(tf.square(centred), -1, true);
  return tf.add(tf.mul(tf.mul(centred, tf.rsqrt(tf.add(variance, 1e-5))), gain!), bias!);
}

function gelu(x: tf.Tensor): tf.Tensor {
  const inner = tf.mul(tf.add(x, tf.mul(tf.pow(x, 3), 0.044715)), Math.sqrt(2 / Math.PI));
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(inner), 1));
}

/** One block; `lora` adds a rank-8 update to the qkv site. */
function block(x: tf.Tensor, w: Tensors, lora?: { a: tf.Tensor; b: tf.Tensor }): tf.Tensor {
  const [batch, positions] = x.shape as [number, number, number];
  const normed = layerNorm(x, w["ln1"]!);
  let qkv = tf.add(tf.matMul(normed, w["qkv"]!, false, true), w["qkvBias"]!);
  if (lora) qkv = tf.add(qkv, tf.matMul(tf.matMul(normed, lora.a, false, true), lora.b, false, true));
  const [q, k, v] = tf.split(qkv, 3, -1).map((part) => tf.transpose(tf.reshape(part, [batch, positions, nHeads, dHead]), [0, 2, 1, 3]));
  const scores = tf.mul(tf.matMul(q!, k!, false, true), 1 / Math.sqrt(dHead));
  const order = tf.range(0, positions, 1, "int32");
  const visible = tf.greaterEqual(tf.expandDims(order, 1), tf.expandDims(order, 0));
  const pattern = tf.softmax(tf.where(visible, scores, tf.fill(scores.shape, -1e9)));
  const z = tf.reshape(tf.transpose(tf.matMul(pattern, v!), [0, 2, 1, 3]), [batch, positions, dModel]);
  const mid = tf.add(x, tf.add(tf.matMul(z, w["out"]!, false, true), w["outBias"]!));
  const hidden = gelu(tf.add(tf.matMul(layerNorm(mid, w["ln2"]!), w["up"]!, false, true), w["upBias"]!));
  return tf.add(mid, tf.add(tf.matMul(hidden, w["down"]!, false, true), w["downBias"]!));
}

function random(shape: readonly number[], scale: number): Float32Array {
  let state = 12345 + shape.length;
  return Float32Array.from({ length: shape.reduce((n, dim) => n * dim, 1) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 32 - 0.5) * scale;
  });
}

async function median(times: number, run: () => Promise<unknown>): Promise<number> {
  const ms: number[] = [];
  for (let i = 0; i < times; i++) {
    const start = performance.now();
    await run();
    ms.push(performance.now() - start);
  }
  return ms.sort((a, b) => a - b)[times >> 1]!;
}

const engineName = (process.argv[2] ?? "onnx-cpu") as EngineName;
const threads = process.argv[3] === undefined ? undefined : Number(process.argv[3]);
const engine = await createEngine(engineName, threads === undefined ? {} : { threads });
const weights: Record<string, Weight> = {};
const weightShapes: Record<string, readonly number[]> = {};
for (let layer = 0; layer < nLayers; layer++) {
  for (const [name, shape] of Object.entries(blockShapes)) {
    const data = random(shape, 0.05);
    weights[`${layer}.${name}`] = { key: `${layer}.${name}`, shape, data: () => data };
    weightShapes[`${layer}.${name}`] = shape;
  }
}
const ofLayer = (all: Tensors, layer: number): Tensors => Object.fromEntries(Object.keys(blockShapes).map((name) => [name, all[`${layer}.${name}`]!]));
const forward: ProgramFunction = ({ x }, w) => {
  let residual = x!;
  for (let layer = 0; layer < nLayers; layer++) residual = block(residual, ofLayer(w, layer));
  return { residual };
};
const loraGradients: ProgramFunction = ({ x, a, b }, w) => {
  const loss = (loraA: tf.Tensor, loraB: tf.Tensor): tf.Scalar => {
    let residual = x!;
    for (let layer = 0; layer < nLayers; layer++) {
      const at = (all: tf.Tensor): tf.Tensor => tf.squeeze(tf.slice(all, [layer, 0, 0], [1, -1, -1]), [0]);
      residual = block(residual, ofLayer(w, layer), { a: at(loraA), b: at(loraB) });
    }
    return tf.mean(tf.square(residual));
  };
  const [dA, dB] = tf.grads(loss)([a!, b!]);
  return { dA: dA!, dB: dB! };
};

async function measure(
  label: string,
  fn: ProgramFunction,
  inputs: Record<string, HostTensor>,
  used: Record<string, Weight>,
  shapes: Record<string, readonly number[]>,
  times: number,
): Promise<void> {
  const start = performance.now();
  const program = await engine.compile(label, fn, { inputs, weights: shapes });
  const compiled = performance.now() - start;
  await program.run(inputs, used);
  const ms = await median(times, () => program.run(inputs, used));
  process.stdout.write(`${label}: compile ${compiled.toFixed(0)} ms, run ${ms.toFixed(1)} ms, rss ${(process.memoryUsage.rss() / 2 ** 20).toFixed(0)} MiB\n`);
}

const input = (batch: number, positions: number): HostTensor => float32(random([batch, positions, dModel], 2), [batch, positions, dModel]);
const oneBlock: ProgramFunction = ({ x }, w) => ({ residual: block(x!, w) });
const firstBlock = Object.fromEntries(Object.keys(blockShapes).map((name) => [name, weights[`0.${name}`]!]));
await measure("block 16×16", oneBlock, { x: input(16, 16) }, firstBlock, blockShapes, 15);
await measure("block 1×128", oneBlock, { x: input(1, 128) }, firstBlock, blockShapes, 15);
await measure("12 blocks 1×128", forward, { x: input(1, 128) }, weights, weightShapes, 7);
const adapter = {
  a: float32(random([nLayers, rank, dModel], 0.1), [nLayers, rank, dModel]),
  b: float32(random([nLayers, 3 * dModel, rank], 0.1), [nLayers, 3 * dModel, rank]),
};
await measure("12 blocks 1×128, LoRA loss and gradients", loraGradients, { x: input(1, 128), ...adapter }, weights, weightShapes, 5);
process.stdout.write(`${JSON.stringify(engine.memory())}\n`);
await engine.dispose();
