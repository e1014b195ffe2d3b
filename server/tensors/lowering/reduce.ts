/** Reductions, scans and softmax. */
import type { Graph, Value } from "../graph.ts";
import { float, mul } from "./elementwise.ts";
import { type Lowering, type Lowerings, normalAxes } from "./lowering.ts";
import { reverse, slice } from "./shape.ts";

function reduce(graph: Graph, op: string, x: Value, axis: unknown, keepDims: unknown): Value {
  const axes = normalAxes(axis, x.shape.length);
  if (axes.length === 0) return x;
  const kept = x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim));
  const shape = keepDims === true ? kept : x.shape.filter((_, i) => !axes.includes(i));
  return graph.op(op, [x, graph.ints(axes)], shape, x.dtype, { keepdims: keepDims === true ? 1 : 0 });
}

const numeric = (graph: Graph, x: Value): Value => (x.dtype === "bool" ? graph.cast(x, "int32") : x);
const reduction =
  (op: string): Lowering =>
  (graph, { x }, { axis, keepDims }) =>
    reduce(graph, op, numeric(graph, x!), axis, keepDims);
const extremum =
  (op: string): Lowering =>
  // tfjs calls the axes "reductionIndices" in max and "axis" in min.
  (graph, { x }, { reductionIndices, axis, keepDims }) =>
    reduce(graph, op, numeric(graph, x!), reductionIndices ?? axis, keepDims);
const logical =
  (op: string): Lowering =>
  (graph, { x }, { axis, keepDims }) =>
    graph.cast(reduce(graph, op, graph.cast(x!, "int32"), axis, keepDims), "bool");

const position =
  (op: string): Lowering =>
  (graph, { x }, { axis }) => {
    const [at] = normalAxes(axis, x!.shape.length);
    const shape = x!.shape.filter((_, i) => i !== at);
    return graph.cast(graph.op(op, [x!], shape, "int64", { axis: at!, keepdims: 0 }), "int32");
  };

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
  for (let by = 1; by < x.shape[axis]!; by *= 2) total = mul(graph, total, shifted(graph, total, axis, by));
  return exclusive ? shifted(graph, total, axis, 1) : total;
}

export const reduceLowerings: Lowerings = {
  Sum: reduction("ReduceSum"),
  Prod: reduction("ReduceProd"),
  Mean: (graph, { x }, { axis, keepDims }) => reduce(graph, "ReduceMean", float(graph, x!), axis, keepDims),
  Max: extremum("ReduceMax"),
  Min: extremum("ReduceMin"),
  All: logical("ReduceMin"),
  Any: logical("ReduceMax"),
  ArgMax: position("ArgMax"),
  ArgMin: position("ArgMin"),
  Softmax: (graph, { logits }, { dim }) => graph.op("Softmax", [logits!], logits!.shape, "float32", { axis: normalAxes(dim, logits!.shape.length)[0]! }),
  LogSoftmax: (graph, { logits }, { axis }) =>
    graph.op("LogSoftmax", [logits!], logits!.shape, "float32", { axis: normalAxes(axis, logits!.shape.length)[0]! }),
  Cumsum: (graph, { x }, { axis, exclusive, reverse: backwards }) => {
    const value = numeric(graph, x!);
    const [at] = normalAxes(axis, value.shape.length);
    if (at === undefined) return value;
    return graph.op("CumSum", [value, graph.scalar(at, "int32")], value.shape, value.dtype, { exclusive: exclusive ? 1 : 0, reverse: backwards ? 1 : 0 });
  },
  Cumprod: (graph, { x }, { axis, exclusive, reverse: backwards }) => {
    const [at] = normalAxes(axis, x!.shape.length);
    if (!backwards) return cumprod(graph, x!, at!, exclusive === true);
    return reverse(graph, cumprod(graph, reverse(graph, x!, [at!]), at!, exclusive === true), [at!]);
  },
};
