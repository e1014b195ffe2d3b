/** Figures in files of before, brought to what they are now. Nothing else reads places out of labels. */
import type { Axis, Figure, HeatmapFigure, Place } from "../../probes/result.ts";

/** Axes were names and labels alone. */
type OldAxis = Omit<Axis, "places"> & Partial<Pick<Axis, "places">>;

/** "facts-edit·mlp.in#0", the adapter only where there are several. */
const componentLabel = /^(?:(?<adapter>.*)·)?(?<site>[^·]*)#(?<component>\d+)$/;
/** "3", "encoder 3" */
const layerLabel = /^(?:(?<stack>.*) )?(?<layer>\d+)$/;

function placeOf(name: Axis["name"], label: string, index: number): Place {
  if (name === "site") return { site: label };
  if (name === "position" || name === "head") return { [name]: index };
  const { stack, layer, adapter, site, component } = (name === "layer" ? layerLabel : componentLabel).exec(label)?.groups ?? {};
  if (name === "layer") return { layer: Number(layer ?? index), ...(stack === undefined ? {} : { stack }) };
  if (site === undefined) return { component: index };
  return { site, component: Number(component), ...(adapter === undefined ? {} : { adapter }) };
}

const isOld = ({ places }: OldAxis): boolean => places === undefined;
const withPlaces = (axis: OldAxis): Axis => ({ ...axis, places: axis.places ?? axis.labels.map((label, index) => placeOf(axis.name, label, index)) });

/** Panels were sites where neither axis said which: patching the residual stream, the attention output, the MLP output. */
function heatmapOfFile(figure: HeatmapFigure): HeatmapFigure {
  const axes = figure.panels.flatMap(({ rows, cols }) => [rows, cols]);
  if (!axes.some(isOld)) return figure;
  const areSites = figure.panels.length > 1 && axes.every(({ name }) => name !== "site" && name !== "component");
  const panels = figure.panels.map((panel) => ({ ...panel, rows: withPlaces(panel.rows), cols: withPlaces(panel.cols) }));
  return { ...figure, panels: areSites ? panels.map((panel) => ({ ...panel, place: { site: panel.id } })) : panels };
}

/** @param figure as JSON has it, written by this version or an earlier one */
export function figureOfFile(figure: Figure): Figure {
  if (figure.kind === "heatmap") return heatmapOfFile(figure);
  return figure.kind === "tokenGrid" ? { ...figure, rows: withPlaces(figure.rows), cols: withPlaces(figure.cols) } : figure;
}
