/** Figures over training steps as they were at one step. */
import { figureAtSnapshot, slice, type ArrayRef, type Figure } from "../../probes/result.ts";
import type { Arrays } from "./context.ts";

/** Where a figure's numbers are that it shows one snapshot of. */
function valueRefs(figure: Figure): readonly ArrayRef[] {
  switch (figure.kind) {
    case "heatmap":
      return figure.panels.flatMap(({ values }) => Object.values(values));
    case "bars":
      return Object.values(figure.values);
    case "spectrum":
      return figure.series.map(({ values }) => values);
    case "tokenGrid":
    case "attention":
      return figure.panels.map(({ values }) => values);
    case "table":
    case "lines":
    case "ridgeline":
      return [];
    default:
      figure satisfies never;
      return [];
  }
}

const hasNumbers = (figure: Figure, arrays: Arrays, snapshot: number): boolean =>
  valueRefs(figure).some(({ array, at = [] }) => arrays[array] !== undefined && slice(arrays, { array, at: [snapshot, ...at] }).data.some(Number.isFinite));

/** The last snapshot up to the step at which the figure has a number, as not every look measures everything; 0 when there is none. */
function snapshotAt(figure: Figure, arrays: Arrays, step: number | null): number {
  if (!figure.steps || !arrays[figure.steps.array]) return 0;
  const reached = slice(arrays, figure.steps).data;
  const last = reached.findLastIndex((each) => (step === null ? Number.isFinite(each) : each <= step));
  for (let index = last; index >= 0; index--) if (hasNumbers(figure, arrays, index)) return index;
  return Math.max(0, last);
}

/** The figure with its values at a step, or at the last one; the same figure when it has no snapshots or shows them all. */
export const figureAtStep = (figure: Figure, arrays: Arrays, step: number | null): Figure =>
  valueRefs(figure).length > 0 && figure.steps ? figureAtSnapshot(figure, snapshotAt(figure, arrays, step)) : figure;

/** The step that the figure's numbers are of when it is asked for a step; null when it has no snapshots or none was reached. */
export function stepOfNumbers(figure: Figure, arrays: Arrays, step: number): number | null {
  if (!figure.steps || valueRefs(figure).length === 0 || !arrays[figure.steps.array]) return null;
  const found = slice(arrays, figure.steps).data[snapshotAt(figure, arrays, step)];
  return found !== undefined && Number.isFinite(found) ? found : null;
}
