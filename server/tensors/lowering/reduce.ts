/** Reductions, scans and softmax. */
import type * as tf from "@tensorflow/tfjs-core";
import { at } from "../../at.ts";
import type { Graph, Value } from "../graph.ts";
import { float, mul } from "./elementwise.ts";
import { type Lowering, type Lowerings, normalAxes, normalAxis, reads } from "./lowering.ts";
import { reverse, slice } from "./shape.ts";

type Axis = number | readonly number[] | null | undefined;

function reduce(graph: Graph, op: string, x: Value, axis: Axis, keepDims: boolean): Value {
  const axes = normalAxes(axis, x.shape.length);
  if (axes.length === 0) return x;
  const kept = x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim));
  const shape = keepDims ? kept : x.shape.filter((_, i) => !axes.includes(i));
  return graph.op(op, [x, graph.ints(axes)], shape, x.dtype, { keepdims: keepDims ? 1 : 0 });
}

const numeric = (graph: Graph, x: Value): Value => (x.dtype === "bool" ? graph.cast(x, "int32") : x);
const reduction = (op: string): Lowering => reads("x")((graph, { x }, { axis, keepDims }: tf.SumAttrs) => reduce(graph, op, numeric(graph, x), axis, keepDims));
const extremum = (op: string): Lowering =>
  // tfjs calls the axes "reductionIndices" in max and "axis" in min.
  reads("x")((graph, { x }, { reductionIndices, axis, keepDims }: Partial<tf.MaxAttrs & tf.MinAttrs>) =>
    reduce(graph, op, numeric(graph, x), reductionIndices ?? axis, keepDims === true),
  );
const logical = (op: string): Lowering =>
  reads("x")((graph, { x }, { axis, keepDims }: tf.AllAttrs) => graph.cast(reduce(graph, op, graph.cast(x, "int32"), axis, keepDims), "bool"));

const position = (op: string): Lowering =>
  reads("x")((graph, { x }, { axis: rawAxis }: tf.ArgMaxAttrs) => {
    const axis = normalAxis(rawAxis, x.shape.length);
    return graph.cast(graph.op(op, [x], x.shape.toSpliced(axis, 1), "int64", { axis, keepdims: 0 }), "int32");
  });

/** x, moved `by` places along the axis, with ones coming in. */
function shifted(graph: Graph, x: Value, axis: number, by: number): Value {
  const kept = slice(
    graph,
    x,
    x.shape.map(() => 0),
    x.shape.map((dim, i) => (i === axis ? dim - by : dim)),
  );
  const pads = [...x.shape.map((_, i) => (i === axis ? by : 0)), ...x.shape.map(() => 0)];
  return graph.op("Pad", [kept, graph.ints(pads), graph.scalar(1, x.dtype === "int32" ? "int32" : "float32")], x.shape, x.dtype);
}

/** ONNX has no product scan: log₂ n rounds, each multiplying by the partial products 1, 2, 4, … places before. */
function cumprod(graph: Graph, x: Value, axis: number, exclusive: boolean): Value {
  let total = x;
  for (let by = 1; by < at(x.shape, axis); by *= 2) total = mul(graph, total, shifted(graph, total, axis, by));
  return exclusive ? shifted(graph, total, axis, 1) : total;
}

function softmax(graph: Graph, op: string, logits: Value, axis: number): Value {
  return graph.op(op, [logits], logits.shape, "float32", { axis: normalAxis(axis, logits.shape.length) });
}

export const reduceLowerings: Lowerings = {
  Sum: reduction("ReduceSum"),
  Prod: reduction("ReduceProd"),
  Mean: reads("x")((graph, { x }, { axis, keepDims }: tf.MeanAttrs) => reduce(graph, "ReduceMean", float(graph, x), axis, keepDims)),
  Max: extremum("ReduceMax"),
  Min: extremum("ReduceMin"),
  All: logical("ReduceMin"),
  Any: logical("ReduceMax"),
  ArgMax: position("ArgMax"),
  ArgMin: position("ArgMin"),
  Softmax: reads("logits")((graph, { logits }, { dim }: tf.SoftmaxAttrs) => softmax(graph, "Softmax", logits, dim)),
  LogSoftmax: reads("logits")((graph, { logits }, { axis }: tf.LogSoftmaxAttrs) => softmax(graph, "LogSoftmax", logits, axis)),
  Cumsum: reads("x")((graph, { x }, { axis: rawAxis, exclusive, reverse: backwards }: tf.CumsumAttrs) => {
    const value = numeric(graph, x);
    const [axis] = normalAxes(rawAxis, value.shape.length);
    if (axis === undefined) return value;
    return graph.op("CumSum", [value, graph.scalar(axis, "int32")], value.shape, value.dtype, { exclusive: exclusive ? 1 : 0, reverse: backwards ? 1 : 0 });
  }),
  Cumprod: reads("x")((graph, { x }, { axis: rawAxis, exclusive, reverse: backwards }: tf.CumprodAttrs) => {
    const axis = normalAxis(rawAxis, x.shape.length);
    if (!backwards) return cumprod(graph, x, axis, exclusive);
    return reverse(graph, cumprod(graph, reverse(graph, x, [axis]), axis, exclusive), [axis]);
  }),
};
