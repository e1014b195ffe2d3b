/** Gathers, scatters, and values made from nothing but attributes. */
import * as tf from "@tensorflow/tfjs-core";
import { WorkbenchError } from "../../errors.ts";
import type { Graph, Value } from "../graph.ts";
import { sizeOf } from "../hostTensor.ts";
import { add, apply, select } from "./elementwise.ts";
import { type Lowerings, normalAxes } from "./lowering.ts";

type Constant = "float32" | "int32" | "bool";

function gather(graph: Graph, x: Value, indices: Value, axis: number): Value {
  // Rows first, then decode: an embedding table is never decoded whole.
  if (x.half) return graph.decodeHalf(gather(graph, x.half, indices, axis));
  const shape = [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)];
  return graph.op("Gather", [x, indices], shape, x.dtype, { axis });
}

/** `rows` added up, row i at `positions[i]` of zeros of `shape`. */
function scatterAdd(graph: Graph, positions: Value, rows: Value, shape: readonly number[]): Value {
  const zeros = graph.uniform(0, shape, rows.dtype as Constant);
  return graph.op("ScatterND", [zeros, graph.cast(positions, "int64"), rows], shape, rows.dtype, { reduction: "add" });
}

export const indexingLowerings: Lowerings = {
  GatherV2: (graph, { x, indices }, { axis: rawAxis, batchDims: rawBatchDims }) => {
    const [axis] = normalAxes(rawAxis, x!.shape.length);
    const batchDims = (rawBatchDims as number | undefined) ?? 0;
    if (batchDims === 0) return gather(graph, x!, indices!, axis!);
    if (axis !== batchDims)
      throw new WorkbenchError("engine.unsupportedOp", `gather with axis ${axis} and batchDims ${batchDims} is not supported; expected them equal`);
    // Rows of all batch entries under one another; entry b's row i is b·rowCount + i.
    const batch = sizeOf(x!.shape.slice(0, axis));
    const rowCount = x!.shape[axis]!;
    const inner = x!.shape.slice(axis + 1);
    const offsets = graph.constant(
      Int32Array.from({ length: batch }, (_, b) => b * rowCount),
      [batch, 1],
      "int32",
    );
    const flat = add(graph, graph.reshape(indices!, [batch, sizeOf(indices!.shape) / batch]), offsets);
    const rows = gather(graph, graph.reshape(x!, [batch * rowCount, ...inner]), flat, 0);
    return graph.reshape(rows, [...x!.shape.slice(0, axis), ...indices!.shape.slice(batchDims), ...inner]);
  },
  GatherNd: (graph, { params, indices }) => {
    const depth = indices!.shape.at(-1)!;
    return graph.op("GatherND", [params!, graph.cast(indices!, "int64")], [...indices!.shape.slice(0, -1), ...params!.shape.slice(depth)], params!.dtype);
  },
  ScatterNd: (graph, { indices, updates }, { shape }) => scatterAdd(graph, indices!, updates!, shape as number[]),
  TensorScatterUpdate: (graph, { tensor, indices, updates }) =>
    graph.op("ScatterND", [tensor!, graph.cast(indices!, "int64"), updates!], tensor!.shape, tensor!.dtype),
  UnsortedSegmentSum: (graph, { x, segmentIds }, { numSegments }) => {
    const inner = x!.shape.slice(segmentIds!.shape.length);
    const count = sizeOf(segmentIds!.shape);
    const summed = scatterAdd(graph, graph.reshape(segmentIds!, [count, 1]), graph.reshape(x!, [count, ...inner]), [numSegments as number, ...inner]);
    return summed;
  },
  OneHot: (graph, { indices }, { depth, onValue, offValue, dtype }) => {
    const columns = graph.constant(
      Int32Array.from({ length: depth as number }, (_, i) => i),
      [depth as number],
      "int32",
    );
    const hit = apply(graph, "Equal", [graph.reshape(indices!, [...indices!.shape, 1]), columns], "bool");
    const type = dtype as Constant;
    if (onValue === 1 && offValue === 0) return graph.cast(hit, type);
    return select(graph, hit, graph.scalar(onValue as number, type), graph.scalar(offValue as number, type));
  },
  TopK: (graph, { x }, { k }) => {
    const shape = [...x!.shape.slice(0, -1), k as number];
    const [values, positions] = graph.node(
      "TopK",
      [x!, graph.ints([k as number])],
      [
        { shape, dtype: x!.dtype },
        { shape, dtype: "int64" },
      ],
      { axis: -1, largest: 1, sorted: 1 },
    );
    return [values!, graph.cast(positions!, "int32")];
  },

  Fill: (graph, _operands, { shape, value, dtype }) => graph.uniform(value as number, shape as number[], (dtype as Constant | undefined) ?? "float32"),
  ZerosLike: (graph, { x }) => graph.uniform(0, x!.shape, x!.dtype as Constant),
  OnesLike: (graph, { x }) => graph.uniform(1, x!.shape, x!.dtype as Constant),
  Range: (graph, _operands, { start, stop, step, dtype }) => {
    const count = Math.max(0, Math.ceil(((stop as number) - (start as number)) / (step as number)));
    const values = Array.from({ length: count }, (_, i) => (start as number) + i * (step as number));
    return dtype === "int32" ? graph.constant(Int32Array.from(values), [count], "int32") : graph.constant(Float32Array.from(values), [count], "float32");
  },
  LinSpace: (graph, _operands, { start, stop, num }) => {
    const { start: a, stop: b, num: n } = { start, stop, num } as unknown as tf.LinSpaceAttrs;
    const step = n > 1 ? (b - a) / (n - 1) : 0;
    return graph.constant(
      Float32Array.from({ length: n }, (_, i) => a + i * step),
      [n],
      "float32",
    );
  },
};
