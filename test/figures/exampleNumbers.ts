/** Numbers for made-up figures, the same on every run. */
import type { Figure, NamedArray, Place } from "../../probes/result.ts";

export interface Example {
  readonly figure: Figure;
  readonly arrays: Record<string, NamedArray>;
  readonly selection?: Place;
  readonly pins?: readonly Place[];
}

/** Mulberry32: the same pictures every time. */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
export const array = (shape: readonly number[], axes: readonly string[], value: (...at: number[]) => number): NamedArray => {
  const data = new Float32Array(shape.reduce((n, dim) => n * dim, 1));
  for (let flat = 0; flat < data.length; flat++) {
    const at = shape.map((_, axis) => Math.floor(flat / shape.slice(axis + 1).reduce((n, dim) => n * dim, 1)) % shape[axis]!);
    data[flat] = value(...at);
  }
  return { shape, axes, data };
};

export const layers = (count: number) => Array.from({ length: count }, (_, layer) => String(layer));
export const bump = (x: number, at: number, width: number) => Math.exp(-(((x - at) / width) ** 2));
