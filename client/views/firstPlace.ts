/** Where the pin goes when there is none: the strongest cell of the figure. */
import type { Figure, Place, ProbeResult } from "../../probes/result.ts";
import { neighbour, valueAt } from "../figures/figure.ts";
import { metricsOf } from "./places.ts";

export function firstPlace(figure: Figure, result: ProbeResult): Place | null {
  if (figure.kind === "bars") return figure.bars[0]?.place ?? null;
  if (figure.kind === "spectrum") return figure.series[0]?.place ?? null;
  if (figure.kind === "table") return figure.rows.find(({ place }) => place)?.place ?? null;
  if (figure.kind === "attention") return { layer: 0, head: 0 };
  if (figure.kind === "tokenGrid") return { layer: figure.rows.labels.length - 1, position: figure.cols.labels.length - 1 };
  if (figure.kind === "lines") return figure.series.find(({ place }) => Object.keys(place).length > 0)?.place ?? null;
  if (figure.kind === "ridgeline") return figure.panels[0] ? { ...figure.panels[0].place, component: 0 } : null;
  const metric = metricsOf(figure)[0]?.id;
  const panel = figure.panels[0];
  if (!panel) return null;
  let best: Place | null = null;
  let most = -1;
  // Walked with the arrow keys' own steps, so that every place is one the figure can draw.
  let rowStart: Place | null = { ...corner(panel.rows.name), ...corner(panel.cols.name), ...(figure.panels.length > 1 ? { site: panel.id } : {}) };
  while (rowStart) {
    let at: Place | null = rowStart;
    for (let column = 0; at && column < panel.cols.labels.length; column += 1) {
      const size: number = Math.abs(valueAt(figure, result.arrays, metric, at) ?? NaN);
      if (size > most) [best, most] = [at, size];
      at = neighbour(figure, at, "ArrowRight", result.arrays);
    }
    rowStart = neighbour(figure, rowStart, panel.rows.name === "layer" ? "ArrowUp" : "ArrowDown", result.arrays);
  }
  return best ?? null;
}

const corner = (axis: "layer" | "position" | "head" | "component" | "site"): Place => (axis === "site" ? {} : { [axis]: 0 });
