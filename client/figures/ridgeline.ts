/** Spectra over time: in each panel a column a snapshot, a row a component. */
import type { Place, RidgelineFigure } from "../../probes/result.ts";
import { slice } from "../../probes/result.ts";
import { cellBox, cellUnder, defineHatch, drawCells, mostVectorCells, type Grid } from "./cells.ts";
import { arrowStep, type Arrays, type Drawn, type FigureModule, type Frame, type Group } from "./context.ts";
import { formatValue } from "./labels.ts";
import { drawLegend } from "./legend.ts";
import { drawPanelTitle, planPanels, titleHeight } from "./panels.ts";
import { samePlace } from "./places.ts";
import { colourScale } from "./scales.ts";

type Panel = RidgelineFigure["panels"][number];

const stepsOf = (figure: RidgelineFigure, arrays: Arrays): Float32Array => (arrays[figure.steps.array] ? slice(arrays, figure.steps).data : new Float32Array(0));

interface Spectra {
  readonly snapshots: number;
  readonly components: number;
  readonly data: Float32Array;
}
function spectraOf(panel: Panel, arrays: Arrays): Spectra {
  if (!arrays[panel.values.array]) return { snapshots: 0, components: 0, data: new Float32Array(0) };
  const { shape, data } = slice(arrays, panel.values);
  return { snapshots: shape[0]!, components: shape[1]!, data };
}

function draw(root: Group, figure: RidgelineFigure, frame: Frame, top: number): Drawn {
  defineHatch(root, frame);
  const spectra = figure.panels.map((panel) => spectraOf(panel, frame.arrays));
  const steps = stepsOf(figure, frame.arrays);
  const scale = colourScale({ id: "singular_value", label: "singular value", unit: figure.unit, scale: "sequential" }, spectra.map(({ data }) => data), frame.theme);
  const columns = Math.max(1, ...spectra.map(({ snapshots }) => snapshots));
  const rows = Math.max(1, ...spectra.map(({ components }) => components));
  const { perLine, cellWidth } = planPanels(frame.width, figure.panels.length, columns, 30, 16, 3, 20);
  const cellHeight = Math.max(5, Math.min(14, 120 / rows));
  const asImage = columns * rows * figure.panels.length > mostVectorCells;
  const grids: Grid[] = [];
  let y = top;
  figure.panels.forEach((panel, index) => {
    const column = index % perLine;
    if (index > 0 && column === 0) y += titleHeight(frame) + rows * cellHeight + 8;
    const { snapshots, components, data } = spectra[index]!;
    const group = root.append("g").attr("class", "panel").attr("data-panel", panel.id);
    const left = 30 + column * (columns * cellWidth + 16);
    drawPanelTitle(group, frame, panel.title, left, y, columns * cellWidth);
    const grid: Grid = { x: left, y: y + titleHeight(frame), rows: components, cols: snapshots, cellWidth, cellHeight, up: false };
    grids.push(grid);
    drawCells(group, frame, grid, transposed(data, snapshots, components), scale, asImage);
  });
  y += titleHeight(frame) + rows * cellHeight + 8;
  y += drawLegend(root, frame, scale, 30, y, "component ↓ · snapshot", undefined);
  return {
    height: y,
    cellAt: (px, py) => {
      for (const [index, grid] of grids.entries()) {
        const found = cellUnder(grid, px, py);
        if (!found) continue;
        const panel = figure.panels[index]!;
        const value = spectra[index]!.data[found.col * grid.rows + found.row]!;
        return { place: { ...panel.place, component: found.row }, label: `${panel.title}, component ${found.row}, step ${formatValue(steps[found.col] ?? NaN)}`, value, lines: [{ label: `σ, component ${found.row}`, value: formatValue(value) }], box: cellBox(grid, found.row, found.col) };
      }
      return null;
    },
    marks: () => [],
  };
}

/** `[component, snapshot]` of `[snapshot, component]`. */
function transposed(data: Float32Array, snapshots: number, components: number): Float32Array {
  const turned = new Float32Array(data.length);
  for (let snapshot = 0; snapshot < snapshots; snapshot++) for (let component = 0; component < components; component++) turned[component * snapshots + snapshot] = data[snapshot * components + component]!;
  return turned;
}

function panelOf(figure: RidgelineFigure, place: Place): number {
  const { component: _, ...rest } = place;
  return figure.panels.findIndex((panel) => samePlace(panel.place, rest));
}

export const ridgeline: FigureModule<RidgelineFigure> = {
  draw,
  neighbour(figure, place, key, arrays) {
    const index = panelOf(figure, place);
    const panel = figure.panels[index];
    if (!panel) return null;
    const { right, up } = arrowStep[key];
    if (right !== 0) {
      const beside = figure.panels[index + right];
      return beside ? { ...beside.place, ...(place.component === undefined ? {} : { component: place.component }) } : null;
    }
    const component = (place.component ?? 0) - up;
    return component >= 0 && component < spectraOf(panel, arrays).components ? { ...panel.place, component } : null;
  },
  valueAt(figure, arrays, _metric, place) {
    const panel = figure.panels[panelOf(figure, place)];
    if (!panel || place.component === undefined) return null;
    const { snapshots, components, data } = spectraOf(panel, arrays);
    if (place.component >= components) return null;
    for (let snapshot = snapshots - 1; snapshot >= 0; snapshot--) {
      const value = data[snapshot * components + place.component]!;
      if (!Number.isNaN(value)) return value;
    }
    return NaN;
  },
  table(figure, arrays) {
    const steps = stepsOf(figure, arrays);
    return {
      columns: ["panel", "layer", "site", "adapter", "step", "component", "singular_value"],
      rows: figure.panels.flatMap((panel) => {
        const { components, data } = spectraOf(panel, arrays);
        return Array.from(data, (value, index) => [panel.id, panel.place.layer ?? null, panel.place.site ?? null, panel.place.adapter ?? null, steps[Math.floor(index / components)] ?? NaN, index % components, value]).filter((row) => !Number.isNaN(row[4] as number));
      }),
    };
  },
};
