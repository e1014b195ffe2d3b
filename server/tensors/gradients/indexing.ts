/** Derivatives of gathers and scatters. */
import * as tf from "@tensorflow/tfjs-core";
import { at } from "../../at.ts";
import { WorkbenchError } from "../../errors.ts";
import { sizeOf } from "../hostTensor.ts";
import { type Gradients, floatZeros, keeps } from "./gradient.ts";

export const indexingGradients: Gradients = {
  // Each gathered row sends its dy back to the row it came from.
  GatherV2: keeps(["x", "indices"])((dy, { x, indices }, { axis: rawAxis, batchDims }: tf.GatherV2Attrs) => ({
    x: () => {
      const axis = at(tf.util.parseAxisParam(rawAxis, x.shape), 0);
      const rowCount = at(x.shape, axis);
      if (batchDims > 0) {
        if (axis !== batchDims)
          throw new WorkbenchError("engine.unsupportedOp", `the gradient of gather needs axis = batchDims; found axis ${axis}, batchDims ${batchDims}`);
        // Rows of all batch entries under one another; entry b's row i is b·rowCount + i.
        const batch = sizeOf(x.shape.slice(0, axis));
        const offsets = tf.reshape(tf.range(0, batch * rowCount, rowCount, "int32"), [batch, 1]);
        const flat = tf.reshape(tf.add(tf.reshape(indices, [batch, -1]), offsets), [-1]);
        const rows = tf.reshape(dy, [flat.shape[0], ...x.shape.slice(axis + 1)]);
        return tf.reshape(tf.unsortedSegmentSum(rows, flat as tf.Tensor1D, batch * rowCount), x.shape);
      }
      const outer = x.shape.slice(0, axis);
      const inner = x.shape.slice(axis + 1);
      const values = tf.reshape(dy, [sizeOf(outer), indices.size, sizeOf(inner)]);
      const first = tf.reshape(tf.transpose(values, [1, 0, 2]), [indices.size, sizeOf(outer) * sizeOf(inner)]);
      const summed = tf.unsortedSegmentSum(first, tf.reshape(indices, [indices.size]), rowCount);
      return tf.reshape(tf.transpose(tf.reshape(summed, [rowCount, sizeOf(outer), sizeOf(inner)]), [1, 0, 2]), x.shape);
    },
    indices: () => floatZeros(indices),
  })),
  UnsortedSegmentSum: keeps(["segmentIds"])((dy, { segmentIds }) => ({ x: () => tf.gather(dy, segmentIds), segmentIds: () => floatZeros(segmentIds) })),
  OneHot: keeps(["indices"])((_dy, { indices }) => ({ indices: () => floatZeros(indices) })),
  TopK: keeps(
    ["x"],
    [null, "places"],
  )((dy, { x, places }) => ({
    x: () => tf.sum(tf.mul(tf.oneHot(places, at(x.shape, -1), 1, 0, "float32"), tf.expandDims(dy, -1)), places.rank - 1),
  })),
};
