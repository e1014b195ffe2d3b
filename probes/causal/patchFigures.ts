/** The figures of activation patching: panels by layer × position, and one by layer × head. */
import { headAxis, layerAxis, positionAxis } from "../axes.ts";
import type { HeatmapFigure, NullBand } from "../result.ts";
import { answerMetrics, metricIds } from "./answerMetrics.ts";
import { contrastWords, type Contrast } from "./contrast.ts";
import { places, withPositions, type PatchSizes, type PlaceName } from "./patchCells.ts";

export function patchFigures(
  contrast: Contrast,
  names: readonly PlaceName[],
  tokens: readonly string[],
  { nLayers, nHeads }: PatchSizes,
  nulls: readonly NullBand[],
): HeatmapFigure[] {
  const { done, restored, source } = contrastWords[contrast];
  const common = { metrics: answerMetrics(restored, source), nulls };
  const valuesOf = (prefix: string, at: { readonly at?: readonly number[] }) =>
    Object.fromEntries(metricIds.map((id) => [id, { array: `${prefix}${id}`, ...at }]));
  const blocks = withPositions(names);
  const byPosition: HeatmapFigure = {
    kind: "heatmap",
    id: "positions",
    title: "Patching by layer and position",
    subtitle: `${done}, one activation at a time · 1 = ${restored}`,
    ...common,
    panels: blocks.map((name, panel) => ({
      id: name,
      place: { site: name },
      title: places[name].note ? `${places[name].title} · ${places[name].note}` : places[name].title,
      rows: layerAxis(nLayers),
      cols: positionAxis(tokens),
      values: valuesOf("", { at: [panel] }),
    })),
  };
  const byHead: HeatmapFigure = {
    kind: "heatmap",
    id: "heads",
    title: "Patching by head",
    subtitle: `${done}, one head's output at all positions · 1 = ${restored}`,
    ...common,
    panels: [{ id: "heads", title: "Head outputs", rows: layerAxis(nLayers), cols: headAxis(nHeads), values: valuesOf("heads.", {}) }],
  };
  return [...(blocks.length > 0 ? [byPosition] : []), ...(names.includes("heads") ? [byHead] : [])];
}
