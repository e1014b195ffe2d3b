/** What a ridgeline figure draws: the snapshots that have numbers, panel by panel, and the marks over them. */
import type { Place, RidgelineFigure } from "../../probes/result.ts";
import { slice } from "../../probes/result.ts";
import { type Arrays, type Box, type Cell } from "./context.ts";
import { formatValue } from "./labels.ts";
import { type Marker } from "./markers.ts";
import { samePlace } from "./places.ts";

export type Panel = RidgelineFigure["panels"][number];

/** What is drawn of one panel: `[snapshot, component]` of the snapshots that have numbers. */
export interface Spectra {
  readonly panel: Panel;
  readonly components: number;
  readonly data: Float32Array;
}

export interface Read {
  readonly steps: readonly number[];
  readonly panels: readonly Spectra[];
  readonly components: number;
}

/** Not every look at a run measures everything: snapshots at which no panel has a number are left out. */
export function read(figure: RidgelineFigure, frame: { readonly arrays: Arrays; readonly panel?: string | undefined }): Read {
  const all = frame.arrays[figure.steps.array] ? slice(frame.arrays, figure.steps).data : new Float32Array(0);
  const chosen = figure.panels.filter(({ id }) => frame.panel === undefined || id === frame.panel);
  const whole = (chosen.length > 0 ? chosen : figure.panels).map((panel) => {
    if (!frame.arrays[panel.values.array]) return { panel, components: 0, data: new Float32Array(0) };
    const { shape, data } = slice(frame.arrays, panel.values);
    return { panel, components: shape[1] ?? 0, data };
  });
  const kept = Array.from(all, (_, index) => index).filter(
    (index) =>
      Number.isFinite(all[index]!) && whole.some(({ components, data }) => data.subarray(index * components, (index + 1) * components).some(Number.isFinite)),
  );
  const panels = whole.map(({ panel, components, data }): Spectra => {
    const rows = new Float32Array(kept.length * components);
    kept.forEach((index, row) => rows.set(data.subarray(index * components, (index + 1) * components), row * components));
    return { panel, components, data: rows };
  });
  return { steps: kept.map((index) => all[index]!), panels, components: Math.max(1, ...panels.map(({ components }) => components)) };
}

/** The last snapshot up to the slider's step. */
export function snapshotAt(steps: readonly number[], step: number | undefined): number {
  if (step === undefined) return steps.length - 1;
  return steps.findLastIndex((each) => each <= step);
}

export const markersOf = (figure: RidgelineFigure, panel: Panel): Marker[] =>
  (figure.markers ?? []).filter(({ place }) => Object.keys(place).length === 0 || samePlace(panel.place, place));

export function cellOf(
  figure: RidgelineFigure,
  { panel, components, data }: Spectra,
  steps: readonly number[],
  snapshot: number,
  component: number,
  box: Box,
): Cell {
  const value = data[snapshot * components + component] ?? NaN;
  const step = steps[snapshot] ?? NaN;
  return {
    place: { ...panel.place, component },
    step,
    label: `${panel.title}, component ${component}, step ${formatValue(step)}`,
    value,
    lines: [{ label: `${figure.unit || "σ"}, component ${component}`, value: formatValue(value) }],
    box,
  };
}

// --- heat -------------------------------------------------------------------

export function isPanel(panel: Panel, place: Place): boolean {
  const { component: _, ...rest } = place;
  return samePlace(panel.place, rest);
}
