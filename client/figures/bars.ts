/** Bars in groups over the band of what chance gives; upright where labels have room, lying where not. */
import { scaleLinear } from "d3-scale";
import type { BarsFigure, NullBand, Place } from "../../probes/result.ts";
import { defineHatch, hatchFill } from "./cells.ts";
import { arrowStep, type Box, type Cell, type Drawn, type Frame, type Group } from "./context.ts";
import { adaptersOfPlaces, type FigureModule } from "./figureModule.ts";
import { formatValue, tokenLabel } from "./labels.ts";
import { changedValues, metricNamed, numbersOf, samePlace } from "./places.ts";
import { baselineShift, drawText, round } from "./text.ts";
import { textWidth, wrapText } from "./textWidth.ts";

interface Layout {
  readonly values: Float32Array;
  readonly band: NullBand | undefined;
  /** From numbers to pixels along the bars. */
  readonly along: (value: number) => number;
  readonly ticks: readonly number[];
  readonly groups: readonly { readonly name: string; readonly from: number; readonly to: number }[];
}

const valuesOf = (figure: BarsFigure, frame: Pick<Frame, "arrays" | "metric">): Float32Array =>
  numbersOf(frame.arrays, figure.values[metricNamed(figure.metrics, frame.metric).id], figure.bars.length);

function groupsOf(figure: BarsFigure): { name: string; from: number; to: number }[] {
  const groups: { name: string; from: number; to: number }[] = [];
  figure.bars.forEach(({ group }, index) => {
    const last = groups.at(-1);
    if (last?.name === group) last.to = index + 1;
    else groups.push({ name: group, from: index, to: index + 1 });
  });
  return groups;
}

/** A token with its spaces seen, as everywhere. */
const written = ({ label, place }: BarsFigure["bars"][number]): string => (place.position === undefined ? label : tokenLabel(label));

const clears = (value: number, band: NullBand | undefined): boolean => band === undefined || value < band.low || value > band.high;

function colourOf(figure: BarsFigure, frame: Frame, index: number, value: number, band: NullBand | undefined): string {
  if (!clears(value, band)) return frame.theme.quiet;
  const { place, group } = figure.bars[index]!;
  return frame.adapterColours[place.adapter ?? group] ?? frame.theme.categorical[0]!;
}

function layOut(figure: BarsFigure, frame: Frame, from: number, to: number): Layout {
  const metric = metricNamed(figure.metrics, frame.metric);
  const values = valuesOf(figure, frame);
  const band = figure.nulls?.find((each) => each.metric === metric.id);
  const finite = [...values].filter(Number.isFinite);
  const ends = [0, ...finite, ...(band ? [band.low, band.high] : [])];
  const domain = [
    Math.min(...ends, metric.domain && metric.domain[0] < 0 && Math.min(...finite, 0) < 0 ? metric.domain[0] : 0),
    Math.max(...ends, metric.domain ? metric.domain[1] : 0),
  ] as const;
  const scale = scaleLinear()
    .domain(domain[0] === domain[1] ? [0, 1] : domain)
    .nice(4)
    .range([from, to]);
  return { values, band, along: scale, ticks: scale.ticks(4), groups: groupsOf(figure) };
}

function draw(root: Group, figure: BarsFigure, frame: Frame, top: number): Drawn {
  defineHatch(root, frame);
  const pitch = (frame.width - 50) / (figure.bars.length + groupsOf(figure).length);
  return pitch >= frame.type.axis + 2 || figure.bars.length > 80 ? drawUpright(root, figure, frame, top) : drawLying(root, figure, frame, top);
}

function drawUpright(root: Group, figure: BarsFigure, frame: Frame, top: number): Drawn {
  const { axis: size } = frame.type;
  const height = frame.preset === "print" ? 110 : 150;
  const head = bandWords(root, figure, frame, top);
  const zeroTop = top + head;
  const { values, band, along, ticks, groups } = layOut(figure, frame, zeroTop + height, zeroTop);
  const several = groups.length > 1;
  const gap = several ? 14 : 0;
  const slant = 40;
  const radians = (slant * Math.PI) / 180;
  const longest = Math.max(...figure.bars.map((bar) => textWidth(written(bar), size, "mono")));
  const axisWidth = Math.max(...ticks.map((tick) => textWidth(formatValue(tick), size))) + 8;
  const pitchAt = (left: number) => Math.min(34, (frame.width - left - gap * (groups.length - 1)) / figure.bars.length);
  const left = Math.max(axisWidth, longest * Math.cos(radians) - pitchAt(axisWidth) / 2 + 4);
  const pitch = pitchAt(left);
  const xs = figure.bars.map((_, index) => left + index * pitch + gap * groups.findIndex(({ from, to }) => index >= from && index < to));
  const right = xs.at(-1)! + pitch;
  if (band) drawBand(root, frame, { x: left, width: right - left, y: along(band.high), height: along(band.low) - along(band.high) });
  for (const tick of ticks) {
    drawText(root, frame, formatValue(tick), left - 6, along(tick) + baselineShift(size), { anchor: "end", fill: frame.theme.muted });
    rule(root, frame, `M${round(left)},${round(along(tick))}H${round(right)}`, tick === 0);
  }
  const boxes = [...values].map((value, index): Box => ({
    x: xs[index]! + pitch * 0.12,
    width: pitch * 0.76,
    ...(Number.isNaN(value) ? { y: zeroTop, height } : { y: Math.min(along(0), along(value)), height: Math.abs(along(value) - along(0)) }),
  }));
  drawBars(root, figure, frame, values, band, boxes);
  const every = Math.ceil((size + 1.5) / (pitch * Math.sin(radians)));
  const labelTop = zeroTop + height + 4;
  figure.bars.forEach((bar, index) => {
    if (index % every !== 0) return;
    const middle = xs[index]! + pitch / 2;
    drawText(root, frame, written(bar), middle + size * 0.2, labelTop + size * 0.7, {
      anchor: "end",
      mono: true,
      turn: -slant,
      fill: Number.isNaN(values[index]!) || !clears(values[index]!, band) ? frame.theme.muted : frame.theme.ink,
    });
  });
  let bottom = labelTop + longest * Math.sin(radians) + size;
  if (several) {
    for (const { name, from, to } of groups)
      drawText(root, frame, name, (xs[from]! + xs[to - 1]! + pitch) / 2, bottom + size, {
        anchor: "middle",
        fill: frame.adapterColours[name] ?? frame.theme.muted,
        bold: true,
      });
    bottom += size + 6;
  }
  bottom += drawMetric(root, figure, frame, left, bottom);
  return finish(
    figure,
    frame,
    values,
    band,
    bottom,
    boxes.map((box, index) => ({ x: xs[index]!, width: pitch, y: zeroTop, height })),
    boxes,
    right,
  );
}

function drawLying(root: Group, figure: BarsFigure, frame: Frame, top: number): Drawn {
  const { axis: size } = frame.type;
  const pitch = size + 4;
  const head = bandWords(root, figure, frame, top);
  const several = groupsOf(figure).length > 1;
  const groupHeight = several ? size + 10 : 0;
  const left = Math.max(...figure.bars.map((bar) => textWidth(written(bar), size, "mono"))) + 8;
  const { values, band, along, ticks, groups } = layOut(figure, frame, left, frame.width - 12);
  const ys = figure.bars.map((_, index) => top + head + index * pitch + groupHeight * (1 + groups.findIndex(({ from, to }) => index >= from && index < to)));
  const bottom = ys.at(-1)! + pitch;
  if (band) drawBand(root, frame, { x: along(band.low), width: along(band.high) - along(band.low), y: top + head, height: bottom - top - head });
  for (const tick of ticks) {
    rule(root, frame, `M${round(along(tick))},${round(top + head)}V${round(bottom)}`, tick === 0);
    drawText(root, frame, formatValue(tick), along(tick), bottom + size + 3, { anchor: "middle", fill: frame.theme.muted });
  }
  const boxes = [...values].map((value, index): Box => ({
    y: ys[index]! + pitch * 0.14,
    height: pitch * 0.72,
    ...(Number.isNaN(value) ? { x: left, width: frame.width - 12 - left } : { x: Math.min(along(0), along(value)), width: Math.abs(along(value) - along(0)) }),
  }));
  drawBars(root, figure, frame, values, band, boxes);
  figure.bars.forEach((bar, index) =>
    drawText(root, frame, written(bar), left - 6, ys[index]! + pitch / 2 + baselineShift(size), {
      anchor: "end",
      mono: true,
      fill: Number.isNaN(values[index]!) || !clears(values[index]!, band) ? frame.theme.muted : frame.theme.ink,
    }),
  );
  if (several)
    for (const { name, from } of groups)
      drawText(root, frame, name, left, ys[from]! - 5, { bold: true, fill: frame.adapterColours[name] ?? frame.theme.muted });
  const end = bottom + size + 8;
  const height = end + drawMetric(root, figure, frame, left, end);
  return finish(
    figure,
    frame,
    values,
    band,
    height,
    boxes.map((_, index) => ({ x: 0, width: frame.width, y: ys[index]!, height: pitch })),
    boxes,
  );
}

function bandWords(root: Group, figure: BarsFigure, frame: Frame, top: number): number {
  const metric = metricNamed(figure.metrics, frame.metric);
  const band = figure.nulls?.find((each) => each.metric === metric.id);
  if (!band) return 6;
  const { axis: size } = frame.type;
  const lines = wrapText(`${band.words}: ${formatValue(band.low)} to ${formatValue(band.high)}`, frame.width - 18, size);
  root
    .append("rect")
    .attr("x", 0)
    .attr("y", round(top))
    .attr("width", 12)
    .attr("height", size)
    .attr("fill", frame.theme.band)
    .attr("stroke", frame.theme.rule)
    .attr("stroke-width", frame.type.thin);
  lines.forEach((line, index) => drawText(root, frame, line, 18, top + size - 1.5 + index * (size + 4), { fill: frame.theme.muted }));
  return lines.length * (size + 4) + 10;
}

function drawBand(root: Group, frame: Frame, box: Box): void {
  root
    .append("rect")
    .attr("class", "band")
    .attr("x", round(box.x))
    .attr("y", round(box.y))
    .attr("width", round(box.width))
    .attr("height", round(Math.max(box.height, 1)))
    .attr("fill", frame.theme.band);
}
function rule(root: Group, frame: Frame, path: string, isZero: boolean): void {
  root
    .append("path")
    .attr("d", path)
    .attr("stroke", isZero ? frame.theme.muted : frame.theme.rule)
    .attr("stroke-width", frame.type.thin)
    .attr("stroke-dasharray", isZero ? null : "1 3");
}
function drawBars(root: Group, figure: BarsFigure, frame: Frame, values: Float32Array, band: NullBand | undefined, boxes: readonly Box[]): void {
  root
    .append("g")
    .attr("class", "bars")
    .selectAll("rect")
    .data(boxes)
    .join("rect")
    .attr("class", (_, index) => (Number.isNaN(values[index]!) ? "bar pending" : "bar"))
    .attr("x", (box) => round(box.x))
    .attr("y", (box) => round(box.y))
    .attr("width", (box) => round(box.width))
    .attr("height", (box) => round(box.height))
    .attr("fill", (_, index) => (Number.isNaN(values[index]!) ? hatchFill(frame) : colourOf(figure, frame, index, values[index]!, band)));
}
function drawMetric(root: Group, figure: BarsFigure, frame: Frame, left: number, top: number): number {
  const metric = metricNamed(figure.metrics, frame.metric);
  const words = metric.unit === "" || metric.unit === metric.label ? metric.label : `${metric.label}, ${metric.unit}`;
  const lines = wrapText(words, frame.width - left, frame.type.axis);
  lines.forEach((line, index) => drawText(root, frame, line, left, top + (frame.type.axis + 4) * (index + 1), { fill: frame.theme.muted }));
  return lines.length * (frame.type.axis + 4) + 5;
}

function finish(
  figure: BarsFigure,
  frame: Frame,
  values: Float32Array,
  band: NullBand | undefined,
  height: number,
  areas: readonly Box[],
  boxes: readonly Box[],
  right?: number,
): Drawn {
  const describe = (index: number): Cell => {
    const { label, group, place } = figure.bars[index]!;
    const metric = metricNamed(figure.metrics, frame.metric);
    const value = values[index]!;
    const lines = [
      { label: metric.label, value: formatValue(value) },
      ...(band ? [{ label: band.words, value: `${formatValue(band.low)} to ${formatValue(band.high)}` }] : []),
    ];
    return { place, label: [group, label].filter((word) => word !== "").join(", "), value, lines, box: areas[index]! };
  };
  return {
    height,
    ...(right === undefined ? {} : { right }),
    cellAt: (x, y) => {
      const index = areas.findIndex((area) => x >= area.x && x < area.x + area.width && y >= area.y && y < area.y + area.height);
      return index < 0 ? null : describe(index);
    },
    marks: (place) =>
      boxes.flatMap((box, index) =>
        samePlace(figure.bars[index]!.place, place)
          ? [{ box: { x: box.x - 2, y: box.y - 2, width: box.width + 4, height: box.height + 4 }, strength: "cell" as const }]
          : [],
      ),
  };
}

const barOf = (figure: BarsFigure, place: Place): number => figure.bars.findIndex((bar) => samePlace(bar.place, place));

export const bars: FigureModule<BarsFigure> = {
  draw,
  neighbour(figure, place, key) {
    const { right, up } = arrowStep[key];
    const index = barOf(figure, place);
    return index < 0 ? null : (figure.bars[index + right - up]?.place ?? null);
  },
  valueAt(figure, arrays, metric, place) {
    const index = barOf(figure, place);
    return index < 0 ? null : valuesOf(figure, { arrays, metric })[index]!;
  },
  refs: (figure, change) => ({ ...figure, values: changedValues(figure.values, (ref) => change(ref, [figure.bars.length])) }),
  firstPlace: (figure) => figure.bars[0]?.place ?? null,
  metrics: ({ metrics }) => metrics,
  adapters: (figure) => adaptersOfPlaces(figure.bars.map(({ place }) => place)),
  table(figure, arrays) {
    const values = figure.metrics.map((metric) => valuesOf(figure, { arrays, metric: metric.id }));
    return {
      columns: ["bar", "group", "layer", "site", "component", "adapter", ...figure.metrics.map(({ id }) => id)],
      rows: figure.bars.map(({ label, group, place }, index) => [
        label,
        group,
        place.layer ?? null,
        place.site ?? null,
        place.component ?? null,
        place.adapter ?? null,
        ...values.map((each) => each[index]!),
      ]),
    };
  },
};
