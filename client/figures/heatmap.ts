/** Small multiples of cells: patching by layer and position, heads, components. */
import type { HeatmapFigure, Place } from "../../probes/result.ts";
import { drawColumnLabels, drawRowLabels, planColumns, rowGutter } from "./axes.ts";
import { cellBox, cellNumbersFit, cellUnder, columnBox, defineHatch, drawCellNumbers, drawCells, mostVectorCells, rowBox, type Grid } from "./cells.ts";
import { arrowStep, type Arrays, type Cell, type Drawn, type Frame, type Group, type Mark } from "./context.ts";
import type { FigureModule } from "./figureModule.ts";
import { formatValue, splitTitle } from "./labels.ts";
import { drawLegend } from "./legend.ts";
import { drawPanelTitle, planPanels, planTitles, titleHeight } from "./panels.ts";
import { axisIndex, axisPlace, axisWords, changedValues, headWords, holds, metricNamed, numbersOf, rowsGoUp } from "./places.ts";
import { colourScale } from "./scales.ts";

type Panel = HeatmapFigure["panels"][number];

const valuesOf = (panel: Panel, arrays: Arrays, metric: string): Float32Array =>
  numbersOf(arrays, panel.values[metric], panel.rows.labels.length * panel.cols.labels.length);

const placeOf = (panel: Panel, row: number, col: number): Place => ({ ...axisPlace(panel.rows, row), ...axisPlace(panel.cols, col), ...panel.place });
function panelOf(figure: HeatmapFigure, place: Place): Panel | undefined {
  const has = (panel: Panel): boolean => axisIndex(panel.rows, place) >= 0 && axisIndex(panel.cols, place) >= 0;
  return figure.panels.find((panel) => panel.place !== undefined && holds(panel.place, place)) ?? figure.panels.find(has);
}

const sameLabels = (figure: HeatmapFigure): boolean =>
  figure.panels.every(({ rows }) => rows.name === figure.panels[0]!.rows.name && rows.labels.length === figure.panels[0]!.rows.labels.length);

function draw(root: Group, figure: HeatmapFigure, frame: Frame, top: number): Drawn {
  const metric = metricNamed(figure.metrics, frame.metric);
  const values = figure.panels.map((panel) => valuesOf(panel, frame.arrays, metric.id));
  const scale = colourScale(metric, values, frame.theme);
  const asImage = values.reduce((sum, each) => sum + each.length, 0) > mostVectorCells;
  defineHatch(root, frame);

  const [cols, rows] = [
    Math.max(...figure.panels.map((panel) => panel.cols.labels.length)),
    Math.max(...figure.panels.map((panel) => panel.rows.labels.length)),
  ];
  const print = frame.preset === "print";
  const gutter = Math.max(...figure.panels.map((panel) => rowGutter(panel.rows, frame)));
  const shared = sameLabels(figure);
  const gap = shared ? (print ? 12 : 22) : gutter + 12;
  // Wide enough that every column keeps its label, unless even one panel a line would not be.
  const labelled = frame.type.axis + 1.6;
  const narrowest = labelled * cols <= frame.width - gutter ? labelled : Math.min(labelled, 240 / cols);
  const widest = print ? 36 : 40;
  const sketch = planPanels(frame.width, figure.panels.length, cols, gutter, gap, narrowest, widest);
  const overhang = Math.max(...figure.panels.map((panel) => planColumns(panel.cols, sketch.cellWidth, frame).overhang));
  const left = Math.max(gutter, overhang);
  const { perLine, cellWidth } = planPanels(frame.width, figure.panels.length, cols, left, gap, Math.min(narrowest, sketch.cellWidth), widest);
  const tallest = Math.max(4, Math.floor((print ? 180 : 250) / rows));
  const cellHeight = Math.min(tallest, print ? 14 : 22, Math.max(cellWidth * 1.6, 8));
  const plans = figure.panels.map((panel) => planColumns(panel.cols, cellWidth, frame));
  const labelHeight = Math.max(...plans.map((plan) => plan.height));

  const titleRoom = cols * cellWidth + gap - 8;
  const titles = planTitles(
    frame,
    figure.panels.map(({ title }) => title),
    titleRoom,
  );
  const head = titleHeight(frame, titles);
  const numbered = !asImage && cellNumbersFit(frame, values, { cellWidth, cellHeight });
  const selected = frame.selection?.place;
  let y = top;
  const grids: Grid[] = [];
  figure.panels.forEach((panel, index) => {
    const column = index % perLine;
    if (index > 0 && column === 0) y += head + rows * cellHeight + labelHeight + 6;
    const grid: Grid = {
      x: left + column * (cols * cellWidth + gap),
      y: y + head,
      rows: panel.rows.labels.length,
      cols: panel.cols.labels.length,
      cellWidth,
      cellHeight,
      up: rowsGoUp(panel.rows),
    };
    grids.push(grid);
    const group = root.append("g").attr("class", "panel").attr("data-panel", panel.id);
    drawPanelTitle(group, frame, panel.title, grid.x, y, titleRoom, titles);
    drawCells(group, frame, grid, values[index]!, scale, asImage);
    if (numbered) drawCellNumbers(group, frame, grid, values[index]!, scale);
    if (column === 0 || !shared) drawRowLabels(group, frame, panel.rows, grid, selected ? axisIndex(panel.rows, selected) : -1);
    drawColumnLabels(group, frame, panel.cols, plans[index]!, grid, selected ? axisIndex(panel.cols, selected) : -1);
  });
  y += head + rows * cellHeight + labelHeight + 10;
  const { rows: rowAxis, cols: colAxis } = figure.panels[0]!;
  const axes = `${rowAxis.name}${rowsGoUp(rowAxis) ? " ↑" : " ↓"} · ${colAxis.name === "position" ? "token" : colAxis.name}`;
  y += drawLegend(
    root,
    frame,
    scale,
    gutter,
    y,
    axes,
    figure.nulls?.find((band) => band.metric === metric.id),
  );

  return {
    height: y,
    right: Math.max(...grids.map((grid) => grid.x + grid.cols * grid.cellWidth)),
    cellAt: (pointX, pointY) => {
      for (const [index, grid] of grids.entries()) {
        const found = cellUnder(grid, pointX, pointY);
        if (found) return describe(figure, frame, index, grid, found.row, found.col);
      }
      return null;
    },
    marks: (place) => figure.panels.flatMap((panel, index) => marksIn(panel, grids[index]!, place)),
  };
}

function describe(figure: HeatmapFigure, frame: Frame, index: number, grid: Grid, row: number, col: number): Cell {
  const panel = figure.panels[index]!;
  const chosen = metricNamed(figure.metrics, frame.metric);
  const at = row * panel.cols.labels.length + col;
  const value = valuesOf(panel, frame.arrays, chosen.id)[at]!;
  const band = figure.nulls?.find((each) => each.metric === chosen.id);
  const others = figure.metrics.filter((metric) => metric.id !== chosen.id && panel.values[metric.id]);
  const lines = [
    { label: [chosen.label, chosen.unit === chosen.label ? "" : chosen.unit].filter(Boolean).join(", "), value: formatValue(value) },
    ...others.map((metric) => ({ label: metric.label, value: formatValue(valuesOf(panel, frame.arrays, metric.id)[at]!) })),
    ...(band ? [{ label: band.words, value: `${formatValue(band.low)} to ${formatValue(band.high)}` }] : []),
  ];
  return {
    place: placeOf(panel, row, col),
    label: [splitTitle(panel.title).name, axisWords(panel.rows, row), axisWords(panel.cols, col)].join(", "),
    value,
    lines,
    box: cellBox(grid, row, col),
  };
}

function marksIn(panel: Panel, grid: Grid, place: Place): Mark[] {
  const [row, col] = [axisIndex(panel.rows, place), axisIndex(panel.cols, place)];
  if (row >= 0 && col >= 0) return [{ box: cellBox(grid, row, col), strength: "cell" }];
  if (row >= 0) return [{ box: rowBox(grid, row), strength: "band" }];
  return col >= 0 ? [{ box: columnBox(grid, col), strength: "band" }] : [];
}

function valueAt(figure: HeatmapFigure, arrays: Arrays, metric: string | undefined, place: Place): number | null {
  const panel = panelOf(figure, place);
  if (!panel) return null;
  const [row, col] = [axisIndex(panel.rows, place), axisIndex(panel.cols, place)];
  if (row < 0 || col < 0) return null;
  return valuesOf(panel, arrays, metricNamed(figure.metrics, metric).id)[row * panel.cols.labels.length + col]!;
}

/** Where the number of largest size is, -1 when all are pending. */
function strongest(values: Float32Array): number {
  let [at, most] = [-1, -1];
  values.forEach((value, index) => {
    if (Math.abs(value) > most) [at, most] = [index, Math.abs(value)];
  });
  return at;
}

export const heatmap: FigureModule<HeatmapFigure> = {
  draw,
  neighbour(figure, place, key) {
    const panel = panelOf(figure, place) ?? figure.panels[0];
    if (!panel) return null;
    const { right, up } = arrowStep[key];
    const row = axisIndex(panel.rows, place) + (rowsGoUp(panel.rows) ? up : -up);
    const col = axisIndex(panel.cols, place) + right;
    if (row < 0 || row >= panel.rows.labels.length) return null;
    if (col >= 0 && col < panel.cols.labels.length) return placeOf(panel, row, col);
    // Off the side of a panel lies the one beside it.
    const beside = figure.panels[figure.panels.indexOf(panel) + right];
    if (!beside || row >= beside.rows.labels.length) return null;
    return placeOf(beside, row, right > 0 ? 0 : beside.cols.labels.length - 1);
  },
  valueAt,
  refs(figure, change) {
    const panels = figure.panels.map((panel) => ({
      ...panel,
      values: changedValues(panel.values, (ref) => change(ref, [panel.rows.labels.length, panel.cols.labels.length])),
    }));
    return { ...figure, panels };
  },
  /** The strongest cell of the first panel. */
  firstPlace(figure, arrays) {
    const panel = figure.panels[0];
    const metric = figure.metrics[0];
    if (!panel || !metric) return null;
    const columns = panel.cols.labels.length;
    const at = strongest(valuesOf(panel, arrays, metric.id));
    return at < 0 ? null : placeOf(panel, Math.floor(at / columns), at % columns);
  },
  metrics: ({ metrics }) => metrics,
  partWords(figure, place) {
    const panel = figure.panels.length === 1 ? figure.panels[0] : figure.panels.find((each) => each.place !== undefined && holds(each.place, place));
    return panel ? splitTitle(panel.title).name : null;
  },
  beside(figure, arrays, place, metric) {
    const numbers = figure.panels.flatMap((panel) => {
      if (panel.place === undefined || holds(panel.place, place)) return [];
      const value = valueAt(figure, arrays, metric, { ...place, ...panel.place });
      return value === null ? [] : [{ label: splitTitle(panel.title).name, value }];
    });
    return { title: "Same place", numbers };
  },
  inLayer: (figure, arrays, layer, metric) =>
    figure.panels.flatMap((panel) => {
      const row = axisIndex(panel.rows, layer);
      if (row < 0) return [];
      const columns = panel.cols.labels.length;
      const values = valuesOf(panel, arrays, metricNamed(figure.metrics, metric).id);
      return panel.cols.places.map((place, col) => ({
        label: place.head === undefined ? axisWords(panel.cols, col) : headWords({ layer: layer.layer, head: place.head }),
        value: values[row * columns + col] ?? NaN,
      }));
    }),
  tokens: (figure) => figure.panels.flatMap(({ rows, cols }) => [rows, cols]).find(({ name }) => name === "position")?.labels ?? [],
  table(figure, arrays) {
    const first = figure.panels[0]!;
    const values = figure.panels.map((panel) => figure.metrics.map((metric) => valuesOf(panel, arrays, metric.id)));
    return {
      columns: [
        "panel",
        first.rows.name,
        `${first.rows.name}_label`,
        first.cols.name,
        `${first.cols.name}_label`,
        ...figure.metrics.map((metric) => metric.id),
      ],
      rows: figure.panels.flatMap((panel, which) =>
        panel.rows.labels.flatMap((rowLabel, row) =>
          panel.cols.labels.map((colLabel, col) => [
            panel.id,
            row,
            rowLabel,
            col,
            colLabel,
            ...values[which]!.map((each) => each[row * panel.cols.labels.length + col]!),
          ]),
        ),
      ),
    };
  },
};
