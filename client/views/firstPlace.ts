/** Where the pin goes when there is none: the strongest cell of the figure. */
import type { Figure, Place, ProbeResult } from "../../probes/result.ts";
import { valueAt } from "../figures/figure.ts";
import { metricsOf } from "./places.ts";

export function firstPlace(figure: Figure, result: ProbeResult): Place | null {
  if (figure.kind === "bars") return figure.bars[0]?.place ?? null;
  if (figure.kind === "spectrum") return figure.series[0]?.place ?? null;
  if (figure.kind === "table") return figure.rows.find(({ place }) => place)?.place ?? null;
  if (figure.kind === "attention") return { layer: 0, head: 0 };
  if (figure.kind === "tokenGrid") return { ...figure.rows.places.at(-1), ...figure.cols.places.at(-1) };
  if (figure.kind === "lines") return figure.series.find(({ place }) => Object.keys(place).length > 0)?.place ?? null;
  if (figure.kind === "ridgeline") return figure.panels[0] ? { ...figure.panels[0].place, component: 0 } : null;
  const metric = metricsOf(figure)[0]?.id;
  const panel = figure.panels[0];
  let best: Place | null = null;
  let most = -1;
  for (const row of panel?.rows.places ?? []) {
    for (const col of panel?.cols.places ?? []) {
      const at = { ...row, ...col, ...panel?.place };
      const size = Math.abs(valueAt(figure, result.arrays, metric, at) ?? NaN);
      if (size > most) [best, most] = [at, size];
    }
  }
  return best;
}
