/** A table as text, for export; the app shows tables as HTML. */
import type { Place, TableFigure } from "../../probes/result.ts";
import { arrowStep, type Drawn, type FigureModule, type Frame, type Group } from "./context.ts";
import { formatValue, tokenLabel } from "./labels.ts";
import { samePlace } from "./places.ts";
import { baselineShift, drawText, round } from "./text.ts";
import { fitText, textWidth } from "./textWidth.ts";

type Column = TableFigure["columns"][number];
type Row = TableFigure["rows"][number];

const heading = (column: Column): string => (column.unit ? `${column.label} (${column.unit})` : column.label);
function written(row: Row, column: Column): string {
  const value = row.cells[column.id];
  if (value === null || value === undefined) return "–";
  return typeof value === "number" ? formatValue(value) : tokenLabel(value).replaceAll("·", " ");
}

/** The width at which cutting only the widest makes them fit together. */
function widestThatFits(widths: readonly number[], room: number): number {
  let left = room;
  const ascending = [...widths].sort((a, b) => a - b);
  for (const [index, width] of ascending.entries()) {
    const share = left / (ascending.length - index);
    if (width > share) return Math.max(24, share);
    left -= width;
  }
  return Infinity;
}

function draw(root: Group, figure: TableFigure, frame: Frame, top: number): Drawn {
  const { axis: size, text } = frame.type;
  const pitch = text + 9;
  const gap = 16;
  const natural = figure.columns.map((column) => Math.max(textWidth(heading(column), size, "bold"), ...figure.rows.map((row) => textWidth(written(row, column), size, column.numeric ? "mono" : "sans"))));
  // Too wide a table takes from its widest words, never from numbers.
  const room = frame.width - gap * (figure.columns.length - 1);
  const fixed = natural.reduce((sum, width, index) => sum + (figure.columns[index]!.numeric ? width : 0), 0);
  const cap = widestThatFits(natural.filter((_, index) => !figure.columns[index]!.numeric), room - fixed);
  const widths = natural.map((width, index) => (figure.columns[index]!.numeric ? width : Math.min(width, cap)));
  const lefts = widths.map((_, index) => widths.slice(0, index).reduce((sum, width) => sum + width + gap, 0));
  const right = Math.min(frame.width, lefts.at(-1)! + widths.at(-1)!);

  const line = (y: number, strong: boolean) => root.append("path").attr("d", `M0,${round(y)}H${round(right)}`).attr("stroke", strong ? frame.theme.muted : frame.theme.rule).attr("stroke-width", frame.type.thin);
  figure.columns.forEach((column, index) => {
    const shown = fitText(heading(column), widths[index]! + 1, size, "bold");
    drawText(root, frame, shown, column.numeric ? lefts[index]! + widths[index]! : lefts[index]!, top + size + 2, { bold: true, fill: frame.theme.muted, anchor: column.numeric ? "end" : "start" });
  });
  const body = top + size + 9;
  line(body, true);
  figure.rows.forEach((row, at) => {
    const middle = body + (at + 0.5) * pitch;
    figure.columns.forEach((column, index) => {
      const value = fitText(written(row, column), widths[index]! + 1, size, column.numeric ? "mono" : "sans");
      drawText(root, frame, value, column.numeric ? lefts[index]! + widths[index]! : lefts[index]!, middle + baselineShift(size), { mono: column.numeric, anchor: column.numeric ? "end" : "start" });
    });
    line(body + (at + 1) * pitch, at === figure.rows.length - 1);
  });
  const rowBoxes = figure.rows.map((_, at) => ({ x: 0, y: body + at * pitch, width: right, height: pitch }));
  let y = body + figure.rows.length * pitch + 6;
  for (const warning of new Set(figure.rows.flatMap((row) => row.warning ?? []))) {
    y += size + 4;
    drawText(root, frame, fitText(warning, frame.width, size), 0, y, { fill: frame.theme.muted });
  }
  return {
    height: y + 4,
    cellAt: (px, py) => {
      const at = rowBoxes.findIndex((box) => px >= box.x && px < box.x + box.width && py >= box.y && py < box.y + box.height);
      const row = figure.rows[at];
      if (!row?.place) return null;
      const firstNumber = figure.columns.map(({ id }) => row.cells[id]).find((value) => typeof value === "number");
      const first = figure.columns[0];
      return { place: row.place, label: first ? written(row, first) : "", value: typeof firstNumber === "number" ? firstNumber : NaN, lines: figure.columns.slice(1).map((column) => ({ label: heading(column), value: written(row, column) })), box: rowBoxes[at]! };
    },
    marks: (place) => figure.rows.flatMap((row, at) => (row.place && samePlace(row.place, place) ? [{ box: rowBoxes[at]!, strength: "cell" as const }] : [])),
  };
}

const rowOf = (figure: TableFigure, place: Place): number => figure.rows.findIndex((row) => row.place !== undefined && samePlace(row.place, place));

export const table: FigureModule<TableFigure> = {
  draw,
  neighbour(figure, place, key) {
    const at = rowOf(figure, place);
    return at < 0 ? null : (figure.rows[at - arrowStep[key].up]?.place ?? null);
  },
  valueAt(figure, _arrays, metric, place) {
    const row = figure.rows[rowOf(figure, place)];
    const column = figure.columns.find(({ id }) => id === metric) ?? figure.columns.find(({ numeric }) => numeric);
    const value = row && column ? row.cells[column.id] : null;
    return typeof value === "number" ? value : null;
  },
  table: (figure) => ({ columns: figure.columns.map(({ id }) => id), rows: figure.rows.map(({ cells }) => figure.columns.map(({ id }) => cells[id] ?? null)) }),
};
