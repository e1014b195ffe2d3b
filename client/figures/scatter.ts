/** Points by two numbers each, coloured by group; those that stand out carry their names. */
import { extent } from "d3-array";
import { scaleLinear, scaleLog } from "d3-scale";
import { symbol, symbolsFill } from "d3-shape";
import type { NullBand, Place, ScatterAxis, ScatterFigure } from "../../probes/result.ts";
import { defineHatch, hatchFill } from "./cells.ts";
import { arrowStep, type Arrays, type Box, type Cell, type Drawn, type Frame, type Group, type Mark } from "./context.ts";
import { logTicks } from "./curves.ts";
import { adaptersOfPlaces, type FigureModule } from "./figureModule.ts";
import { formatValue } from "./labels.ts";
import { numbersOf, placeCells, placeColumns, samePlace } from "./places.ts";
import { outlierLabels } from "./scatterLabels.ts";
import { baselineShift, drawText, round } from "./text.ts";
import { textWidth, wrapText } from "./textWidth.ts";

interface Numbers {
  readonly xs: Float32Array;
  readonly ys: Float32Array;
  /** Indices of the points that both axes can show. */
  readonly shown: readonly number[];
  readonly pending: number;
  /** Not pending, but on no place of a logarithmic axis. */
  readonly beyond: number;
}

const onAxis = ({ scale }: ScatterAxis, value: number): boolean => Number.isFinite(value) && (scale === "linear" || value > 0);

function numbersFor(figure: ScatterFigure, arrays: Arrays): Numbers {
  const count = figure.points.length;
  const [xs, ys] = [numbersOf(arrays, figure.x.values, count), numbersOf(arrays, figure.y.values, count)];
  const all = figure.points.map((_, index) => index);
  const shown = all.filter((index) => onAxis(figure.x, xs[index] ?? NaN) && onAxis(figure.y, ys[index] ?? NaN));
  const pending = all.filter((index) => Number.isNaN(xs[index]) || Number.isNaN(ys[index])).length;
  return { xs, ys, shown, pending, beyond: count - shown.length - pending };
}

const axisWords = ({ label, unit, scale }: ScatterAxis): string =>
  [label, unit === label ? "" : unit, scale === "log" ? "logarithmic" : ""].filter((word) => word !== "").join(", ");

interface Scale {
  (value: number): number;
  readonly ticks: readonly number[];
}

/** Whole ticks at both ends; from 0 where the data come near it. */
function scaleOf(axis: ScatterAxis, values: readonly number[], length: number, size: number, every: number): Scale {
  const [least = 0, most = 1] = extent(values);
  if (axis.scale === "log") {
    const [low, high] = values.length > 0 ? [least / 1.15, most * 1.15] : [0.1, 1];
    const scale = scaleLog().domain([low, high]).range([0, length]);
    return Object.assign((value: number) => scale(value), { ticks: logTicks(scale, length, size) });
  }
  const low = least >= 0 && least < 0.5 * most ? 0 : least;
  const span: [number, number] = low === most ? [low - (Math.abs(low) || 1) / 2, low + (Math.abs(low) || 1) / 2] : [low, most];
  const scale = scaleLinear().domain(span).range([0, length]).nice(5);
  return Object.assign((value: number) => scale(value), { ticks: scale.ticks(Math.max(2, Math.floor(length / every))) });
}

interface Look {
  readonly colour: string;
  readonly shape: string;
}

const groupsOf = ({ points }: ScatterFigure): string[] => [...new Set(points.flatMap(({ group }) => group ?? []))];

/** Adapters have their own colours; the other groups take the rest, then other shapes, so that no two look alike. */
function looksOf(figure: ScatterFigure, frame: Frame): (group: string | undefined) => Look {
  const groups = groupsOf(figure);
  const own = groups.flatMap((group) => frame.adapterColours[group] ?? []);
  const free = frame.theme.categorical.filter((colour) => !own.includes(colour));
  const others = groups.filter((group) => frame.adapterColours[group] === undefined);
  const size = frame.preset === "print" ? 14 : figure.points.length > 400 ? 20 : 32;
  return (group = "") => {
    const index = Math.max(0, others.indexOf(group));
    const kind = symbolsFill[Math.floor(index / Math.max(1, free.length)) % symbolsFill.length];
    const colour = frame.adapterColours[group] ?? free[index % Math.max(1, free.length)] ?? frame.theme.ink;
    return { colour, shape: (kind && symbol(kind, size)()) ?? "" };
  };
}

function draw(root: Group, figure: ScatterFigure, frame: Frame, top: number): Drawn {
  const { axis: size } = frame.type;
  const isPrint = frame.preset === "print";
  const { xs, ys, shown, pending, beyond } = numbersFor(figure, frame.arrays);
  const bandOf = (axis: "x" | "y"): NullBand | undefined => figure.nulls?.find(({ metric }) => metric === axis);
  const values = (all: Float32Array, axis: "x" | "y"): number[] => {
    const band = bandOf(axis);
    return [...shown.map((index) => all[index] ?? NaN), ...(band ? [band.low, band.high] : [])].filter((value) => onAxis(figure[axis], value));
  };
  const height = isPrint ? 170 : Math.min(360, Math.max(220, frame.width * 0.45));
  const y = scaleOf(figure.y, values(ys, "y"), height, size, 44);
  const gutter = Math.max(...y.ticks.map((tick) => textWidth(formatValue(tick), size))) + 10;
  const plotWidth = Math.min(860, frame.width) - gutter - 6;
  const x = scaleOf(figure.x, values(xs, "x"), plotWidth, size, 70);
  const yWords = wrapText(axisWords(figure.y), frame.width, size);
  yWords.forEach((words, index) => drawText(root, frame, words, 0, top + size + index * (size + 4), { fill: frame.theme.muted }));
  const plot: Box = { x: gutter, y: top + yWords.length * (size + 4) + 10, width: plotWidth, height };
  const bottom = plot.y + height;
  const [toX, toY] = [(value: number) => plot.x + x(value), (value: number) => bottom - y(value)];
  for (const axis of ["x", "y"] as const) {
    const band = bandOf(axis);
    if (band) drawBand(root, frame, plot, axis === "x" ? [toX(band.low), toX(band.high)] : [toY(band.high), toY(band.low)], axis);
  }
  drawAxes(
    root,
    frame,
    plot,
    x.ticks.map((tick) => [toX(tick), formatValue(tick)] as const),
    y.ticks.map((tick) => [toY(tick), formatValue(tick)] as const),
  );

  const look = looksOf(figure, frame);
  const selected = frame.selection?.place;
  const dots = shown.map((index) => ({ index, px: toX(xs[index] ?? NaN), py: toY(ys[index] ?? NaN) }));
  root
    .append("g")
    .attr("class", "points")
    .attr("fill-opacity", dots.length > 400 ? 0.6 : 0.85)
    .selectAll("path")
    .data(dots)
    .join("path")
    .attr("class", "point")
    .attr("d", ({ index }) => look(figure.points[index]?.group).shape)
    .attr("transform", ({ px, py }) => `translate(${round(px)} ${round(py)})`)
    .attr("fill", ({ index }) => look(figure.points[index]?.group).colour);
  const named = dots.map(({ index, px, py }) => ({ x: px, y: py, text: figure.points[index]?.label ?? "", isStrong: isAt(figure, index, selected) }));
  for (const label of outlierLabels(named, plot, size))
    drawText(root, frame, label.text, label.x, label.y, {
      anchor: label.anchor,
      mono: true,
      bold: label.isStrong,
      fill: label.isStrong ? frame.theme.ink : frame.theme.muted,
    });
  if (dots.length === 0) {
    if (pending > 0) drawPending(root, frame, plot);
    const words = figure.points.length === 0 ? "There is no point to show." : pending > 0 ? "No point is computed yet." : "No point has a place on these axes.";
    drawText(root, frame, words, plot.x + plot.width / 2, plot.y + height / 2, { anchor: "middle", fill: frame.theme.muted });
  }
  drawText(root, frame, wrapText(axisWords(figure.x), plot.width, size)[0] ?? "", plot.x + plot.width, bottom + 2 * size + 10, {
    anchor: "end",
    fill: frame.theme.muted,
  });
  const notes = [
    ...(pending > 0 ? [`${pending} of ${figure.points.length} points not computed yet`] : []),
    ...(beyond > 0
      ? [`${beyond} of ${figure.points.length} points ${beyond === 1 ? "is" : "are"} not drawn: a logarithmic axis has no place for 0 and less`]
      : []),
    ...(figure.nulls ?? []).map(
      (band) => `${figure[band.metric === "x" ? "x" : "y"].label}, shaded: ${band.words}, ${formatValue(band.low)} to ${formatValue(band.high)}`,
    ),
  ];
  const end = drawKey(root, figure, frame, look, notes, bottom + 2 * size + 18);

  const box = (px: number, py: number): Box => ({ x: px - 5, y: py - 5, width: 10, height: 10 });
  return {
    height: end,
    cellAt: (px, py) => {
      const near = dots.map((dot) => ({ dot, distance: Math.hypot(dot.px - px, dot.py - py) })).filter(({ distance }) => distance < 14);
      const found = near.toSorted((a, b) => a.distance - b.distance)[0]?.dot;
      if (!found) return null;
      const same = near.filter(({ dot }) => Math.hypot(dot.px - found.px, dot.py - found.py) < 3).length - 1;
      return describe(figure, found.index, xs, ys, same, box(found.px, found.py));
    },
    marks: (place): Mark[] => dots.filter(({ index }) => isAt(figure, index, place)).map(({ px, py }) => ({ box: box(px, py), strength: "cell" })),
  };
}

function drawPending(root: Group, frame: Frame, { x, y, width, height }: Box): void {
  defineHatch(root, frame);
  const box = root.append("rect").attr("class", "pending").attr("fill", hatchFill(frame));
  box.attr("x", round(x)).attr("y", round(y)).attr("width", round(width)).attr("height", round(height));
}

const isAt = ({ points }: ScatterFigure, index: number, place: Place | undefined): boolean => {
  const point = points[index];
  return point !== undefined && place !== undefined && samePlace(point.place, place);
};

function describe(figure: ScatterFigure, index: number, xs: Float32Array, ys: Float32Array, same: number, box: Box): Cell {
  const { label, place, group } = figure.points[index] ?? { label: "", place: {}, group: undefined };
  const [x, y] = [xs[index] ?? NaN, ys[index] ?? NaN];
  const lines = [
    { label: axisWords({ ...figure.y, scale: "linear" }), value: formatValue(y) },
    { label: axisWords({ ...figure.x, scale: "linear" }), value: formatValue(x) },
    ...(group === undefined ? [] : [{ label: figure.groupedBy ?? "group", value: group }]),
    ...(same > 0 ? [{ label: "at the same spot", value: `${same} more` }] : []),
  ];
  return { place, label, value: y, lines, box };
}

function drawBand(root: Group, frame: Frame, plot: Box, [from, to]: readonly [number, number], axis: "x" | "y"): void {
  const box: Box = axis === "x" ? { ...plot, x: from, width: to - from } : { ...plot, y: from, height: to - from };
  root
    .append("rect")
    .attr("class", "band")
    .attr("x", round(box.x))
    .attr("y", round(box.y))
    .attr("width", round(Math.max(1, box.width)))
    .attr("height", round(Math.max(1, box.height)))
    .attr("fill", frame.theme.band);
}

function drawAxes(root: Group, frame: Frame, plot: Box, xTicks: readonly (readonly [number, string])[], yTicks: readonly (readonly [number, string])[]): void {
  const { axis: size } = frame.type;
  const bottom = plot.y + plot.height;
  const rule = (d: string, isStrong: boolean) =>
    root
      .append("path")
      .attr("d", d)
      .attr("stroke", isStrong ? frame.theme.muted : frame.theme.rule)
      .attr("stroke-width", frame.type.thin)
      .attr("stroke-dasharray", isStrong ? null : "1 3");
  for (const [at, words] of yTicks) {
    rule(`M${round(plot.x)},${round(at)}H${round(plot.x + plot.width)}`, false);
    drawText(root, frame, words, plot.x - 6, at + baselineShift(size), { anchor: "end", fill: frame.theme.muted });
  }
  let taken = 0;
  for (const [at, words] of xTicks) {
    rule(`M${round(at)},${round(plot.y)}V${round(bottom)}`, false);
    const half = textWidth(words, size) / 2;
    if (at - half < taken || at + half > frame.width) continue;
    taken = at + half + 8;
    drawText(root, frame, words, at, bottom + size + 4, { anchor: "middle", fill: frame.theme.muted });
  }
  rule(`M${round(plot.x)},${round(plot.y)}V${round(bottom)}H${round(plot.x + plot.width)}`, true).attr("fill", "none");
}

/** Groups with their marks, then what is not on the plot; returns where it ends. */
function drawKey(root: Group, figure: ScatterFigure, frame: Frame, look: (group: string) => Look, notes: readonly string[], top: number): number {
  const { axis: size } = frame.type;
  const key = root.append("g").attr("class", "legend");
  let [x, baseline] = [0, top + size];
  const groups = groupsOf(figure);
  if (groups.length > 0) {
    if (figure.groupedBy !== undefined) {
      drawText(key, frame, figure.groupedBy, 0, baseline, { fill: frame.theme.muted });
      x = textWidth(figure.groupedBy, size) + 14;
    }
    for (const group of groups) {
      const width = 14 + textWidth(group, size) + 14;
      if (x > 0 && x + width - 14 > frame.width) [x, baseline] = [0, baseline + size + 6];
      const { colour, shape } = look(group);
      key
        .append("path")
        .attr("d", shape)
        .attr("transform", `translate(${round(x + 5)} ${round(baseline - size * 0.36)})`)
        .attr("fill", colour);
      drawText(key, frame, group, x + 14, baseline, { fill: frame.theme.ink });
      x += width;
    }
    baseline += size + 6;
  }
  for (const line of notes.flatMap((note) => wrapText(note, frame.width, size))) {
    drawText(key, frame, line, 0, baseline, { fill: frame.theme.muted });
    baseline += size + 5;
  }
  return baseline - size + 4;
}

/** The nearest point in a direction, distances in shares of what the axes span; what lies to the side counts twice. */
function pointToward(figure: ScatterFigure, { xs, ys, shown }: Numbers, from: number, right: number, up: number): number | undefined {
  const spread = (axis: "x" | "y", values: Float32Array) => {
    const at = (index: number): number => (figure[axis].scale === "log" ? Math.log(values[index] ?? NaN) : (values[index] ?? NaN));
    const [least = 0, most = 1] = extent(shown, at);
    return (index: number): number => (at(index) - at(from)) / (most - least || 1);
  };
  const [dx, dy] = [spread("x", xs), spread("y", ys)];
  const ahead = shown
    .map((index) => ({ index, along: dx(index) * right + dy(index) * up, aside: Math.abs(right === 0 ? dx(index) : dy(index)) }))
    .filter(({ index, along }) => index !== from && along > 1e-9);
  return ahead.toSorted((a, b) => a.along + 2 * a.aside - (b.along + 2 * b.aside))[0]?.index;
}

const pointOf = ({ points }: ScatterFigure, place: Place): number => points.findIndex((point) => samePlace(point.place, place));

export const scatter: FigureModule<ScatterFigure> = {
  draw,
  neighbour(figure, place, key, arrays) {
    const from = pointOf(figure, place);
    if (from < 0) return null;
    const { right, up } = arrowStep[key];
    const next = pointToward(figure, numbersFor(figure, arrays), from, right, up);
    return next === undefined ? null : (figure.points[next]?.place ?? null);
  },
  valueAt(figure, arrays, _metric, place) {
    const index = pointOf(figure, place);
    return index < 0 ? null : (numbersFor(figure, arrays).ys[index] ?? null);
  },
  refs(figure, change) {
    const shape = [figure.points.length];
    return { ...figure, x: { ...figure.x, values: change(figure.x.values, shape) }, y: { ...figure.y, values: change(figure.y.values, shape) } };
  },
  /** The highest point. */
  firstPlace(figure, arrays) {
    const { ys, shown } = numbersFor(figure, arrays);
    const top = shown.toSorted((a, b) => (ys[b] ?? 0) - (ys[a] ?? 0))[0];
    return top === undefined ? null : (figure.points[top]?.place ?? null);
  },
  numberWords: ({ y }) => ({ label: y.label, unit: y.unit }),
  beside(figure, arrays, place) {
    const index = pointOf(figure, place);
    const numbers = index < 0 ? [] : [{ label: axisWords({ ...figure.x, scale: "linear" }), value: numbersFor(figure, arrays).xs[index] ?? NaN }];
    return { title: "Along the other axis", numbers };
  },
  adapters: ({ points }) => adaptersOfPlaces(points.map(({ place }) => place)),
  table(figure, arrays) {
    const { xs, ys } = numbersFor(figure, arrays);
    return {
      columns: ["point", "group", ...placeColumns, figure.x.label, figure.y.label],
      rows: figure.points.map(({ label, group, place }, index) => [label, group ?? null, ...placeCells(place), xs[index] ?? null, ys[index] ?? null]),
    };
  },
};
