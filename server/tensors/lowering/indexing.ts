/** Gathers, scatters, and values made from nothing but attributes. */
import type * as tf from "@tensorflow/tfjs-core";
import { at } from "../../at.ts";
import { WorkbenchError } from "../../errors.ts";
import type { Graph, Value } from "../graph.ts";
import { sizeOf } from "../hostTensor.ts";
import { add, apply, select } from "./elementwise.ts";
import { constantDtype, type Lowerings, normalAxis, reads } from "./lowering.ts";

function gather(graph: Graph, x: Value, indices: Value, axis: number): Value {
  // Rows first, then decode: an embedding table is never decoded whole.
  if (x.half) return graph.decodeHalf(gather(graph, x.half, indices, axis));
  const shape = [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)];
  return graph.op("Gather", [x, indices], shape, x.dtype, { axis });
}

/** `rows` added up, row i at `positions[i]` of zeros of `shape`. */
function scatterAdd(graph: Graph, positions: Value, rows: Value, shape: readonly number[]): Value {
  const zeros = graph.uniform(0, shape, constantDtype(rows.dtype));
  return graph.op("ScatterND", [zeros, graph.cast(positions, "int64"), rows], shape, rows.dtype, { reduction: "add" });
}

export const indexingLowerings: Lowerings = {
  GatherV2: reads(
    "x",
    "indices",
  )((graph, { x, indices }, { axis: rawAxis, batchDims = 0 }: Pick<tf.GatherV2Attrs, "axis"> & Partial<tf.GatherV2Attrs>) => {
    const axis = normalAxis(rawAxis, x.shape.length);
    if (batchDims === 0) return gather(graph, x, indices, axis);
    if (axis !== batchDims)
      throw new WorkbenchError("engine.unsupportedOp", `gather with axis ${axis} and batchDims ${batchDims} is not supported; expected them equal`);
    // Rows of all batch entries under one another; entry b's row i is b·rowCount + i.
    const batch = sizeOf(x.shape.slice(0, axis));
    const rowCount = at(x.shape, axis);
    const inner = x.shape.slice(axis + 1);
    const offsets = graph.constant(
      Int32Array.from({ length: batch }, (_, b) => b * rowCount),
      [batch, 1],
      "int32",
    );
    const flat = add(graph, graph.reshape(indices, [batch, sizeOf(indices.shape) / batch]), offsets);
    const rows = gather(graph, graph.reshape(x, [batch * rowCount, ...inner]), flat, 0);
    return graph.reshape(rows, [...x.shape.slice(0, axis), ...indices.shape.slice(batchDims), ...inner]);
  }),
  GatherNd: reads(
    "params",
    "indices",
  )((graph, { params, indices }) => {
    const depth = at(indices.shape, -1);
    return graph.op("GatherND", [params, graph.cast(indices, "int64")], [...indices.shape.slice(0, -1), ...params.shape.slice(depth)], params.dtype);
  }),
  ScatterNd: reads("indices", "updates")((graph, { indices, updates }, { shape }: tf.ScatterNdAttrs) => scatterAdd(graph, indices, updates, shape)),
  TensorScatterUpdate: reads(
    "tensor",
    "indices",
    "updates",
  )((graph, { tensor, indices, updates }) => graph.op("ScatterND", [tensor, graph.cast(indices, "int64"), updates], tensor.shape, tensor.dtype)),
  UnsortedSegmentSum: reads(
    "x",
    "segmentIds",
  )((graph, { x, segmentIds }, { numSegments }: tf.UnsortedSegmentSumAttrs) => {
    const inner = x.shape.slice(segmentIds.shape.length);
    const count = sizeOf(segmentIds.shape);
    return scatterAdd(graph, graph.reshape(segmentIds, [count, 1]), graph.reshape(x, [count, ...inner]), [numSegments, ...inner]);
  }),
  OneHot: reads("indices")((graph, { indices }, { depth, onValue, offValue, dtype }: tf.OneHotAttrs) => {
    const columns = graph.constant(
      Int32Array.from({ length: depth }, (_, i) => i),
      [depth],
      "int32",
    );
    const hit = apply(graph, "Equal", [graph.reshape(indices, [...indices.shape, 1]), columns], "bool");
    const type = constantDtype(dtype);
    if (onValue === 1 && offValue === 0) return graph.cast(hit, type);
    return select(graph, hit, graph.scalar(onValue, type), graph.scalar(offValue, type));
  }),
  TopK: reads("x")((graph, { x }, { k }: tf.TopKAttrs) => {
    const shape = [...x.shape.slice(0, -1), k];
    const outputs = graph.node(
      "TopK",
      [x, graph.ints([k])],
      [
        { shape, dtype: x.dtype },
        { shape, dtype: "int64" },
      ],
      { axis: -1, largest: 1, sorted: 1 },
    );
    return [at(outputs, 0), graph.cast(at(outputs, 1), "int32")];
  }),

  Fill: (graph, _operands, { shape, value, dtype }: Pick<tf.FillAttrs, "shape" | "value"> & Partial<tf.FillAttrs>) =>
    graph.uniform(Number(value), shape, constantDtype(dtype ?? "float32")),
  ZerosLike: reads("x")((graph, { x }) => graph.uniform(0, x.shape, constantDtype(x.dtype))),
  OnesLike: reads("x")((graph, { x }) => graph.uniform(1, x.shape, constantDtype(x.dtype))),
  Range: (graph, _operands, { start, stop, step, dtype }: tf.RangeAttrs) => {
    const count = Math.max(0, Math.ceil((stop - start) / step));
    const values = Array.from({ length: count }, (_, i) => start + i * step);
    return dtype === "int32" ? graph.constant(Int32Array.from(values), [count], "int32") : graph.constant(Float32Array.from(values), [count], "float32");
  },
  LinSpace: (graph, _operands, { start, stop, num }: tf.LinSpaceAttrs) => {
    const step = num > 1 ? (stop - start) / (num - 1) : 0;
    return graph.constant(
      Float32Array.from({ length: num }, (_, i) => start + i * step),
      [num],
      "float32",
    );
  },
};
