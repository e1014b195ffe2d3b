/** Logit-lens grid: in each cell the top token, behind it the colour of its probability. */
import type { Place, TokenGridFigure } from "../../probes/result.ts";
import { drawColumnLabels, drawRowLabels, planColumns, rowGutter } from "./axes.ts";
import { cellBox, cellUnder, columnBox, defineHatch, drawCells, mostVectorCells, rowBox, type Grid } from "./cells.ts";
import { arrowStep, type Arrays, type Cell, type Drawn, type Frame, type Group, type Mark } from "./context.ts";
import type { FigureModule } from "./figureModule.ts";
import { formatValue, splitTitle, tokenLabel } from "./labels.ts";
import { drawLegend, lowRoom } from "./legend.ts";
import { drawPanelTitle, planPanels, titleHeight } from "./panels.ts";
import { axisIndex, axisPlace, axisWords, numbersOf, rowsGoUp } from "./places.ts";
import { colourScale, type ColourScale } from "./scales.ts";
import { baselineShift, drawText } from "./text.ts";
import { fitText, textWidth } from "./textWidth.ts";
import { inkOn } from "./theme.ts";

type Panel = TokenGridFigure["panels"][number];

const cellCount = (figure: TokenGridFigure): number => figure.rows.labels.length * figure.cols.labels.length;
const topCount = (arrays: Arrays, panel: Panel): number => arrays[panel.topIds.array]?.shape.at(-1) ?? 0;
const tokenText = (figure: TokenGridFigure, id: number): string => figure.tokens[id] ?? `#${id}`;

/** Top tokens of a cell as the tokenizer has them, with their numbers; empty while pending. */
function topTokens(figure: TokenGridFigure, arrays: Arrays, panel: Panel, at: number): { text: string; value: number }[] {
  const k = topCount(arrays, panel);
  const ids = numbersOf(arrays, panel.topIds, cellCount(figure) * k);
  const values = numbersOf(arrays, panel.topValues, cellCount(figure) * k);
  return Array.from({ length: k }, (_, rank) => ({ id: ids[at * k + rank]!, value: values[at * k + rank]! }))
    .filter(({ id }) => !Number.isNaN(id))
    .map(({ id, value }) => ({ text: tokenText(figure, id), value }));
}

/** Width of the longest token that is drawn in a cell. */
function longestToken(figure: TokenGridFigure, arrays: Arrays, size: number): number {
  const tops = figure.panels.flatMap((panel) => Array.from({ length: cellCount(figure) }, (_, at) => topTokens(figure, arrays, panel, at)[0]?.text ?? ""));
  return tops.reduce((most, text) => Math.max(most, textWidth(tokenLabel(text), size, "mono")), 0);
}

function draw(root: Group, figure: TokenGridFigure, frame: Frame, top: number): Drawn {
  defineHatch(root, frame);
  const print = frame.preset === "print";
  const size = frame.type.axis - (print ? 0 : 1);
  const [rows, cols] = [figure.rows.labels.length, figure.cols.labels.length];
  const asImage = cellCount(figure) * figure.panels.length > mostVectorCells;
  // Panels of one metric share its colours, so that base and adapted can be compared by eye.
  const metricIds = [...new Set(figure.panels.map(({ metric }) => metric.id))];
  const valuesOf = (panel: Panel) => numbersOf(frame.arrays, panel.values, cellCount(figure));
  const scales = new Map<string, ColourScale>(
    metricIds.map((id) => {
      const panels = figure.panels.filter(({ metric }) => metric.id === id);
      return [id, colourScale(panels[0]!.metric, panels.map(valuesOf), frame.theme)];
    }),
  );
  const gutter = rowGutter(figure.rows, frame);
  const gap = print ? 12 : 22;
  // On paper no pointer tells the rest of a token: where they can, columns are as wide as the longest.
  const whole = print ? longestToken(figure, frame.arrays, size) + 5 : 0;
  const readable = whole > 0 && whole * cols <= frame.width - gutter ? whole : size * 0.6 * 5 + 6;
  const widest = print ? Math.max(52, whole) : 84;
  const sketch = planPanels(frame.width, figure.panels.length, cols, gutter, gap, readable, widest);
  const left = Math.max(gutter, planColumns(figure.cols, sketch.cellWidth, frame).overhang);
  const { perLine, cellWidth } = planPanels(frame.width, figure.panels.length, cols, left, gap, Math.min(readable, sketch.cellWidth), widest);
  const cellHeight = asImage ? Math.max(3, Math.min(size + 6, 420 / rows)) : size + 6;
  const plan = planColumns(figure.cols, cellWidth, frame);

  const selected = frame.selection?.place;
  let y = top;
  const grids: Grid[] = [];
  figure.panels.forEach((panel, index) => {
    const column = index % perLine;
    if (index > 0 && column === 0) y += titleHeight(frame) + rows * cellHeight + plan.height + 6;
    const grid: Grid = { x: left + column * (cols * cellWidth + gap), y: y + titleHeight(frame), rows, cols, cellWidth, cellHeight, up: rowsGoUp(figure.rows) };
    grids.push(grid);
    const values = valuesOf(panel);
    const scale = scales.get(panel.metric.id)!;
    const group = root.append("g").attr("class", "panel").attr("data-panel", panel.id);
    drawPanelTitle(group, frame, panel.title, grid.x, y, cols * cellWidth + gap - 8);
    drawCells(group, frame, grid, values, scale, asImage);
    if (!asImage && cellWidth >= size * 0.6 * 2) drawTokens(group, figure, frame, panel, grid, values, scale, size);
    if (column === 0) drawRowLabels(group, frame, figure.rows, grid, selected ? axisIndex(figure.rows, selected) : -1);
    drawColumnLabels(group, frame, figure.cols, plan, grid, selected ? axisIndex(figure.cols, selected) : -1);
  });
  y += titleHeight(frame) + rows * cellHeight + plan.height + 10;
  metricIds.forEach((id, index) => {
    y += drawLegend(
      root,
      frame,
      scales.get(id)!,
      gutter,
      y,
      index === 0 ? `${figure.rows.name}${rowsGoUp(figure.rows) ? " ↑" : ""} · token` : "",
      figure.nulls?.find((band) => band.metric === id),
      lowRoom(frame, scales.values()),
    );
  });

  const describe = (panel: Panel, grid: Grid, row: number, col: number): Cell => {
    const at = row * cols + col;
    const value = valuesOf(panel)[at]!;
    const lines = [
      { label: panel.metric.label, value: formatValue(value) },
      ...topTokens(figure, frame.arrays, panel, at).map((token) => ({ label: tokenLabel(token.text), value: formatValue(token.value) })),
    ];
    return {
      place: { ...axisPlace(figure.rows, row), ...axisPlace(figure.cols, col) },
      label: [splitTitle(panel.title).name, axisWords(figure.rows, row), axisWords(figure.cols, col)].join(", "),
      value,
      lines,
      box: cellBox(grid, row, col),
    };
  };
  return {
    height: y,
    right: Math.max(...grids.map((grid) => grid.x + cols * cellWidth)),
    cellAt: (px, py) => {
      for (const [index, grid] of grids.entries()) {
        const found = cellUnder(grid, px, py);
        if (found) return describe(figure.panels[index]!, grid, found.row, found.col);
      }
      return null;
    },
    marks: (place) => {
      const [row, col] = [axisIndex(figure.rows, place), axisIndex(figure.cols, place)];
      return grids.flatMap((grid): Mark[] => {
        if (row >= 0 && col >= 0) return [{ box: cellBox(grid, row, col), strength: "cell" }];
        if (row >= 0) return [{ box: rowBox(grid, row), strength: "band" }];
        return col >= 0 ? [{ box: columnBox(grid, col), strength: "band" }] : [];
      });
    },
  };
}

function drawTokens(
  root: Group,
  figure: TokenGridFigure,
  frame: Frame,
  panel: Panel,
  grid: Grid,
  values: Float32Array,
  scale: ColourScale,
  size: number,
): void {
  const group = root.append("g").attr("class", "tokens").attr("pointer-events", "none");
  const k = topCount(frame.arrays, panel);
  if (k === 0) return;
  const ids = numbersOf(frame.arrays, panel.topIds, values.length * k);
  values.forEach((value, index) => {
    const id = ids[index * k]!;
    if (Number.isNaN(value) || Number.isNaN(id)) return;
    const box = cellBox(grid, Math.floor(index / grid.cols), index % grid.cols);
    const text = fitText(tokenLabel(tokenText(figure, id)), box.width - 4, size, "mono");
    if (text !== "")
      drawText(group, frame, text, box.x + (box.width - 1) / 2, box.y + box.height / 2 - 0.5 + baselineShift(size), {
        size,
        mono: true,
        anchor: "middle",
        fill: inkOn(scale.colour(value)),
      });
  });
}

const panelNamed = (figure: TokenGridFigure, name: string | undefined): Panel | undefined =>
  figure.panels.find((panel) => panel.id === name) ?? figure.panels.find((panel) => panel.metric.id === name) ?? figure.panels[0];

const mostReadings = 10;

export const tokenGrid: FigureModule<TokenGridFigure> = {
  draw,
  neighbour(figure, place: Place, key) {
    const { right, up } = arrowStep[key];
    const row = axisIndex(figure.rows, place) + (rowsGoUp(figure.rows) ? up : -up);
    const col = axisIndex(figure.cols, place) + right;
    const inside = row >= 0 && row < figure.rows.labels.length && col >= 0 && col < figure.cols.labels.length;
    return inside ? { ...axisPlace(figure.rows, row), ...axisPlace(figure.cols, col) } : null;
  },
  valueAt(figure, arrays, metric, place) {
    const panel = panelNamed(figure, metric);
    const [row, col] = [axisIndex(figure.rows, place), axisIndex(figure.cols, place)];
    if (!panel || row < 0 || col < 0) return null;
    return numbersOf(arrays, panel.values, cellCount(figure))[row * figure.cols.labels.length + col]!;
  },
  refs(figure, change) {
    const shape = [figure.rows.labels.length, figure.cols.labels.length];
    const panels = figure.panels.map((panel) => ({
      ...panel,
      values: change(panel.values, shape),
      topIds: change(panel.topIds, [...shape, null]),
      topValues: change(panel.topValues, [...shape, null]),
    }));
    return { ...figure, panels };
  },
  firstPlace: ({ rows, cols }) => ({ ...rows.places.at(-1), ...cols.places.at(-1) }),
  numberWords: ({ title, panels: [first] }) => ({ label: `${first?.title.toLowerCase() ?? ""}, ${first?.metric.label ?? title}`, unit: "" }),
  tokens: ({ cols }) => (cols.name === "position" ? cols.labels : []),
  readings(figure, arrays, place) {
    const [row, col] = [axisIndex(figure.rows, place), axisIndex(figure.cols, place)];
    if (row < 0 || col < 0) return [];
    const at = row * figure.cols.labels.length + col;
    return figure.panels
      .filter((panel) => arrays[panel.topIds.array] && arrays[panel.topValues.array])
      .map((panel) => ({ id: panel.id, title: splitTitle(panel.title).name, tokens: topTokens(figure, arrays, panel, at).slice(0, mostReadings) }));
  },
  table(figure, arrays) {
    const cols = figure.cols.labels.length;
    return {
      columns: [
        "panel",
        figure.rows.name,
        `${figure.rows.name}_label`,
        figure.cols.name,
        `${figure.cols.name}_label`,
        "metric",
        "value",
        "rank",
        "token",
        "token_value",
      ],
      rows: figure.panels.flatMap((panel) => {
        const values = numbersOf(arrays, panel.values, cellCount(figure));
        return Array.from(values, (value, at) => {
          const head = [
            panel.id,
            Math.floor(at / cols),
            figure.rows.labels[Math.floor(at / cols)]!,
            at % cols,
            figure.cols.labels[at % cols]!,
            panel.metric.id,
            value,
          ];
          const tokens = topTokens(figure, arrays, panel, at);
          return tokens.length === 0 ? [[...head, null, null, null]] : tokens.map((token, rank) => [...head, rank, token.text, token.value]);
        }).flat();
      }),
    };
  },
};
