/** Derivatives of operations that only move values. */
import * as tf from "@tensorflow/tfjs-core";
import { at } from "../../at.ts";
import { type Gradients, keeps, several, single, sumToShape } from "./gradient.ts";

export const shapeGradients: Gradients = {
  Reshape: keeps(["x"])((dy, { x }) => ({ x: () => tf.reshape(dy, x.shape) })),
  ExpandDims: keeps(["input"])((dy, { input }) => ({ input: () => tf.reshape(dy, input.shape) })),
  BroadcastTo: keeps(["x"])((dy, { x }) => ({ x: () => sumToShape(dy, x.shape) })),
  Transpose: {
    gradFunc: (dy, _saved, { perm }: tf.TransposeAttrs) => ({
      x: () =>
        tf.transpose(
          single(dy),
          perm.map((_, i) => perm.indexOf(i)),
        ),
    }),
  },
  // Axis i of the result is reps[i] copies of the operand, one after the other.
  Tile: keeps(["x"])((dy, { x }, { reps }: tf.TileAttrs) => ({
    x: () =>
      tf.sum(
        tf.reshape(
          dy,
          reps.flatMap((rep, i) => [rep, at(x.shape, i)]),
        ),
        reps.map((_, i) => 2 * i),
      ),
  })),
  PadV2: keeps(["x"])((dy, { x }, { paddings }: tf.PadV2Attrs) => ({
    x: () =>
      tf.slice(
        dy,
        paddings.map(([before]) => before),
        x.shape,
      ),
  })),
  Slice: keeps(["x"])((dy, { x }, { begin }: tf.SliceAttrs) => ({
    x: () => {
      const starts = [begin].flat();
      return tf.pad(
        dy,
        x.shape.map((dim, i): [number, number] => [starts[i] ?? 0, dim - (starts[i] ?? 0) - at(dy.shape, i)]),
      );
    },
  })),
  Reverse: {
    gradFunc: (dy, _saved, { dims }: tf.ReverseAttrs) => ({ x: () => tf.reverse(single(dy), dims) }),
  },
  Concat: {
    saveAllInputs: true,
    gradFunc: (dy, saved, { axis: rawAxis }: tf.ConcatAttrs) => {
      const axis = at(tf.util.parseAxisParam(rawAxis, at(saved, 0).shape), 0);
      const result = single(dy);
      let start = 0;
      return Object.fromEntries(
        saved.map((x, i) => {
          const begin = result.shape.map((_, dim) => (dim === axis ? start : 0));
          start += at(x.shape, axis);
          return [i, () => tf.slice(result, begin, x.shape)];
        }),
      );
    },
  },
  Pack: {
    saveAllInputs: true,
    gradFunc: (dy, saved, { axis }: tf.PackAttrs) => {
      const result = single(dy);
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
    gradFunc: (dys, _saved, { axis }: tf.UnpackAttrs) => ({ value: () => tf.stack(several(dys), axis) }),
  },
  SplitV: {
    gradFunc: (dys, _saved, { axis }: tf.SplitVAttrs) => ({ x: () => tf.concat(several(dys), axis) }),
  },
};
