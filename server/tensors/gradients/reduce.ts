/** Derivatives of reductions, scans and softmax. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import { at } from "../../at.ts";
import { sizeOf } from "../hostTensor.ts";
import { type Gradient, type Gradients, floatZeros, keeps, single } from "./gradient.ts";

type Reduction = Partial<tf.SumAttrs & tf.MaxAttrs>;
type Axis = number | number[] | null | undefined;

function axesOf(x: Tensor, axis: Axis): number[] {
  return tf.util.parseAxisParam(axis ?? x.shape.map((_, i) => i), x.shape);
}

/** A reduced tensor with its lost axes back as size 1, so that it broadcasts against `x`. */
function withAxes(reduced: Tensor, x: Tensor, axes: readonly number[]): Tensor {
  return tf.reshape(
    reduced,
    x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim)),
  );
}

/** Every entry equal to the extremum takes dy, as in tfjs, which calls the axes "reductionIndices" in max and "axis" in min. */
const extremum: Gradient = keeps(
  ["x"],
  ["y"],
)((dy, { x, y }, { reductionIndices, axis }: Reduction) => ({
  x: () => {
    const axes = axesOf(x, reductionIndices ?? axis);
    return tf.mul(withAxes(dy, x, axes), tf.cast(tf.equal(x, withAxes(y, x, axes)), "float32"));
  },
}));

const noDerivative: Gradient = keeps(["x"])((_dy, { x }) => ({ x: () => floatZeros(x) }));

export const reduceGradients: Gradients = {
  Sum: keeps(["x"])((dy, { x }, { axis }: Reduction) => ({ x: () => tf.broadcastTo(withAxes(dy, x, axesOf(x, axis)), x.shape) })),
  Mean: keeps(["x"])((dy, { x }, { axis }: Reduction) => ({
    x: () => {
      const axes = axesOf(x, axis);
      const count = sizeOf(axes.map((one) => at(x.shape, one)));
      return tf.broadcastTo(tf.div(withAxes(dy, x, axes), count), x.shape);
    },
  })),
  Max: extremum,
  Min: extremum,
  // d/dx_i Π x = product of the others = (exclusive scan from the left) · (exclusive scan from the right); right also at 0.
  Prod: keeps(["x"])((dy, { x }, { axis }: Reduction) => ({
    x: () => {
      const axes = axesOf(x, axis);
      const kept = x.shape.map((_, i) => i).filter((i) => !axes.includes(i));
      const order = [...kept, ...axes];
      const moved = tf.transpose(x, order);
      const flat = tf.reshape(moved, [...kept.map((i) => at(x.shape, i)), -1]);
      const others = tf.mul(tf.cumprod(flat, kept.length, true, false), tf.cumprod(flat, kept.length, true, true));
      const inverse = order.map((_, i) => order.indexOf(i));
      return tf.mul(withAxes(dy, x, axes), tf.transpose(tf.reshape(others, moved.shape), inverse));
    },
  })),
  Cumsum: {
    gradFunc: (dy, _saved, { axis, exclusive, reverse }: tf.CumsumAttrs) => ({ x: () => tf.cumsum(single(dy), axis, exclusive, !reverse) }),
  },
  // s = softmax(x): dx = s (dy − Σ s dy)
  Softmax: keeps(
    [],
    ["y"],
  )((dy, { y }, { dim }: tf.SoftmaxAttrs) => ({
    logits: () => {
      const product = tf.mul(dy, y);
      return tf.sub(product, tf.mul(tf.sum(product, dim, true), y));
    },
  })),
  ArgMax: noDerivative,
  ArgMin: noDerivative,
  All: noDerivative,
  Any: noDerivative,
};
