/** The programs that engines are measured on: a transformer block with all of its activations handed out, as every look at a model wants them. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import { geluTanh } from "./activations.ts";
import type { Engine, Tensors, Weight } from "./engine.ts";
import { measuredBlocks, type BlockSeconds, type MeasuredBlock } from "./engineSpeeds.ts";
import { float32 } from "./hostTensor.ts";

const eps = 1e-5;

/** Pre-norm attention and MLP over x `[rows, width]`; weights `[dOut, dIn]`. */
function block({ width, heads, rows }: MeasuredBlock, x: Tensor, weight: (name: string) => Tensor): Tensors {
  const norm = (input: Tensor): Tensor => {
    const centred = tf.sub(input, tf.mean(input, -1, true));
    return tf.div(centred, tf.sqrt(tf.add(tf.mean(tf.square(centred), -1, true), eps)));
  };
  const linear = (input: Tensor, name: string): Tensor => tf.matMul(input, weight(name), false, true);
  const split = (input: Tensor): Tensor => tf.transpose(tf.reshape(input, [rows, heads, width / heads]), [1, 0, 2]);
  const normalized = norm(x);
  const [q, k, v] = [linear(normalized, "W_Q"), linear(normalized, "W_K"), linear(normalized, "W_V")];
  const pattern = tf.softmax(tf.mul(tf.matMul(split(q), split(k), false, true), Math.sqrt(heads / width)), -1);
  const z = tf.reshape(tf.transpose(tf.matMul(pattern, split(v)), [1, 0, 2]), [rows, width]);
  const middle = tf.add(x, linear(z, "W_O"));
  const pre = linear(norm(middle), "W_in");
  const post = geluTanh(pre);
  return { normalized, q, k, v, pattern, z, middle, pre, post, y: tf.add(middle, linear(post, "W_out")) };
}

/** Not counted: engines lay weights out anew at the second. */
const warmRuns = 2;
const measuredMs = 30;

/** A block at an engine, built and run until it is warm. @returns seconds of its fastest run */
async function readyBlock(engine: Engine, shape: MeasuredBlock): Promise<() => Promise<number>> {
  const { width, rows } = shape;
  const shapes = { W_Q: [width, width], W_K: [width, width], W_V: [width, width], W_O: [width, width], W_in: [4 * width, width], W_out: [width, 4 * width] };
  const weights = Object.fromEntries(
    Object.entries(shapes).map(([name, [dOut = 0, dIn = 0]]): [string, Weight] => {
      const values = spread(dOut * dIn, 1 / Math.sqrt(dIn));
      return [name, { key: `speed ${width} ${name}`, shape: [dOut, dIn], data: () => values }];
    }),
  );
  const x = float32(spread(rows * width, 1), [rows, width]);
  const body = (inputs: Tensors, held: Tensors) => block(shape, named(inputs, "x"), (name) => named(held, name));
  const program = await engine.compile(`speed ${width}`, body, { inputs: { x: { shape: x.shape, dtype: "float32" } }, weights: shapes });
  for (let i = 0; i < warmRuns; i++) await program.run({ x }, weights);
  return async () => {
    let fastest = Infinity;
    const begun = performance.now();
    do {
      const start = performance.now();
      await program.run({ x }, weights);
      fastest = Math.min(fastest, (performance.now() - start) / 1000);
    } while (performance.now() - begun < measuredMs);
    return fastest;
  };
}

/** Both blocks, warm. @returns what measures them, in less than a tenth of a second */
export async function readyBlocks(engine: Engine): Promise<() => Promise<BlockSeconds>> {
  const [small, large] = [await readyBlock(engine, measuredBlocks.small), await readyBlock(engine, measuredBlocks.large)];
  return async () => ({ small: await small(), large: await large() });
}

function named(tensors: Tensors, name: string): Tensor {
  const found = tensors[name];
  if (!found) throw new Error(`internal: the measured block has no "${name}"`);
  return found;
}

/** Values over ±scale, the same at each call. */
function spread(length: number, scale: number): Float32Array {
  const values = new Float32Array(length);
  for (let i = 0; i < length; i++) values[i] = scale * (((i * 7919) % 1999) / 999.5 - 1);
  return values;
}
