/** Figures over training steps as they were at one step. */
import { slice, type AnyFigure } from "../../probes/result.ts";
import { figureAtSnapshot, figureRefs, hasSnapshots } from "./aboutFigure.ts";
import type { Arrays } from "./context.ts";

const hasNumbers = (figure: AnyFigure, arrays: Arrays, snapshot: number): boolean =>
  figureRefs(figure).some(
    ({ ref: { array, at = [] } }) => arrays[array] !== undefined && slice(arrays, { array, at: [snapshot, ...at] }).data.some(Number.isFinite),
  );

/** The last snapshot up to the step at which the figure has a number, as not every look measures everything; 0 when there is none. */
function snapshotAt(figure: AnyFigure, arrays: Arrays, step: number | null): number {
  if (!figure.steps || !arrays[figure.steps.array]) return 0;
  const reached = slice(arrays, figure.steps).data;
  const last = reached.findLastIndex((each) => (step === null ? Number.isFinite(each) : each <= step));
  for (let index = last; index >= 0; index--) if (hasNumbers(figure, arrays, index)) return index;
  return Math.max(0, last);
}

/** The figure with its values at a step, or at the last one; the same figure when it has no snapshots or shows them all. */
export const figureAtStep = (figure: AnyFigure, arrays: Arrays, step: number | null): AnyFigure =>
  hasSnapshots(figure) ? figureAtSnapshot(figure, snapshotAt(figure, arrays, step)) : figure;

/** The step that the figure's numbers are of when it is asked for a step; null when it has no snapshots or none was reached. */
export function stepOfNumbers(figure: AnyFigure, arrays: Arrays, step: number): number | null {
  if (!figure.steps || !hasSnapshots(figure) || !arrays[figure.steps.array]) return null;
  const found = slice(arrays, figure.steps).data[snapshotAt(figure, arrays, step)];
  return found !== undefined && Number.isFinite(found) ? found : null;
}
