/** Curves over a number, such as loss over training steps. */
import { scaleLinear, scaleLog } from "d3-scale";
import { line } from "d3-shape";
import type { LinesFigure, Place } from "../../probes/result.ts";
import { slice } from "../../probes/result.ts";
import { arrowStep, type Arrays, type Cell, type Drawn, type FigureModule, type Frame, type Group } from "./context.ts";
import { formatValue } from "./labels.ts";
import { samePlace } from "./places.ts";
import { baselineShift, drawText, round } from "./text.ts";

type Series = LinesFigure["series"][number];
interface Point {
  readonly x: number;
  readonly y: number;
}

function pointsOf(figure: LinesFigure, series: Series, arrays: Arrays): readonly Point[] {
  const xRef = series.x ?? figure.x.values;
  if (!arrays[xRef.array] || !arrays[series.values.array]) return [];
  const xs = slice(arrays, xRef).data;
  return Array.from(slice(arrays, series.values).data, (y, index) => ({ x: xs[index] ?? NaN, y }));
}

function draw(root: Group, figure: LinesFigure, frame: Frame, top: number): Drawn {
  const { axis: size } = frame.type;
  const isLog = figure.y.scale === "log";
  const drawable = ({ x, y }: Point): boolean => Number.isFinite(x) && Number.isFinite(y) && (!isLog || y > 0);
  const curves = figure.series.map((series) => ({ series, points: pointsOf(figure, series, frame.arrays).filter(drawable) }));
  const all = curves.flatMap(({ points }) => points);
  const [left, right, height] = [60, frame.width - 120, 220];
  const x = scaleLinear().domain([Math.min(0, ...all.map((point) => point.x)), Math.max(1, ...all.map((point) => point.x))]).range([left, right]);
  const y = (isLog ? scaleLog() : scaleLinear()).domain(figure.y.domain ?? [Math.min(...all.map((point) => point.y), isLog ? 1 : 0), Math.max(...all.map((point) => point.y), 1)]).range([top + height, top + 6]);
  for (const tick of y.ticks(5)) drawText(root, frame, formatValue(tick), left - 6, y(tick) + baselineShift(size), { anchor: "end", fill: frame.theme.muted });
  for (const tick of x.ticks(6)) drawText(root, frame, formatValue(tick), x(tick), top + height + size + 4, { anchor: "middle", fill: frame.theme.muted });
  const path = line<Point>().x((point) => round(x(point.x))).y((point) => round(y(point.y)));
  curves.forEach(({ series, points }, index) => {
    const colour = frame.theme.categorical[index % frame.theme.categorical.length]!;
    root.append("path").attr("class", "curve").attr("d", path(points) ?? "").attr("fill", "none").attr("stroke", colour).attr("stroke-width", 1.5);
    const last = points.at(-1);
    if (last) drawText(root, frame, series.label, x(last.x) + 6, y(last.y) + baselineShift(size));
  });
  const words = `${figure.y.label} against ${figure.x.label}`;
  drawText(root, frame, words, left, top + height + 2 * size + 12, { fill: frame.theme.muted });
  const cell = (series: Series, point: Point): Cell => ({ place: series.place, label: `${series.label}, ${figure.x.label} ${formatValue(point.x)}`, value: point.y, lines: [{ label: figure.y.label, value: formatValue(point.y) }], box: { x: x(point.x) - 4, y: y(point.y) - 4, width: 8, height: 8 } });
  return {
    height: top + height + 2 * size + 20,
    cellAt: (px, py) => {
      const near = curves.flatMap(({ series, points }) => points.map((point) => ({ series, point, distance: Math.hypot(x(point.x) - px, y(point.y) - py) }))).sort((a, b) => a.distance - b.distance)[0];
      return near && near.distance < 40 ? cell(near.series, near.point) : null;
    },
    marks: (place) => curves.flatMap(({ series, points }) => (samePlace(series.place, place) && points.length > 0 ? [{ box: cell(series, points.at(-1)!).box, strength: "cell" as const }] : [])),
  };
}

const seriesOf = (figure: LinesFigure, place: Place): number => figure.series.findIndex((series) => samePlace(series.place, place));

export const lines: FigureModule<LinesFigure> = {
  draw,
  neighbour(figure, place, key) {
    const index = seriesOf(figure, place);
    return index < 0 ? null : (figure.series[index - arrowStep[key].up]?.place ?? null);
  },
  valueAt(figure, arrays, _metric, place) {
    const series = figure.series[seriesOf(figure, place)];
    return series ? (pointsOf(figure, series, arrays).findLast(({ y }) => Number.isFinite(y))?.y ?? NaN) : null;
  },
  table(figure, arrays) {
    return {
      columns: ["series", "layer", "site", "adapter", figure.x.label, figure.y.label],
      rows: figure.series.flatMap((series) => pointsOf(figure, series, arrays).filter(({ x }) => Number.isFinite(x)).map(({ x, y }) => [series.label, series.place.layer ?? null, series.place.site ?? null, series.place.adapter ?? null, x, y])),
    };
  },
};
