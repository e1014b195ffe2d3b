/** Derivatives of operations that only move values. */
import * as tf from "@tensorflow/tfjs-core";
import { type Gradient, type Gradients, several, single, sumToShape } from "./gradient.ts";

const reshaped: Gradient = {
  inputsToSave: ["x"],
  gradFunc: (dy, [x]) => ({ x: () => tf.reshape(single(dy), x!.shape) }),
};

export const shapeGradients: Gradients = {
  Reshape: { ...reshaped, inputsToSave: ["x"] },
  ExpandDims: { inputsToSave: ["input"], gradFunc: (dy, [x]) => ({ input: () => tf.reshape(single(dy), x!.shape) }) },
  BroadcastTo: { inputsToSave: ["x"], gradFunc: (dy, [x]) => ({ x: () => sumToShape(single(dy), x!.shape) }) },
  Transpose: {
    gradFunc: (dy, _saved, attrs) => ({
      x: () => {
        const { perm } = attrs as unknown as { perm: number[] };
        return tf.transpose(
          single(dy),
          perm.map((_, i) => perm.indexOf(i)),
        );
      },
    }),
  },
  // Axis i of the result is reps[i] copies of the operand, one after the other.
  Tile: {
    inputsToSave: ["x"],
    gradFunc: (dy, [x], attrs) => ({
      x: () => {
        const { reps } = attrs as unknown as { reps: number[] };
        const copies = reps.flatMap((rep, i) => [rep, x!.shape[i]!]);
        return tf.sum(
          tf.reshape(single(dy), copies),
          reps.map((_, i) => 2 * i),
        );
      },
    }),
  },
  PadV2: {
    inputsToSave: ["x"],
    gradFunc: (dy, [x], attrs) => ({
      x: () =>
        tf.slice(
          single(dy),
          (attrs as unknown as { paddings: [number, number][] }).paddings.map(([before]) => before),
          x!.shape,
        ),
    }),
  },
  Slice: {
    inputsToSave: ["x"],
    gradFunc: (dy, [x], attrs) => ({
      x: () => {
        const { begin } = attrs as unknown as { begin: number | number[] };
        const starts = typeof begin === "number" ? [begin] : begin;
        const result = single(dy);
        return tf.pad(
          result,
          x!.shape.map((dim, i): [number, number] => [starts[i] ?? 0, dim - (starts[i] ?? 0) - result.shape[i]!]),
        );
      },
    }),
  },
  Reverse: {
    gradFunc: (dy, _saved, attrs) => ({ x: () => tf.reverse(single(dy), (attrs as unknown as { dims: number | number[] }).dims) }),
  },
  Concat: {
    saveAllInputs: true,
    gradFunc: (dy, saved, attrs) => {
      const axis = tf.util.parseAxisParam((attrs as unknown as { axis: number }).axis, saved[0]!.shape)[0]!;
      const result = single(dy);
      let start = 0;
      return Object.fromEntries(
        saved.map((x, i) => {
          const begin = result.shape.map((_, dim) => (dim === axis ? start : 0));
          start += x.shape[axis]!;
          return [i, () => tf.slice(result, begin, x.shape)];
        }),
      );
    },
  },
  Pack: {
    saveAllInputs: true,
    gradFunc: (dy, saved, attrs) => {
      const result = single(dy);
      const { axis } = attrs as unknown as { axis: number };
      const size = result.shape.map((dim, i) => (i === axis ? 1 : dim));
      return Object.fromEntries(
        saved.map((x, index) => [
          index,
          () =>
            tf.reshape(
              tf.slice(
                result,
                size.map((_, i) => (i === axis ? index : 0)),
                size,
              ),
              x.shape,
            ),
        ]),
      );
    },
  },
  Unpack: {
    gradFunc: (dys, _saved, attrs) => ({ value: () => tf.stack(several(dys), (attrs as unknown as { axis: number }).axis) }),
  },
  SplitV: {
    gradFunc: (dys, _saved, attrs) => ({ x: () => tf.concat(several(dys), (attrs as unknown as { axis: number }).axis) }),
  },
};
