/** From rows and columns to places in the network and back. */
import type { ArrayRef, Axis, Metric, Place } from "../../probes/result.ts";
import { slice } from "../../probes/result.ts";
import type { Arrays } from "./context.ts";
import { indexedToken, siteKind } from "./labels.ts";

/** What a row or column is of a place. */
export const axisPlace = (axis: Axis, index: number): Place => axis.places[index] ?? {};

const sameSite = (a: string | undefined, b: string | undefined): boolean => a !== undefined && b !== undefined && siteKind(a) === siteKind(b);
const counts = ["layer", "position", "head", "component"] as const;
/** Where one of two places does not say, they may be the same. */
const mayBeSame = (a: string | undefined, b: string | undefined): boolean => a === undefined || b === undefined || a === b;

/** Whether all that the first place says is so of the second. */
export const holds = (part: Place, place: Place): boolean =>
  counts.every((key) => part[key] === undefined || part[key] === place[key]) &&
  (part.site === undefined || sameSite(part.site, place.site)) &&
  mayBeSame(part.stack, place.stack) &&
  mayBeSame(part.adapter, place.adapter);

/** The row or column a place lies in, or -1 when the place does not say. */
export const axisIndex = (axis: Axis, place: Place): number => axis.places.findIndex((part) => Object.keys(part).length > 0 && holds(part, place));

/** A row or column in words: "layer 3", "·venia [5]", "head 6", "mlp.in#0". */
export function axisWords(axis: Axis, index: number): string {
  const label = axis.labels[index] ?? String(index);
  if (axis.name === "position") return indexedToken(label, index);
  return axis.name === "layer" || axis.name === "head" ? `${axis.name} ${label}` : label;
}

/** Layers are drawn upward, everything else downward. */
export const rowsGoUp = (axis: Axis): boolean => axis.name === "layer";

/** Whether a series or bar is the place, as far as both say. */
export const samePlace = (drawn: Place, place: Place): boolean =>
  (drawn.site !== undefined || counts.some((key) => drawn[key] !== undefined)) && holds(drawn, place);

/** The numbers a figure points at; an array that is not declared yet is all pending. */
export function numbersOf(arrays: Arrays, ref: ArrayRef | undefined, size: number): Float32Array {
  if (!ref || !arrays[ref.array]) return new Float32Array(size).fill(NaN);
  return slice(arrays, ref).data;
}

/** Every pointer of a record by metric, changed. */
export const changedValues = (values: Readonly<Record<string, ArrayRef>>, change: (ref: ArrayRef) => ArrayRef): Readonly<Record<string, ArrayRef>> =>
  Object.fromEntries(Object.entries(values).map(([id, ref]) => [id, change(ref)]));

/** "head L9H6" */
export const headWords = ({ layer, head }: { readonly layer: number; readonly head: number }): string => `head L${layer}H${head}`;

export const metricNamed = (metrics: readonly Metric[], id: string | undefined): Metric => metrics.find((metric) => metric.id === id) ?? metrics[0]!;
