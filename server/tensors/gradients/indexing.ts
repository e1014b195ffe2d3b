/** Derivatives of gathers and scatters. */
import * as tf from "@tensorflow/tfjs-core";
import { type Gradients, floatZeros, several, single } from "./gradient.ts";
import { WorkbenchError } from "../../errors.ts";

const product = (dims: readonly number[]): number => dims.reduce((total, dim) => total * dim, 1);

export const indexingGradients: Gradients = {
  // Each gathered row sends its dy back to the row it came from.
  GatherV2: {
    inputsToSave: ["x", "indices"],
    gradFunc: (dyOrList, [x, indices], attrs) => ({
      x: () => {
        const dy = single(dyOrList);
        const { axis: rawAxis, batchDims } = attrs as unknown as { axis: number; batchDims: number };
        const axis = tf.util.parseAxisParam(rawAxis, x!.shape)[0]!;
        const rowCount = x!.shape[axis]!;
        if (batchDims > 0) {
          if (axis !== batchDims)
            throw new WorkbenchError("engine.unsupportedOp", `the gradient of gather needs axis = batchDims; found axis ${axis}, batchDims ${batchDims}`);
          // Rows of all batch entries under one another; entry b's row i is b·rowCount + i.
          const batch = product(x!.shape.slice(0, axis));
          const offsets = tf.reshape(tf.range(0, batch * rowCount, rowCount, "int32"), [batch, 1]);
          const flat = tf.reshape(tf.add(tf.reshape(indices!, [batch, -1]), offsets), [-1]);
          const rows = tf.reshape(dy, [flat.shape[0], ...x!.shape.slice(axis + 1)]);
          return tf.reshape(tf.unsortedSegmentSum(rows, flat as tf.Tensor1D, batch * rowCount), x!.shape);
        }
        const outer = x!.shape.slice(0, axis);
        const inner = x!.shape.slice(axis + 1);
        const values = tf.reshape(dy, [product(outer), indices!.size, product(inner)]);
        const first = tf.reshape(tf.transpose(values, [1, 0, 2]), [indices!.size, product(outer) * product(inner)]);
        const summed = tf.unsortedSegmentSum(first, tf.reshape(indices!, [indices!.size]), rowCount);
        return tf.reshape(tf.transpose(tf.reshape(summed, [rowCount, product(outer), product(inner)]), [1, 0, 2]), x!.shape);
      },
      indices: () => floatZeros(indices!),
    }),
  },
  UnsortedSegmentSum: {
    inputsToSave: ["segmentIds"],
    gradFunc: (dy, [segmentIds]) => ({ x: () => tf.gather(single(dy), segmentIds!), segmentIds: () => floatZeros(segmentIds!) }),
  },
  OneHot: { inputsToSave: ["indices"], gradFunc: (_dy, [indices]) => ({ indices: () => floatZeros(indices!) }) },
  TopK: {
    inputsToSave: ["x"],
    outputsToSave: [false, true],
    gradFunc: (dys, [x, indices]) => ({
      x: () => {
        const [dValues] = several(dys);
        const width = x!.shape[x!.rank - 1]!;
        const oneHot = tf.oneHot(indices as tf.Tensor1D, width, 1, 0, "float32");
        return tf.sum(tf.mul(oneHot, tf.expandDims(dValues!, -1)), indices!.rank - 1);
      },
    }),
  },
};
