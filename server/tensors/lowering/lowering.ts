/** What an entry of the lowering tables is: how one tfjs kernel becomes ONNX nodes. */
import type { Graph, Value } from "../graph.ts";

/** The attributes tfjs hands a kernel, typed at each use as tfjs declares them. */
export type Attributes = Readonly<Record<string, unknown>>;
export type Operands = Readonly<Record<string, Value>>;
export type Lowering = (graph: Graph, operands: Operands, attributes: Attributes) => Value | Value[];
export type Lowerings = Readonly<Record<string, Lowering>>;

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
export function normalAxes(axis: unknown, rank: number): number[] {
  const axes = axis === null || axis === undefined ? Array.from({ length: rank }, (_, i) => i) : ([axis].flat() as number[]);
  return axes.map((one) => (one < 0 ? one + rank : one));
}

/** The number a value is everywhere, if that is known. */
export function uniformValue(value: Value): number | undefined {
  const data = (value.narrow ?? value).constant;
  return data?.length === 1 ? Number(data[0]) : undefined;
}
