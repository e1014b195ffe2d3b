/** What an entry of the gradient tables is. */
import * as tf from "@tensorflow/tfjs-core";
import type { GradConfig, Tensor } from "@tensorflow/tfjs-core";

export type Gradient = Omit<GradConfig, "kernelName">;
export type Gradients = Readonly<Record<string, Gradient>>;

/** Sums `dy` over the axes along which an operand of `shape` was broadcast. */
export function sumToShape(dy: Tensor, shape: readonly number[]): Tensor {
  const axes = tf.broadcast_util.getReductionAxes([...shape], dy.shape);
  return tf.reshape(axes.length > 0 ? tf.sum(dy, axes) : dy, [...shape]);
}

/** tfjs hands over one dy, or a list when the kernel had several results. */
export function several(dy: Tensor | Tensor[]): Tensor[] {
  return Array.isArray(dy) ? dy : [dy];
}
export function single(dy: Tensor | Tensor[]): Tensor {
  return Array.isArray(dy) ? dy[0]! : dy;
}

export function floatZeros(like: Tensor): Tensor {
  return tf.zeros(like.shape, "float32");
}
