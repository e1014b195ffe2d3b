/** What an entry of the lowering tables is: how one tfjs kernel becomes ONNX nodes. */
import { at, named } from "../../at.ts";
import type { Graph, Value } from "../graph.ts";

/** `attributes` are what tfjs hands the kernel: each lowering says which of tfjs's types that is. */
export type Lowering = (graph: Graph, operands: Readonly<Record<string, Value>>, attributes: never) => Value | Value[];
export type Lowerings = Readonly<Record<string, Lowering>>;

/** `reads("x")((graph, { x }, { begin, size }: tf.SliceAttrs) => …)`: a lowering of a kernel whose operands tfjs calls so. */
export function reads<Name extends string>(...names: readonly Name[]) {
  return (make: (graph: Graph, operands: Readonly<Record<Name, Value>>, attributes: never) => Value | Value[]): Lowering =>
    (graph, operands, attributes: never) =>
      make(graph, named("a kernel", operands, names), attributes);
}

/** The same of a kernel that takes a list; `first` is its first entry. */
export function readsAll(make: (graph: Graph, parts: readonly Value[], attributes: never, first: Value) => Value | Value[]): Lowering {
  return (graph, operands, attributes: never) => {
    const parts = Object.values(operands);
    return make(graph, parts, attributes, at(parts, 0));
  };
}

/** numpy's rule: aligned from the right, 1 stretches. */
export function broadcastShape(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    return x === 1 ? y : x;
  });
}

/** Axes counted from the front; null or undefined means all. */
export function normalAxes(axis: number | readonly number[] | null | undefined, rank: number): number[] {
  const axes = axis === null || axis === undefined ? Array.from({ length: rank }, (_, i) => i) : [axis].flat();
  return axes.map((one) => normalAxis(one, rank));
}

/** One axis, counted from the front. */
export function normalAxis(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}

export type ConstantDtype = "float32" | "int32" | "bool";

/** A dtype that constants come in. @throws Error "internal: …" for another */
export function constantDtype(dtype: string | undefined): ConstantDtype {
  if (dtype === "float32" || dtype === "int32" || dtype === "bool") return dtype;
  throw new Error(`internal: no constants of dtype ${dtype}`);
}

/** The number a value is everywhere, if that is known. */
export function uniformValue(value: Value): number | undefined {
  const data = (value.narrow ?? value).constant;
  return data?.length === 1 ? Number(data[0]) : undefined;
}
