/** From rows and columns to places in the network and back. */
import type { ArrayRef, Axis, Metric, Place } from "../../probes/result.ts";
import { slice } from "../../probes/result.ts";
import type { Arrays } from "./context.ts";
import { indexedToken, siteKind } from "./labels.ts";

/** "facts-edit·mlp.in#0", the adapter only where there are several. */
const componentLabel = /^(?:(?<adapter>.*)·)?(?<site>[^·]*)#(?<component>\d+)$/;

export interface ComponentParts {
  readonly adapter?: string;
  readonly site: string;
  readonly component: number;
}
export function componentParts(label: string): ComponentParts | null {
  const groups = componentLabel.exec(label)?.groups;
  if (!groups) return null;
  return { site: groups.site!, component: Number(groups.component), ...(groups.adapter === undefined ? {} : { adapter: groups.adapter }) };
}

/** What a row or column fixes of a place. */
export function axisPlace(axis: Axis, index: number): Place {
  if (axis.name === "site") return { site: axis.labels[index]! };
  if (axis.name === "component") return componentParts(axis.labels[index]!) ?? { component: index };
  return { [axis.name]: index };
}

const sameSite = (a: string | undefined, b: string | undefined): boolean => a !== undefined && b !== undefined && siteKind(a) === siteKind(b);

/** The row or column a place lies in, or -1 when the axis does not say or the place does not. */
export function axisIndex(axis: Axis, place: Place): number {
  if (axis.name === "site") return axis.labels.findIndex((label) => sameSite(label, place.site));
  if (axis.name !== "component") {
    const index = place[axis.name];
    return index !== undefined && index < axis.labels.length ? index : -1;
  }
  if (place.component === undefined) return -1;
  const parts = axis.labels.map(componentParts);
  if (parts.every((part) => part === null)) return place.component < axis.labels.length ? place.component : -1;
  return parts.findIndex(
    (part) =>
      part !== null &&
      part.component === place.component &&
      sameSite(part.site, place.site) &&
      (part.adapter === undefined || place.adapter === undefined || part.adapter === place.adapter),
  );
}

/** A row or column in words: "layer 3", "·venia [5]", "head 6", "mlp.in#0". */
export function axisWords(axis: Axis, index: number): string {
  const label = axis.labels[index] ?? String(index);
  if (axis.name === "position") return indexedToken(label, index);
  return axis.name === "layer" || axis.name === "head" ? `${axis.name} ${label}` : label;
}

/** Layers are drawn upward, everything else downward. */
export const rowsGoUp = (axis: Axis): boolean => axis.name === "layer";

/** Whether a series or bar is the place, as far as both say. */
export function samePlace(drawn: Place, place: Place): boolean {
  const agree = (key: "layer" | "position" | "head" | "component" | "adapter") => drawn[key] === undefined || drawn[key] === place[key];
  const named =
    drawn.layer !== undefined || drawn.site !== undefined || drawn.head !== undefined || drawn.component !== undefined || drawn.position !== undefined;
  return (
    named &&
    agree("layer") &&
    agree("position") &&
    agree("head") &&
    agree("component") &&
    (drawn.adapter === undefined || place.adapter === undefined || drawn.adapter === place.adapter) &&
    (drawn.site === undefined || sameSite(drawn.site, place.site))
  );
}

/** The numbers a figure points at; an array that is not declared yet is all pending. */
export function numbersOf(arrays: Arrays, ref: ArrayRef | undefined, size: number): Float32Array {
  if (!ref || !arrays[ref.array]) return new Float32Array(size).fill(NaN);
  return slice(arrays, ref).data;
}

export const metricNamed = (metrics: readonly Metric[], id: string | undefined): Metric => metrics.find((metric) => metric.id === id) ?? metrics[0]!;
