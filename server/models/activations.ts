/** The activation functions that `config.json` may name, each as transformers' ACT2FN defines it; those with trained parameters are left out. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import { geluTanh, silu } from "../tensors/activations.ts";

/** ½x (1 + erf(x/√2)) */
const gelu = (x: Tensor): Tensor => tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));

/** @see transformers `activations.py` */
export const activationFunctions = {
  gelu,
  gelu_python: gelu,
  gelu_new: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  gelu_python_tanh: geluTanh,
  gelu_fast: geluTanh,
  gelu_accurate: geluTanh,
  gelu_10: (x: Tensor) => tf.clipByValue(gelu(x), -10, 10),
  quick_gelu: (x: Tensor) => tf.mul(x, tf.sigmoid(tf.mul(x, 1.702))),
  silu,
  swish: silu,
  hardswish: (x: Tensor) => tf.div(tf.mul(x, tf.relu6(tf.add(x, 3))), 6),
  mish: (x: Tensor) => tf.mul(x, tf.tanh(tf.softplus(x))),
  relu: (x: Tensor) => tf.relu(x),
  relu2: (x: Tensor) => tf.square(tf.relu(x)),
  relu6: (x: Tensor) => tf.relu6(x),
  leaky_relu: (x: Tensor) => tf.leakyRelu(x, 0.01),
  sigmoid: (x: Tensor) => tf.sigmoid(x),
  tanh: (x: Tensor) => tf.tanh(x),
  sqrtsoftplus: (x: Tensor) => tf.sqrt(tf.softplus(x)),
  laplace: (x: Tensor) => tf.mul(tf.add(tf.erf(tf.div(tf.sub(x, 0.707107), 0.282095 * Math.SQRT2)), 1), 0.5),
  linear: (x: Tensor) => tf.add(x, 0),
} as const satisfies Readonly<Record<string, (x: Tensor) => Tensor>>;

export type Activation = keyof typeof activationFunctions;

export function isActivation(name: unknown): name is Activation {
  return typeof name === "string" && Object.hasOwn(activationFunctions, name);
}
