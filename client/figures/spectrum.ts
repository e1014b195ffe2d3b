/** Singular values: one small multiple a site, one line a layer, on a shared logarithmic axis. */
import { scaleLinear, scaleLog } from "d3-scale";
import { line } from "d3-shape";
import type { Place, SpectrumFigure } from "../../probes/result.ts";
import { slice } from "../../probes/result.ts";
import { defineHatch, hatchFill } from "./cells.ts";
import { arrowStep, type Arrays, type Cell, type Drawn, type FigureModule, type Frame, type Group, type Mark } from "./context.ts";
import { formatValue, labelStep, siteKind } from "./labels.ts";
import { drawPanelTitle, titleHeight } from "./panels.ts";
import { samePlace } from "./places.ts";
import { baselineShift, drawText, round } from "./text.ts";
import { textWidth } from "./textWidth.ts";
import { mix } from "./theme.ts";

type Series = SpectrumFigure["series"][number];
interface Curve {
  readonly series: Series;
  readonly values: Float32Array;
  readonly colour: string;
}
interface Facet {
  readonly title: string;
  readonly curves: readonly Curve[];
}

/** Up to this many curves go into one plot. */
const fewCurves = 8;

const valuesOf = (series: Series, arrays: Arrays): Float32Array => (arrays[series.values.array] ? slice(arrays, series.values).data : new Float32Array(0));
const isDrawable = (value: number): boolean => Number.isFinite(value) && value > 0;

function facetsOf(figure: SpectrumFigure, frame: Frame): { facets: Facet[]; layers: number[]; byLayer: boolean } {
  const layers = [...new Set(figure.series.flatMap(({ place }) => (place.layer === undefined ? [] : [place.layer])))].sort((a, b) => a - b);
  const adapters = [...new Set(figure.series.map(({ place }) => place.adapter ?? ""))];
  const byLayer = adapters.length === 1 && layers.length > 1;
  const layerColour = scaleLinear<string>().domain([0, 1]).range(layerRamp(frame, adapters[0]!));
  const span = Math.max(1, layers.at(-1)! - layers[0]!);
  const curve = (series: Series): Curve => ({
    series,
    values: valuesOf(series, frame.arrays),
    colour: byLayer ? layerColour((series.place.layer! - layers[0]!) / span) : (frame.adapterColours[series.place.adapter ?? ""] ?? frame.theme.categorical[0]!),
  });
  if (figure.series.length <= fewCurves) return { facets: [{ title: "", curves: figure.series.map(curve) }], layers, byLayer };
  const titles = [...new Set(figure.series.map(({ place, label }) => (place.site === undefined ? label : siteKind(place.site))))];
  return { facets: titles.map((title) => ({ title, curves: figure.series.filter(({ place, label }) => (place.site === undefined ? label : siteKind(place.site)) === title).map(curve) })), layers, byLayer };
}

/** From early to late layers, about the adapter's own colour. */
function layerRamp(frame: Frame, adapter: string): [string, string] {
  const colour = frame.adapterColours[adapter] ?? frame.theme.categorical[0]!;
  return frame.theme.name === "light" ? [mix(colour, "#ffffff", 0.62), mix(colour, "#000000", 0.55)] : [mix(colour, frame.theme.panel, 0.68), mix(colour, "#ffffff", 0.6)];
}

const curveLabel = (curve: Curve, faceted: boolean): string => (faceted && curve.series.place.layer !== undefined ? `L${curve.series.place.layer}` : curve.series.label);

interface Plot {
  readonly facet: Facet;
  readonly x: (component: number) => number;
  readonly left: number;
  readonly right: number;
  readonly top: number;
}

function draw(root: Group, figure: SpectrumFigure, frame: Frame, top: number): Drawn {
  defineHatch(root, frame);
  const { axis: size } = frame.type;
  const { facets, layers, byLayer } = facetsOf(figure, frame);
  const faceted = facets.length > 1 || facets[0]?.title !== "";
  const all = facets.flatMap(({ curves }) => curves);
  const finite = all.flatMap(({ values }) => [...values].filter(isDrawable));
  const longest = Math.max(2, ...all.map(({ values }) => values.length));
  const [least, most] = [Math.min(...finite), Math.max(...finite)];
  // Far below the largest value lies rounding noise, which would flatten everything else.
  const floor = Math.max(least, most * 1e-5);
  const height = frame.preset === "print" ? 108 : faceted ? 150 : 220;
  const scale = scaleLog().domain(finite.length > 0 ? [floor / 1.15, most * 1.15] : [0.1, 1]).range([height, 0]);
  const ticks = logTicks(scale, height, size);
  const gutter = Math.max(...ticks.map((tick) => textWidth(formatValue(tick), size))) + 8;
  const labelRoom = Math.min(160, Math.max(...all.map((curve) => textWidth(curveLabel(curve, faceted), size))) + 14);
  const gap = 14;
  const narrowest = frame.preset === "print" ? 120 : 170;
  const fits = Math.max(1, Math.min(facets.length, Math.floor((frame.width - gutter + gap) / (narrowest + gap))));
  const perLine = Math.ceil(facets.length / Math.ceil(facets.length / fits));
  const panelWidth = Math.min(faceted ? 260 : 720, (frame.width - gutter - gap * (perLine - 1)) / perLine);

  let y = top;
  const plots: Plot[] = [];
  facets.forEach((facet, index) => {
    const column = index % perLine;
    if (index > 0 && column === 0) y += titleHeight(frame) + height + size + 18;
    const left = gutter + column * (panelWidth + gap);
    const right = left + panelWidth - labelRoom;
    const plotTop = y + (faceted ? titleHeight(frame) : 4);
    const x = scaleLinear().domain([0, longest - 1]).range([left + 4, right - 4]);
    const group = root.append("g").attr("class", "panel").attr("data-panel", facet.title);
    if (faceted) drawPanelTitle(group, frame, facet.title, left, y, panelWidth);
    for (const tick of ticks) {
      group.append("path").attr("d", `M${round(left)},${round(plotTop + scale(tick))}H${round(right)}`).attr("stroke", frame.theme.rule).attr("stroke-width", frame.type.thin).attr("stroke-dasharray", "1 3");
      if (column === 0) drawText(group, frame, formatValue(tick), left - 6, plotTop + scale(tick) + baselineShift(size), { anchor: "end", fill: frame.theme.muted });
    }
    group.append("path").attr("d", `M${round(left)},${round(plotTop + height)}H${round(right)}`).attr("stroke", frame.theme.muted).attr("stroke-width", frame.type.thin);
    const step = labelStep((right - left - 8) / Math.max(1, longest - 1), textWidth("000", size) + 4);
    for (let component = 0; component < longest; component += step) drawText(group, frame, String(component), x(component), plotTop + height + size + 4, { anchor: "middle", fill: frame.theme.muted });
    const plot = { facet, x, left, right, top: plotTop };
    plots.push(plot);
    drawCurves(group, frame, plot, scale, floor, height, faceted);
  });
  y += (faceted ? titleHeight(frame) : 4) + height + size + 12;
  y += drawKey(root, figure, frame, gutter, y, byLayer ? layers : []);

  const pointed = (px: number, py: number): { curve: Curve; component: number; plot: Plot } | null => {
    for (const plot of plots) {
      if (px < plot.left - 6 || px > plot.right + labelRoom || py < plot.top - 6 || py > plot.top + height + 6) continue;
      const component = Math.min(longest - 1, Math.max(0, Math.round(((px - plot.x(0)) / (plot.x(1) - plot.x(0))) * 1)));
      const near = plot.facet.curves
        .filter(({ values }) => isDrawable(values[component] ?? NaN))
        .map((curve) => ({ curve, distance: Math.abs(plot.top + scale(Math.max(floor, curve.values[component]!)) - py) }))
        .sort((a, b) => a.distance - b.distance)[0];
      if (near) return { curve: near.curve, component, plot };
    }
    return null;
  };
  const dot = (plot: Plot, curve: Curve, component: number) => ({ x: plot.x(component) - 4, y: plot.top + scale(Math.max(floor, curve.values[component]!)) - 4, width: 8, height: 8 });
  return {
    height: y,
    cellAt: (px, py): Cell | null => {
      const found = pointed(px, py);
      if (!found) return null;
      const { curve, component, plot } = found;
      const value = curve.values[component]!;
      const { series } = curve;
      const lines = [{ label: `σ, component ${component}`, value: formatValue(value) }, ...(series.note === undefined ? [] : [{ label: "", value: series.note }])];
      return { place: { ...series.place, component }, label: `${series.label}, component ${component}`, value, lines, box: dot(plot, curve, component) };
    },
    marks: (place): Mark[] =>
      plots.flatMap((plot) =>
        plot.facet.curves.flatMap((curve): Mark[] => {
          const { component, ...rest } = place;
          if (!samePlace(curve.series.place, rest)) return [];
          return component !== undefined && isDrawable(curve.values[component] ?? NaN) ? [{ box: dot(plot, curve, component), strength: "cell" }] : [];
        }),
      ),
  };
}

/** Powers of ten, with 2 and 5 between them where there is room. */
function logTicks(scale: { (value: number): number; domain(): number[] }, height: number, size: number): number[] {
  const [low, high] = scale.domain() as [number, number];
  const decades = Math.log10(high / low);
  const factors = height / decades > size * 7 ? [1, 2, 5] : [1];
  const every = Math.max(1, Math.ceil((size * 1.8 * decades) / height));
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    if (power % every !== 0) continue;
    for (const factor of factors) {
      const tick = Number((factor * 10 ** power).toPrecision(1));
      if (tick >= low && tick <= high) ticks.push(tick);
    }
  }
  return ticks.length > 0 ? ticks : [Number(Math.sqrt(low * high).toPrecision(1))];
}

function drawCurves(group: Group, frame: Frame, plot: Plot, scale: (value: number) => number, floor: number, height: number, faceted: boolean): void {
  const { axis: size } = frame.type;
  const selected = frame.selection?.place;
  const isSelected = (curve: Curve): boolean => selected !== undefined && (selected.site !== undefined || selected.layer !== undefined) && samePlace(curve.series.place, { ...selected, ...(selected.site === undefined ? { site: curve.series.place.site ?? "" } : {}) });
  const curves = [...plot.facet.curves].sort((a, b) => Number(isSelected(a)) - Number(isSelected(b)));
  const drawable = curves.filter(({ values }) => values.some(isDrawable));
  if (drawable.length === 0) {
    group.append("rect").attr("class", "pending").attr("x", round(plot.left)).attr("y", round(plot.top)).attr("width", round(plot.right - plot.left)).attr("height", height).attr("fill", hatchFill(frame));
    return;
  }
  const path = line<number>()
    .defined((value) => isDrawable(value) && value >= floor)
    .x((_, index) => round(plot.x(index)))
    .y((value) => round(plot.top + scale(value)));
  const ends: End[] = [];
  for (const curve of drawable) {
    const strong = isSelected(curve);
    group.append("path").attr("class", "curve").attr("d", path(Array.from(curve.values)) ?? "").attr("fill", "none").attr("stroke", strong ? frame.theme.ink : curve.colour).attr("stroke-width", (strong ? 2 : drawable.length > 12 ? 1 : 1.5) * (frame.preset === "print" ? 0.75 : 1)).attr("stroke-linejoin", "round");
    const last = curve.values.findLastIndex((value) => isDrawable(value) && value >= floor);
    if (last >= 0) ends.push({ curve, x: plot.x(last), y: plot.top + scale(curve.values[last]!) });
  }
  for (const { curve, x, y, labelY } of placedLabels(ends, isSelected, plot.top, height, size)) {
    const strong = isSelected(curve);
    // A thread leads from the curve to its label, which may have been pushed aside.
    group.append("path").attr("d", `M${round(x)},${round(y)}L${round(x + 8)},${round(labelY)}`).attr("stroke", strong ? frame.theme.ink : curve.colour).attr("stroke-width", frame.type.thin);
    drawText(group, frame, curveLabel(curve, faceted), x + 11, labelY + baselineShift(size), { bold: strong, fill: frame.theme.ink });
  }
}

interface End {
  readonly curve: Curve;
  readonly x: number;
  readonly y: number;
}
/** Few labels are pushed apart; of many, those that would overlap are left out, the selected and outermost kept first. */
function placedLabels(ends: readonly End[], isSelected: (curve: Curve) => boolean, top: number, height: number, size: number): (End & { readonly labelY: number })[] {
  const order = [...ends].sort((a, b) => a.y - b.y);
  if (order.length <= fewCurves && order.length * size < height * 0.8) {
    const ys: number[] = [];
    for (const { y } of order) ys.push(Math.max(y, (ys.at(-1) ?? -Infinity) + size));
    for (let index = ys.length - 1; index >= 0; index--) ys[index] = Math.min(ys[index]!, index === ys.length - 1 ? top + height : ys[index + 1]! - size);
    return order.map((end, index) => ({ ...end, labelY: ys[index]! }));
  }
  const ranked = new Set([...order.filter(({ curve }) => isSelected(curve)), order[0]!, order.at(-1)!, ...order]);
  const kept: End[] = [];
  for (const end of ranked) if (kept.every(({ y }) => Math.abs(y - end.y) >= size)) kept.push(end);
  return kept.map((end) => ({ ...end, labelY: end.y }));
}

function drawKey(root: Group, figure: SpectrumFigure, frame: Frame, left: number, top: number, layers: readonly number[]): number {
  const { axis: size } = frame.type;
  let x = left;
  const baseline = top + size + 2;
  if (layers.length > 0) {
    const [first, last] = [`layer ${layers[0]!}`, String(layers.at(-1)!)];
    const colours = layerRamp(frame, figure.series[0]!.place.adapter ?? "");
    const gradient = root.append("defs").append("linearGradient").attr("id", `${frame.scope}-layers`);
    colours.forEach((colour, index) => gradient.append("stop").attr("offset", index).attr("stop-color", colour));
    drawText(root, frame, first, x, baseline, { fill: frame.theme.muted });
    x += textWidth(first, size) + 6;
    root.append("rect").attr("x", round(x)).attr("y", round(baseline - 8)).attr("width", 80).attr("height", 8).attr("fill", `url(#${frame.scope}-layers)`);
    drawText(root, frame, last, x + 86, baseline, { fill: frame.theme.muted });
    x += 86 + textWidth(last, size) + 20;
  }
  const adapters = [...new Set(figure.series.flatMap(({ place }) => place.adapter ?? []))];
  if (layers.length === 0 && adapters.length > 1) {
    for (const adapter of adapters) {
      root.append("path").attr("d", `M${round(x)},${round(baseline - 4)}h16`).attr("stroke", frame.adapterColours[adapter] ?? frame.theme.ink).attr("stroke-width", 2);
      drawText(root, frame, adapter, x + 22, baseline, { fill: frame.theme.ink });
      x += 22 + textWidth(adapter, size) + 16;
    }
  }
  const words = `singular value${figure.unit === "" ? "" : ` (${figure.unit})`} against component, logarithmic`;
  if (x + textWidth(words, size) <= frame.width || x === left) {
    drawText(root, frame, words, x, baseline, { fill: frame.theme.muted });
    return size + 10;
  }
  drawText(root, frame, words, left, baseline + size + 5, { fill: frame.theme.muted });
  return 2 * size + 15;
}

const seriesOf = (figure: SpectrumFigure, place: Place): Series | undefined => {
  const { component: _, ...rest } = place;
  return figure.series.find((series) => samePlace(series.place, rest));
};

export const spectrum: FigureModule<SpectrumFigure> = {
  draw,
  neighbour(figure, place, key, arrays) {
    const series = seriesOf(figure, place);
    if (!series) return null;
    const { right, up } = arrowStep[key];
    const component = (place.component ?? 0) + right;
    if (up === 0) return component >= 0 && component < valuesOf(series, arrays).length ? { ...series.place, component } : null;
    const sameSite = figure.series.filter((each) => siteKind(each.place.site ?? each.label) === siteKind(series.place.site ?? series.label) && each.place.adapter === series.place.adapter).sort((a, b) => (a.place.layer ?? 0) - (b.place.layer ?? 0));
    const next = sameSite[sameSite.indexOf(series) + up];
    return next ? { ...next.place, ...(place.component === undefined ? {} : { component: place.component }) } : null;
  },
  valueAt(figure, arrays, _metric, place) {
    const series = seriesOf(figure, place);
    return series && place.component !== undefined ? (valuesOf(series, arrays)[place.component] ?? null) : null;
  },
  table(figure, arrays) {
    return {
      columns: ["series", "layer", "site", "adapter", "component", "singular_value"],
      rows: figure.series.flatMap((series) => Array.from(valuesOf(series, arrays), (value, component) => [series.label, series.place.layer ?? null, series.place.site ?? null, series.place.adapter ?? null, component, value])),
    };
  },
};
