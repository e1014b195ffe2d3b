/** Curves over a number, such as loss over training steps: in one plot when few, one small multiple a kind of site when many. */
import { bisectCenter, extent } from "d3-array";
import { scaleLinear, scaleLog, type ScaleContinuousNumeric } from "d3-scale";
import { line } from "d3-shape";
import type { LinesFigure, Place } from "../../probes/result.ts";
import { slice } from "../../probes/result.ts";
import { defineHatch, hatchFill } from "./cells.ts";
import { arrowStep, type Arrays, type Box, type Cell, type Drawn, type Frame, type Group, type Mark } from "./context.ts";
import { adaptersOfPlaces, type FigureModule } from "./figureModule.ts";
import { adapterRamp, drawCurveEnds, drawRampKey, fewCurves, logTicks, type CurveEnd } from "./curves.ts";
import { formatValue, siteKind } from "./labels.ts";
import { comparedCurves } from "./linesCompared.ts";
import { drawMarkers, markerRoom, type Marker } from "./markers.ts";
import { drawPanelTitle, titleHeight } from "./panels.ts";
import { samePlace } from "./places.ts";
import { baselineShift, drawText, round } from "./text.ts";
import { fitText, textWidth, wrapText } from "./textWidth.ts";
import { mix } from "./theme.ts";

type Series = LinesFigure["series"][number];
interface Point {
  readonly x: number;
  readonly y: number;
}
interface Curve {
  readonly series: Series;
  readonly colour: string;
  /** The same numbers, smoothed, are another curve of the figure: this one is only seen behind it. */
  readonly isBehind: boolean;
  /** Rare enough that each point is worth a dot, as evaluations are among steps. */
  readonly isDotted: boolean;
  readonly points: readonly Point[];
}
interface Facet {
  readonly title: string;
  readonly curves: readonly Curve[];
}
interface Plot {
  readonly facet: Facet;
  readonly x: ScaleContinuousNumeric<number, number>;
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly markers: readonly Marker[];
}

function pointsOf(figure: LinesFigure, series: Series, arrays: Arrays): readonly Point[] {
  const xRef = series.x ?? figure.x.values;
  if (!arrays[xRef.array] || !arrays[series.values.array]) return [];
  const xs = slice(arrays, xRef).data;
  return Array.from(slice(arrays, series.values).data, (y, index) => ({ x: xs[index] ?? NaN, y }));
}

const scaleOf = (figure: LinesFigure, look: string | undefined): "linear" | "log" => (look === "linear" || look === "log" ? look : figure.y.scale);
const mostDots = 40;

function facetsOf(figure: LinesFigure, frame: Frame): { facets: Facet[]; layers: number[] } {
  const isLog = scaleOf(figure, frame.look) === "log";
  const layers = [...new Set(figure.series.flatMap(({ place }) => place.layer ?? []))].sort((a, b) => a - b);
  const adapters = [...new Set(figure.series.flatMap(({ place }) => place.adapter ?? []))];
  const isMany = figure.series.length > fewCurves;
  const byLayer = isMany && adapters.length <= 1 && layers.length > 1 && figure.series.every(({ place }) => place.layer !== undefined);
  const ramp = scaleLinear<string>()
    .domain([layers[0] ?? 0, Math.max(layers.at(-1) ?? 1, 1)])
    .range(adapterRamp(frame, adapters[0] ?? ""));
  const { categorical } = frame.theme;
  const colourOf = ({ place }: Series, index: number): string => {
    if (byLayer) return ramp(place.layer!);
    if (adapters.length > 1 && place.adapter !== undefined)
      return frame.adapterColours[place.adapter] ?? categorical[adapters.indexOf(place.adapter) % categorical.length]!;
    return categorical[index % categorical.length]!;
  };
  // A curve and its smoothed one are one thing and have one colour.
  const ids = new Set(figure.series.map(({ id }) => id));
  const isBehind = ({ id }: Series): boolean => ids.has(`${id}_smoothed`);
  const things = [...new Set(figure.series.map(({ id }) => id.replace(/_smoothed$/, "")))];
  const curves = figure.series.map((series): Curve => {
    const points = pointsOf(figure, series, frame.arrays).filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y) && (!isLog || y > 0));
    const colour = colourOf(series, things.indexOf(series.id.replace(/_smoothed$/, "")));
    return {
      series,
      colour: isBehind(series) ? mix(colour, frame.theme.background, 0.55) : colour,
      isBehind: isBehind(series),
      points,
      isDotted: series.x !== undefined && points.length <= mostDots,
    };
  });
  if (!byLayer) return { facets: [{ title: "", curves }], layers: [] };
  const kind = ({ series }: Curve): string => (series.place.site === undefined ? "" : siteKind(series.place.site));
  return { facets: [...new Set(curves.map(kind))].map((title) => ({ title, curves: curves.filter((curve) => kind(curve) === title) })), layers };
}

/** From 0 where the data come near it, else about the data; whole ticks at both ends. */
function yDomain(figure: LinesFigure, isLog: boolean, values: readonly number[]): [number, number] {
  if (figure.y.domain && !(isLog && figure.y.domain[0] <= 0)) return [figure.y.domain[0], figure.y.domain[1]];
  const [least, most] = extent(values);
  if (least === undefined) return isLog ? [0.1, 1] : [0, 1];
  if (isLog) return [least / 1.15, most * 1.15];
  const low = least >= 0 && least < 0.5 * most ? 0 : least;
  if (low === most) return [low - (Math.abs(low) || 1) * 0.5, low + (Math.abs(low) || 1) * 0.5];
  return [low, most];
}

const curveLabel = ({ series }: Curve, isFaceted: boolean): string => (isFaceted && series.place.layer !== undefined ? `L${series.place.layer}` : series.label);

function draw(root: Group, figure: LinesFigure, frame: Frame, top: number): Drawn {
  defineHatch(root, frame);
  const { axis: size } = frame.type;
  const isPrint = frame.preset === "print";
  const isLog = scaleOf(figure, frame.look) === "log";
  const { facets, layers } = facetsOf(figure, frame);
  const isFaceted = facets.length > 1 || facets[0]?.title !== "";
  const all = facets.flatMap(({ curves }) => curves);
  const domain = yDomain(
    figure,
    isLog,
    all.flatMap(({ points }) => points.map(({ y }) => y)),
  );
  const height = isPrint ? (isFaceted ? 96 : 120) : isFaceted ? 140 : 200;
  const y = (isLog ? scaleLog() : scaleLinear()).domain(domain).range([height, 0]);
  if (!isLog && !figure.y.domain) y.nice(5);
  const ticks = isLog ? logTicks(y, height, size) : y.ticks(Math.max(2, Math.floor(height / 44)));
  const gutter = Math.max(...ticks.map((tick) => textWidth(formatValue(tick), size))) + 8;
  const labelRoom = Math.min(frame.width * 0.3, 150, Math.max(0, ...all.map((curve) => textWidth(curveLabel(curve, isFaceted), size, "bold"))) + 14);
  const gap = 14;
  const fits = Math.max(1, Math.min(facets.length, Math.floor((frame.width - gutter + gap) / ((isPrint ? 120 : 180) + gap))));
  const perLine = Math.ceil(facets.length / Math.ceil(facets.length / fits));
  const panelWidth = Math.min(isFaceted ? 320 : 860, (frame.width - gutter - gap * (perLine - 1)) / perLine);
  const [leastX = 0, mostX = 1] = extent(all.flatMap(({ points }) => points.map(({ x }) => x)));
  const xDomain: [number, number] = [leastX > 0 && leastX < 0.2 * mostX ? 0 : leastX, mostX > leastX ? mostX : leastX + 1];
  const lanes = markerRoom(frame, figure.markers ?? [], isFaceted);

  // What the numbers are stands above them, so that no label has to be turned.
  const yWords = wrapText(
    [figure.y.label, figure.y.unit === figure.y.label ? "" : figure.y.unit, isLog ? "logarithmic" : ""].filter(Boolean).join(", "),
    frame.width,
    size,
  );
  yWords.forEach((words, index) => drawText(root, frame, words, 0, top + size + index * (size + 4), { fill: frame.theme.muted }));
  let lineTop = top + yWords.length * (size + 4) + 2;
  const head = (isFaceted ? titleHeight(frame) : 4) + lanes;
  const plots: Plot[] = [];
  facets.forEach((facet, index) => {
    const column = index % perLine;
    if (index > 0 && column === 0) lineTop += head + height + size + 14;
    const left = gutter + column * (panelWidth + gap);
    const right = left + panelWidth - labelRoom;
    const x = scaleLinear()
      .domain(xDomain)
      .range([left + 2, right - 2]);
    const isHere = ({ place }: Marker): boolean => !isFaceted || place.site === undefined || siteKind(place.site) === facet.title;
    const plot: Plot = { facet, x, left, right, top: lineTop + head, markers: (figure.markers ?? []).filter(isHere) };
    plots.push(plot);
    const group = root.append("g").attr("class", "panel").attr("data-panel", facet.title);
    if (isFaceted) drawPanelTitle(group, frame, facet.title, left, lineTop, panelWidth);
    for (const tick of ticks) {
      group
        .append("path")
        .attr("d", `M${round(left)},${round(plot.top + y(tick))}H${round(right)}`)
        .attr("stroke", frame.theme.rule)
        .attr("stroke-width", frame.type.thin)
        .attr("stroke-dasharray", "1 3");
      if (column === 0)
        drawText(group, frame, formatValue(tick), left - 6, plot.top + y(tick) + baselineShift(size), { anchor: "end", fill: frame.theme.muted });
    }
    group
      .append("path")
      .attr("d", `M${round(left)},${round(plot.top + height)}H${round(right)}`)
      .attr("stroke", frame.theme.muted)
      .attr("stroke-width", frame.type.thin);
    for (const tick of x.ticks(Math.max(2, Math.floor((right - left) / 70))))
      drawText(group, frame, formatValue(tick), x(tick), plot.top + height + size + 4, { anchor: "middle", fill: frame.theme.muted });
    if (facet.curves.every(({ points }) => points.length === 0)) {
      group
        .append("rect")
        .attr("class", "pending")
        .attr("x", round(left))
        .attr("y", round(plot.top))
        .attr("width", round(right - left))
        .attr("height", height)
        .attr("fill", hatchFill(frame));
      return;
    }
    if (frame.step !== undefined) drawStep(group, frame, x, plot, height);
    drawMarkers(group, frame, plot.markers, { x, left, right: right + labelRoom, top: plot.top, height, lanes, isTicksOnly: isFaceted });
    drawCurves(group, frame, plot, y, height, isFaceted, labelRoom);
  });
  let bottom = lineTop + head + height + size + 8;
  bottom += drawKey(root, figure, frame, gutter, bottom, layers, plots.at(-1)?.right ?? frame.width);

  const dot = (plot: Plot, point: Point): Box => ({ x: plot.x(point.x) - 4, y: plot.top + y(point.y) - 4, width: 8, height: 8 });
  return {
    height: bottom,
    cellAt: (px, py) => {
      const plot = plots.find(({ left, right, top: from }) => px >= left - 6 && px <= right + labelRoom && py >= from - lanes && py <= from + height + 8);
      if (!plot) return null;
      const marker = py < plot.top ? plot.markers.find((each) => Math.abs(plot.x(each.x) - px) < 4) : undefined;
      if (marker)
        return {
          place: marker.place,
          step: marker.x,
          label: marker.label,
          value: marker.x,
          lines: [{ label: figure.x.label, value: formatValue(marker.x) }],
          box: { x: plot.x(marker.x) - 3, y: plot.top - lanes, width: 6, height: lanes },
        };
      return nearest(figure, plot, px, py - plot.top, y, (point) => dot(plot, point));
    },
    marks: (place): Mark[] =>
      plots.flatMap((plot) =>
        plot.facet.curves.flatMap(({ series, points }): Mark[] => {
          const at = samePlace(series.place, place) ? pointAt(points, frame.step) : undefined;
          return at ? [{ box: dot(plot, at), strength: "cell" }] : [];
        }),
      ),
  };
}

/** The last point up to the slider's step, or the newest. */
const pointAt = (points: readonly Point[], step: number | undefined): Point | undefined =>
  step === undefined ? points.at(-1) : (points.findLast(({ x }) => x <= step) ?? points[0]);

function nearest(figure: LinesFigure, plot: Plot, px: number, py: number, y: (value: number) => number, box: (point: Point) => Box): Cell | null {
  const wanted = plot.x.invert(px);
  const found = plot.facet.curves
    .filter(({ points }) => points.length > 0)
    .map((curve) => ({
      curve,
      point:
        curve.points[
          bisectCenter(
            curve.points.map(({ x }) => x),
            wanted,
          )
        ]!,
    }))
    .toSorted((a, b) => Math.hypot(plot.x(a.point.x) - px, y(a.point.y) - py) - Math.hypot(plot.x(b.point.x) - px, y(b.point.y) - py));
  const first = found[0];
  if (!first) return null;
  const { series } = first.curve;
  const others = found.length <= fewCurves ? found.filter(({ curve, point }) => curve !== first.curve && point.x === first.point.x) : [];
  const lines = [
    {
      label: found.length > 1 ? series.label : figure.y.label,
      value: [formatValue(first.point.y), figure.y.unit === "nats" || figure.y.unit === "bits" ? figure.y.unit : ""].filter(Boolean).join(" "),
    },
    ...others.map(({ curve, point }) => ({ label: curve.series.label, value: formatValue(point.y) })),
    ...(series.note === undefined ? [] : [{ label: "", value: series.note }]),
  ];
  return {
    place: series.place,
    step: first.point.x,
    label: `${series.label}, ${figure.x.label} ${formatValue(first.point.x)}`,
    value: first.point.y,
    lines,
    box: box(first.point),
  };
}

function drawStep(group: Group, frame: Frame, x: (value: number) => number, plot: Plot, height: number): void {
  const at = x(frame.step!);
  if (at < plot.left || at > plot.right) return;
  group
    .append("path")
    .attr("class", "step")
    .attr("d", `M${round(at)},${round(plot.top)}V${round(plot.top + height)}`)
    .attr("stroke", frame.theme.accent)
    .attr("stroke-width", frame.type.thin);
}

function drawCurves(group: Group, frame: Frame, plot: Plot, y: (value: number) => number, height: number, isFaceted: boolean, labelRoom: number): void {
  const selected = frame.selection?.place;
  const isSelected = ({ series }: Curve): boolean => selected !== undefined && samePlace(series.place, selected);
  const hasSelected = plot.facet.curves.some(isSelected);
  const isMany = plot.facet.curves.length > 4;
  const [thin, thick] = frame.preset === "print" ? [0.75, 1.5] : [isMany ? 1 : 1.5, 2];
  const path = line<Point>()
    .x((point) => round(plot.x(point.x)))
    .y((point) => round(plot.top + y(point.y)));
  const ends: CurveEnd[] = [];
  for (const curve of plot.facet.curves.toSorted((a, b) => Number(isSelected(a)) - Number(isSelected(b)) || Number(b.isBehind) - Number(a.isBehind))) {
    const last = curve.points.at(-1);
    if (!last) continue;
    const isStrong = isSelected(curve);
    const colour = isStrong && isMany ? frame.theme.ink : hasSelected && isMany ? frame.theme.quiet : curve.colour;
    group
      .append("path")
      .attr("class", "curve")
      .attr("d", path(curve.points) ?? "")
      .attr("fill", "none")
      .attr("stroke", colour)
      .attr("stroke-width", isStrong ? thick : thin)
      .attr("stroke-linejoin", "round");
    const dots = curve.isDotted || curve.points.length === 1 ? curve.points : [];
    for (const point of dots)
      group
        .append("circle")
        .attr("cx", round(plot.x(point.x)))
        .attr("cy", round(plot.top + y(point.y)))
        .attr("r", frame.preset === "print" ? 1.5 : 2)
        .attr("fill", colour);
    const here = frame.step === undefined || curve.isBehind ? undefined : pointAt(curve.points, frame.step);
    if (here && (!isMany || isStrong))
      group
        .append("circle")
        .attr("class", "here")
        .attr("cx", round(plot.x(here.x)))
        .attr("cy", round(plot.top + y(here.y)))
        .attr("r", 3)
        .attr("fill", frame.theme.background)
        .attr("stroke", colour)
        .attr("stroke-width", 1.5);
    if (curve.isBehind) continue;
    const text = fitText(curveLabel(curve, isFaceted), labelRoom - 12, frame.type.axis, isStrong ? "bold" : "sans");
    ends.push({ x: plot.x(last.x), y: plot.top + y(last.y), text, colour, isStrong });
  }
  drawCurveEnds(group, frame, ends, plot.top, height);
}

/** What runs to the right, and what the colours of many curves are. */
function drawKey(root: Group, figure: LinesFigure, frame: Frame, left: number, top: number, layers: readonly number[], right: number): number {
  const { axis: size } = frame.type;
  const baseline = top + size + 2;
  if (layers.length > 1) {
    const words: [string, string] = [`layer ${layers[0]!}`, String(layers.at(-1)!)];
    drawRampKey(root, frame, "layers", adapterRamp(frame, figure.series[0]!.place.adapter ?? ""), words, left, baseline, [
      textWidth(words[0], size),
      textWidth(words[1], size),
    ]);
  }
  const unit = figure.x.unit === "" || figure.x.unit.includes(figure.x.label) ? "" : ` (${figure.x.unit})`;
  drawText(root, frame, `${figure.x.label}${unit}`, Math.max(right, left + 240), baseline, { fill: frame.theme.muted, anchor: "end" });
  return size + 10;
}

const seriesOf = (figure: LinesFigure, place: Place): number => figure.series.findIndex((series) => samePlace(series.place, place));

export const lines: FigureModule<LinesFigure> = {
  draw,
  neighbour(figure, place, key) {
    const index = seriesOf(figure, place);
    const { right, up } = arrowStep[key];
    return index < 0 || right !== 0 ? null : (figure.series[index - up]?.place ?? null);
  },
  valueAt(figure, arrays, _metric, place, step = Infinity) {
    const series = figure.series[seriesOf(figure, place)];
    return series ? (pointsOf(figure, series, arrays).findLast(({ x, y }) => Number.isFinite(y) && x <= step)?.y ?? NaN) : null;
  },
  showsAllSteps: true,
  refs: (figure, change) => ({
    ...figure,
    x: { ...figure.x, values: change(figure.x.values, [null]) },
    series: figure.series.map((series) => ({ ...series, values: change(series.values, [null]), ...(series.x ? { x: change(series.x, [null]) } : {}) })),
  }),
  firstPlace: ({ series }) => series.find(({ place }) => Object.keys(place).length > 0)?.place ?? null,
  numberWords: ({ title, y }, { site }, when) => ({ label: `${y.label} of ${site === undefined ? title : siteKind(site)}, ${when}`, unit: "" }),
  looks: (figure, asked) =>
    figure.y.domain === undefined || figure.y.domain[0] > 0
      ? { choices: ["linear", "log"], shown: scaleOf(figure, asked), hint: "Vertical axis: linear or logarithmic" }
      : null,
  adapters: ({ series }) => adaptersOfPlaces(series.map(({ place }) => place)),
  markers: ({ markers = [] }) => markers,
  curves: comparedCurves,
  isNarrow: ({ series }) => series.length <= fewCurves,
  table(figure, arrays) {
    return {
      columns: ["series", "layer", "site", "adapter", figure.x.label, figure.y.label],
      rows: figure.series.flatMap((series) =>
        pointsOf(figure, series, arrays)
          .filter(({ x }) => Number.isFinite(x))
          .map(({ x, y }) => [series.label, series.place.layer ?? null, series.place.site ?? null, series.place.adapter ?? null, x, y]),
      ),
    };
  },
};
