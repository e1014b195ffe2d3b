/** A table as text, for export; the app shows tables as HTML. */
import type { Place, TableFigure } from "../../probes/result.ts";
import { arrowStep, type Box, type Drawn, type Frame, type Group } from "./context.ts";
import type { FigureModule } from "./figureModule.ts";
import { formatValue, tokenLabel } from "./labels.ts";
import { samePlace } from "./places.ts";
import { baselineShift, drawText, round } from "./text.ts";
import { fitMiddle, fitText, textWidth, wrapText } from "./textWidth.ts";

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
    if (width > share) return Math.max(40, share);
    left -= width;
  }
  return Infinity;
}

/** Widths of the columns, and the lines of their headings. */
function layOut(figure: TableFigure, frame: Frame, gap: number): { widths: number[]; headings: string[][] } {
  const { axis: size } = frame.type;
  const room = frame.width - gap * (figure.columns.length - 1);
  const bodies = figure.columns.map((column) =>
    Math.max(0, ...figure.rows.map((row) => textWidth(written(row, column), size, column.numeric ? "mono" : "sans"))),
  );
  const oneLine = figure.columns.map((column, index) => Math.max(bodies[index]!, textWidth(heading(column), size, "bold")));
  const isWide = oneLine.reduce((sum, width) => sum + width, 0) > room;
  // In a wide table headings break at spaces; words give way before numbers, the widest of them first.
  const natural = isWide
    ? figure.columns.map((column, index) =>
        Math.max(
          bodies[index]!,
          ...heading(column)
            .split(" ")
            .map((word) => textWidth(word, size, "bold")),
        ),
      )
    : oneLine;
  // The first column says which row it is, so it stays whole like the numbers.
  const stays = (index: number): boolean => index === 0 || figure.columns[index]!.numeric;
  const fixed = natural.reduce((sum, width, index) => sum + (stays(index) ? width : 0), 0);
  const cap = widestThatFits(
    natural.filter((_, index) => !stays(index)),
    room - fixed,
  );
  const widths = natural.map((width, index) => (stays(index) ? width : Math.min(width, cap)));
  return { widths, headings: figure.columns.map((column, index) => wrapText(heading(column), widths[index]! + 1, size, "bold")) };
}

/** What a cell says in its width: on paper over several lines, on screen cut, a sentence at its end and a name, told apart by both ends, in the middle. */
function cellLines(frame: Frame, words: string, width: number, isNumeric: boolean): string[] {
  const { axis: size } = frame.type;
  const face = isNumeric ? "mono" : "sans";
  if (frame.preset === "print") return wrapText(words, width, size, face);
  return [words.includes(" ") ? fitText(words, width, size) : fitMiddle(words, width, size, face)];
}

function draw(outer: Group, figure: TableFigure, frame: Frame, top: number): Drawn {
  const { axis: size, text } = frame.type;
  const pitch = text + 9;
  const gap = frame.preset === "print" ? 12 : 16;
  const { widths, headings } = layOut(figure, frame, gap);
  const lefts = widths.map((_, index) => widths.slice(0, index).reduce((sum, width) => sum + width + gap, 0));
  const right = lefts.at(-1)! + widths.at(-1)!;
  // Numbers and names are never cut: a table that is too wide all the same is drawn smaller.
  const shrink = Math.min(1, frame.width / right);
  const root: Group = outer.append("g");
  if (shrink < 1) root.attr("transform", `translate(0 ${round(top)}) scale(${round(shrink)}) translate(0 ${round(-top)})`);

  const line = (y: number, strong: boolean) =>
    root
      .append("path")
      .attr("d", `M0,${round(y)}H${round(right)}`)
      .attr("stroke", strong ? frame.theme.muted : frame.theme.rule)
      .attr("stroke-width", frame.type.thin);
  const headLines = Math.max(...headings.map((lines) => lines.length));
  figure.columns.forEach((column, index) => {
    headings[index]!.forEach((words, at) => {
      const baseline = top + size + 2 + (headLines - headings[index]!.length + at) * (size + 3);
      drawText(root, frame, words, column.numeric ? lefts[index]! + widths[index]! : lefts[index]!, baseline, {
        bold: true,
        fill: frame.theme.muted,
        anchor: column.numeric ? "end" : "start",
      });
    });
  });
  const body = top + size + 9 + (headLines - 1) * (size + 3);
  line(body, true);
  const rowBoxes: Box[] = [];
  let bottom = body;
  figure.rows.forEach((row, at) => {
    const cells = figure.columns.map((column, index) => cellLines(frame, written(row, column), widths[index]! + 1, column.numeric));
    figure.columns.forEach((column, index) =>
      cells[index]?.forEach((words, down) =>
        drawText(
          root,
          frame,
          words,
          column.numeric ? lefts[index]! + widths[index]! : lefts[index]!,
          bottom + pitch / 2 + baselineShift(size) + down * (size + 3),
          {
            mono: column.numeric,
            anchor: column.numeric ? "end" : "start",
          },
        ),
      ),
    );
    const height = pitch + (Math.max(...cells.map(({ length }) => length)) - 1) * (size + 3);
    rowBoxes.push({ x: 0, y: top + (bottom - top) * shrink, width: right * shrink, height: height * shrink });
    bottom += height;
    line(bottom, at === figure.rows.length - 1);
  });
  let y = top + (bottom - top) * shrink + 6;
  for (const warning of new Set(figure.rows.flatMap((row) => row.warning ?? []))) {
    for (const words of wrapText(warning, frame.width, size)) {
      y += size + 4;
      drawText(outer, frame, words, 0, y, { fill: frame.theme.muted });
    }
  }
  return {
    height: y + 4,
    right: right * shrink,
    cellAt: (px, py) => {
      const at = rowBoxes.findIndex((box) => px >= box.x && px < box.x + box.width && py >= box.y && py < box.y + box.height);
      const row = figure.rows[at];
      if (!row?.place) return null;
      const firstNumber = figure.columns.map(({ id }) => row.cells[id]).find((value) => typeof value === "number");
      const first = figure.columns[0];
      return {
        place: row.place,
        label: first ? written(row, first) : "",
        value: typeof firstNumber === "number" ? firstNumber : NaN,
        lines: figure.columns.slice(1).map((column) => ({ label: heading(column), value: written(row, column) })),
        box: rowBoxes[at]!,
      };
    },
    marks: (place) =>
      figure.rows.flatMap((row, at) =>
        row.place && samePlace(row.place, place) ? [{ box: { ...rowBoxes[at]!, x: -5, width: rowBoxes[at]!.width + 10 }, strength: "cell" as const }] : [],
      ),
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
  html: ({ columns, rows }) => ({
    columns: columns.map((column) => ({ id: column.id, label: heading(column), isNumeric: column.numeric })),
    rows: rows.map((row) => ({
      cells: columns.map((column) => ({ text: written(row, column), value: row.cells[column.id] ?? null })),
      place: row.place ?? null,
      warning: row.warning ?? null,
    })),
  }),
  refs: (figure) => figure,
  firstPlace: ({ rows }) => rows.find(({ place }) => place)?.place ?? null,
  table: (figure) => ({ columns: figure.columns.map(({ id }) => id), rows: figure.rows.map(({ cells }) => figure.columns.map(({ id }) => cells[id] ?? null)) }),
};
