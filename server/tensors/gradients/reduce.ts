/** Derivatives of reductions, scans and softmax. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import { type Gradient, type Gradients, floatZeros, single } from "./gradient.ts";

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

const extremum: Gradient = {
  inputsToSave: ["x"],
  outputsToSave: [true],
  // Every entry equal to the extremum takes dy, as in tfjs.
  gradFunc: (dy, [x, y], attrs) => ({
    x: () => {
      // tfjs calls the axes "reductionIndices" in max and "axis" in min.
      const { reductionIndices, axis } = attrs as { reductionIndices?: Axis; axis?: Axis };
      const axes = axesOf(x!, reductionIndices ?? axis);
      return tf.mul(withAxes(single(dy), x!, axes), tf.cast(tf.equal(x!, withAxes(y!, x!, axes)), "float32"));
    },
  }),
};

const noDerivative: Gradient = { inputsToSave: ["x"], gradFunc: (_dy, [x]) => ({ x: () => floatZeros(x!) }) };

export const reduceGradients: Gradients = {
  Sum: {
    inputsToSave: ["x"],
    gradFunc: (dy, [x], attrs) => ({
      x: () => tf.broadcastTo(withAxes(single(dy), x!, axesOf(x!, (attrs as { axis?: Axis }).axis)), x!.shape),
    }),
  },
  Mean: {
    inputsToSave: ["x"],
    gradFunc: (dy, [x], attrs) => ({
      x: () => {
        const axes = axesOf(x!, (attrs as { axis?: Axis }).axis);
        const count = axes.reduce((product, axis) => product * x!.shape[axis]!, 1);
        return tf.broadcastTo(tf.div(withAxes(single(dy), x!, axes), count), x!.shape);
      },
    }),
  },
  Max: extremum,
  Min: extremum,
  // d/dx_i Π x = product of the others = (exclusive scan from the left) · (exclusive scan from the right); right also at 0.
  Prod: {
    inputsToSave: ["x"],
    gradFunc: (dy, [x], attrs) => ({
      x: () => {
        const axes = axesOf(x!, (attrs as { axis?: Axis }).axis);
        const kept = x!.shape.map((_, i) => i).filter((i) => !axes.includes(i));
        const order = [...kept, ...axes];
        const moved = tf.transpose(x!, order);
        const flat = tf.reshape(moved, [...kept.map((i) => x!.shape[i]!), -1]);
        const others = tf.mul(tf.cumprod(flat, kept.length, true, false), tf.cumprod(flat, kept.length, true, true));
        const inverse = order.map((_, i) => order.indexOf(i));
        return tf.mul(withAxes(single(dy), x!, axes), tf.transpose(tf.reshape(others, moved.shape), inverse));
      },
    }),
  },
  Cumsum: {
    gradFunc: (dy, _saved, attrs) => ({
      x: () => {
        const { axis, exclusive, reverse } = attrs as unknown as { axis: number; exclusive: boolean; reverse: boolean };
        return tf.cumsum(single(dy), axis, exclusive, !reverse);
      },
    }),
  },
  // s = softmax(x): dx = s (dy − Σ s dy)
  Softmax: {
    outputsToSave: [true],
    gradFunc: (dy, [y], attrs) => ({
      logits: () => {
        const product = tf.mul(single(dy), y!);
        return tf.sub(product, tf.mul(tf.sum(product, (attrs as unknown as { dim: number }).dim, true), y!));
      },
    }),
  },
  ArgMax: noDerivative,
  ArgMin: noDerivative,
  All: noDerivative,
  Any: noDerivative,
};
