/** Kernels that only move values. */
import * as tf from "@tensorflow/tfjs-core";
import { at } from "../../at.ts";
import type { Graph, Value } from "../graph.ts";
import { sameShape } from "../signature.ts";
import { constantDtype, type Lowerings, normalAxes, normalAxis, reads, readsAll } from "./lowering.ts";

export function transpose(graph: Graph, x: Value, perm: readonly number[]): Value {
  const shape = perm.map((axis) => at(x.shape, axis));
  // Axes of size 1 may move freely: if the others keep their order, nothing moves in memory.
  const moving = perm.filter((axis) => x.shape[axis] !== 1);
  if (moving.every((axis, i) => i === 0 || axis > at(moving, i - 1))) return graph.reshape(x, shape);
  return graph.op("Transpose", [x], shape, x.dtype, { perm: [...perm] });
}

export function slice(graph: Graph, x: Value, begin: readonly number[], size: readonly number[]): Value {
  if (sameShape(x.shape, size)) return x;
  if (x.narrow && x.narrow.shape.length === 0) return graph.expand(x.narrow, size);
  const axes = x.shape.map((_, i) => i).filter((i) => size[i] !== x.shape[i]);
  const starts = axes.map((i) => at(begin, i));
  const ends = axes.map((i) => at(begin, i) + at(size, i));
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
  const first = at(parts, 0);
  if (parts.length === 1) return first;
  const shape = first.shape.map((dim, i) => (i === axis ? parts.reduce((total, part) => total + at(part.shape, axis), 0) : dim));
  return graph.op("Concat", parts, shape, first.dtype, { axis });
}

function split(graph: Graph, x: Value, sizes: readonly number[], axis: number): Value[] {
  const specs = sizes.map((size) => ({ shape: x.shape.map((dim, i) => (i === axis ? size : dim)), dtype: x.dtype }));
  if (sizes.length === 1) return [x];
  return graph.node("Split", [x, graph.ints(sizes)], specs, { axis });
}

/** tfjs's shape functions take a whole tensor and read only its shape. */
function shapeOnly({ shape }: Value): tf.Tensor {
  return { shape: [...shape] } as tf.Tensor;
}

export const shapeLowerings: Lowerings = {
  Reshape: reads("x")((graph, { x }, { shape }: tf.ReshapeAttrs) =>
    graph.reshape(x, tf.util.inferFromImplicitShape(shape, tf.util.sizeFromShape([...x.shape]))),
  ),
  ExpandDims: reads("input")((graph, { input }, { dim }: tf.ExpandDimsAttrs) =>
    graph.reshape(input, input.shape.toSpliced(normalAxis(dim, input.shape.length + 1), 0, 1)),
  ),
  Transpose: reads("x")((graph, { x }, { perm }: tf.TransposeAttrs) => transpose(graph, x, perm)),
  Slice: reads("x")((graph, { x }, { begin, size }: tf.SliceAttrs) => {
    const [starts = [], sizes = []] = tf.slice_util.parseSliceParams(shapeOnly(x), begin, size);
    return slice(graph, x, starts, sizes);
  }),
  StridedSlice: reads("x")((graph, { x }, { begin, end, strides, beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask }: tf.StridedSliceAttrs) => {
    const info = tf.slice_util.sliceInfo([...x.shape], begin, end, strides, beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask);
    const ends = info.end.map((stop, i) => (at(info.strides, i) < 0 && stop < 0 ? beforeFirst : stop));
    const axes = info.begin.map((_, i) => i);
    const sliced = graph.op("Slice", [x, graph.ints(info.begin), graph.ints(ends), graph.ints(axes), graph.ints(info.strides)], info.finalShapeSparse, x.dtype);
    return graph.reshape(sliced, info.finalShape);
  }),
  Reverse: reads("x")((graph, { x }, { dims }: tf.ReverseAttrs) => reverse(graph, x, normalAxes(dims, x.shape.length))),
  Concat: readsAll((graph, parts, { axis }: tf.ConcatAttrs, first) => concat(graph, parts, normalAxis(axis, first.shape.length))),
  Pack: readsAll((graph, parts, { axis }: tf.PackAttrs, first) => {
    const place = normalAxis(axis, first.shape.length + 1);
    return concat(
      graph,
      parts.map((part) => graph.reshape(part, part.shape.toSpliced(place, 0, 1))),
      place,
    );
  }),
  Unpack: reads("value")((graph, { value }, { axis }: tf.UnpackAttrs) => {
    const place = normalAxis(axis, value.shape.length);
    const parts = split(graph, value, Array<number>(at(value.shape, place)).fill(1), place);
    return parts.map((part) => graph.reshape(part, part.shape.toSpliced(place, 1)));
  }),
  SplitV: reads("x")((graph, { x }, { numOrSizeSplits, axis }: tf.SplitVAttrs) => {
    const place = normalAxis(axis, x.shape.length);
    return split(graph, x, tf.backend_util.prepareSplitSize(shapeOnly(x), numOrSizeSplits, place), place);
  }),
  Tile: reads("x")((graph, { x }, { reps }: tf.TileAttrs) => {
    const shape = x.shape.map((dim, i) => dim * at(reps, i));
    // tfjs broadcasts by tiling axes of size 1.
    if (reps.every((count, i) => count === 1 || x.shape[i] === 1)) return graph.expand(x, shape);
    return graph.op("Tile", [x, graph.ints(reps)], shape, x.dtype);
  }),
  PadV2: reads("x")((graph, { x }, { paddings, constantValue }: tf.PadV2Attrs) => {
    const [before, after] = [paddings.map(([count]) => count), paddings.map(([, count]) => count)];
    if (paddings.flat().every((count) => count === 0)) return x;
    const shape = x.shape.map((dim, i) => dim + at(before, i) + at(after, i));
    return graph.op("Pad", [x, graph.ints([...before, ...after]), graph.scalar(constantValue, constantDtype(x.dtype))], shape, x.dtype);
  }),
};
