/** Kernels that only move values. */
import * as tf from "@tensorflow/tfjs-core";
import type { Graph, Value } from "../graph.ts";
import { sameShape } from "../signature.ts";
import { type Lowering, type Lowerings, normalAxes } from "./lowering.ts";

export function transpose(graph: Graph, x: Value, perm: readonly number[]): Value {
  const shape = perm.map((axis) => x.shape[axis]!);
  // Axes of size 1 may move freely: if the others keep their order, nothing moves in memory.
  const moving = perm.filter((axis) => x.shape[axis] !== 1);
  if (moving.every((axis, i) => i === 0 || axis > moving[i - 1]!)) return graph.reshape(x, shape);
  return graph.op("Transpose", [x], shape, x.dtype, { perm: [...perm] });
}

export function slice(graph: Graph, x: Value, begin: readonly number[], size: readonly number[]): Value {
  if (sameShape(x.shape, size)) return x;
  if (x.narrow && x.narrow.shape.length === 0) return graph.expand(x.narrow, size);
  const axes = x.shape.map((_, i) => i).filter((i) => size[i] !== x.shape[i]);
  const starts = axes.map((i) => begin[i]!);
  const ends = axes.map((i) => begin[i]! + size[i]!);
  return graph.op("Slice", [x, graph.ints(starts), graph.ints(ends), graph.ints(axes)], size, x.dtype);
}

// Before the first element, for a slice that walks backwards to it: −1 would mean the last.
const beforeFirst = -(2 ** 31);

export function reverse(graph: Graph, x: Value, axes: readonly number[]): Value {
  if (axes.length === 0) return x;
  const ints = (value: number): Value => graph.ints(axes.map(() => value));
  return graph.op("Slice", [x, ints(-1), ints(beforeFirst), graph.ints(axes), ints(-1)], x.shape, x.dtype);
}

function concat(graph: Graph, parts: readonly Value[], axis: number): Value {
  if (parts.length === 1) return parts[0]!;
  const shape = parts[0]!.shape.map((dim, i) => (i === axis ? parts.reduce((total, part) => total + part.shape[axis]!, 0) : dim));
  return graph.op("Concat", parts, shape, parts[0]!.dtype, { axis });
}

function split(graph: Graph, x: Value, sizes: readonly number[], axis: number): Value[] {
  const specs = sizes.map((size) => ({ shape: x.shape.map((dim, i) => (i === axis ? size : dim)), dtype: x.dtype }));
  if (sizes.length === 1) return [x];
  return graph.node("Split", [x, graph.ints(sizes)], specs, { axis });
}

const reshaped: Lowering = (graph, { x }, { shape }) =>
  graph.reshape(x!, tf.util.inferFromImplicitShape(shape as number[], tf.util.sizeFromShape([...x!.shape])));

export const shapeLowerings: Lowerings = {
  Reshape: reshaped,
  ExpandDims: (graph, { input }, { dim }) => {
    const shape = [...input!.shape];
    const at = dim as number;
    shape.splice(at < 0 ? at + shape.length + 1 : at, 0, 1);
    return graph.reshape(input!, shape);
  },
  Transpose: (graph, { x }, { perm }) => transpose(graph, x!, perm as number[]),
  Slice: (graph, { x }, { begin, size }) => {
    const [starts, sizes] = tf.slice_util.parseSliceParams({ shape: [...x!.shape] } as tf.TensorInfo, begin as number[], size as number[]);
    return slice(graph, x!, starts!, sizes!);
  },
  StridedSlice: (graph, { x }, attributes) => {
    const { begin, end, strides, beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask } = attributes as unknown as tf.StridedSliceAttrs;
    const info = tf.slice_util.sliceInfo([...x!.shape], begin, end, strides, beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask);
    const ends = info.end.map((stop, i) => (info.strides[i]! < 0 && stop < 0 ? beforeFirst : stop));
    const axes = info.begin.map((_, i) => i);
    const sliced = graph.op(
      "Slice",
      [x!, graph.ints(info.begin), graph.ints(ends), graph.ints(axes), graph.ints(info.strides)],
      info.finalShapeSparse,
      x!.dtype,
    );
    return graph.reshape(sliced, info.finalShape);
  },
  Reverse: (graph, { x }, { dims }) => reverse(graph, x!, normalAxes(dims, x!.shape.length)),
  Concat: (graph, operands, { axis }) => {
    const parts = Object.values(operands);
    return concat(graph, parts, normalAxes(axis, parts[0]!.shape.length)[0]!);
  },
  Pack: (graph, operands, { axis }) => {
    const parts = Object.values(operands);
    const [at] = normalAxes(axis, parts[0]!.shape.length + 1);
    return concat(
      graph,
      parts.map((part) => graph.reshape(part, part.shape.toSpliced(at!, 0, 1))),
      at!,
    );
  },
  Unpack: (graph, { value }, { axis }) => {
    const [at] = normalAxes(axis, value!.shape.length);
    const parts = split(graph, value!, Array<number>(value!.shape[at!]!).fill(1), at!);
    return parts.map((part) => graph.reshape(part, part.shape.toSpliced(at!, 1)));
  },
  SplitV: (graph, { x }, { numOrSizeSplits, axis }) => {
    const [at] = normalAxes(axis, x!.shape.length);
    const sizes = tf.backend_util.prepareSplitSize({ shape: [...x!.shape] } as tf.Tensor, numOrSizeSplits as number[] | number, at);
    return split(graph, x!, sizes, at!);
  },
  Tile: (graph, { x }, { reps }) => {
    const counts = reps as number[];
    const shape = x!.shape.map((dim, i) => dim * counts[i]!);
    // tfjs broadcasts by tiling axes of size 1.
    if (counts.every((count, i) => count === 1 || x!.shape[i] === 1)) return graph.expand(x!, shape);
    return graph.op("Tile", [x!, graph.ints(counts)], shape, x!.dtype);
  },
  PadV2: (graph, { x }, { paddings, constantValue }) => {
    const pairs = paddings as [number, number][];
    if (pairs.every(([before, after]) => before === 0 && after === 0)) return x!;
    const shape = x!.shape.map((dim, i) => dim + pairs[i]![0] + pairs[i]![1]);
    const pads = graph.ints([...pairs.map(([before]) => before), ...pairs.map(([, after]) => after)]);
    const value = graph.scalar(constantValue as number, x!.dtype as "float32" | "int32" | "bool");
    return graph.op("Pad", [x!, pads, value], shape, x!.dtype);
  },
};
