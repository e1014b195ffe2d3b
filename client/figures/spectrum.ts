/** Singular values: one small multiple a site, one line a layer, on a shared logarithmic axis. */
import { scaleLinear, scaleLog } from "d3-scale";
import { line } from "d3-shape";
import type { Place, SpectrumFigure } from "../../probes/result.ts";
import { slice } from "../../probes/result.ts";
import { defineHatch, hatchFill } from "./cells.ts";
import { arrowStep, type Arrays, type Cell, type Drawn, type Frame, type Group, type Mark } from "./context.ts";
import { adaptersOfPlaces, type FigureModule } from "./figureModule.ts";
import { adapterRamp, drawCurveEnds, drawRampKey, fewCurves, logTicks, type CurveEnd } from "./curves.ts";
import { formatValue, labelStep, siteKind } from "./labels.ts";
import { drawPanelTitle, titleHeight } from "./panels.ts";
import { samePlace } from "./places.ts";
import { baselineShift, drawText, round } from "./text.ts";
import { textWidth } from "./textWidth.ts";

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

const valuesOf = (series: Series, arrays: Arrays): Float32Array => (arrays[series.values.array] ? slice(arrays, series.values).data : new Float32Array(0));
const isDrawable = (value: number): boolean => Number.isFinite(value) && value > 0;

function facetsOf(figure: SpectrumFigure, frame: Frame): { facets: Facet[]; layers: number[]; byLayer: boolean } {
  const layers = [...new Set(figure.series.flatMap(({ place }) => (place.layer === undefined ? [] : [place.layer])))].sort((a, b) => a - b);
  const adapters = [...new Set(figure.series.map(({ place }) => place.adapter ?? ""))];
  const byLayer = adapters.length === 1 && layers.length > 1;
  const layerColour = scaleLinear<string>().domain([0, 1]).range(adapterRamp(frame, adapters[0]!));
  const span = Math.max(1, layers.at(-1)! - layers[0]!);
  const curve = (series: Series): Curve => ({
    series,
    values: valuesOf(series, frame.arrays),
    colour: byLayer
      ? layerColour((series.place.layer! - layers[0]!) / span)
      : (frame.adapterColours[series.place.adapter ?? ""] ?? frame.theme.categorical[0]!),
  });
  if (figure.series.length <= fewCurves) return { facets: [{ title: "", curves: figure.series.map(curve) }], layers, byLayer };
  const titles = [...new Set(figure.series.map(({ place, label }) => (place.site === undefined ? label : siteKind(place.site))))];
  return {
    facets: titles.map((title) => ({
      title,
      curves: figure.series.filter(({ place, label }) => (place.site === undefined ? label : siteKind(place.site)) === title).map(curve),
    })),
    layers,
    byLayer,
  };
}

const curveLabel = (curve: Curve, faceted: boolean): string =>
  faceted && curve.series.place.layer !== undefined ? `L${curve.series.place.layer}` : curve.series.label;

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
  const scale = scaleLog()
    .domain(finite.length > 0 ? [floor / 1.15, most * 1.15] : [0.1, 1])
    .range([height, 0]);
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
    const x = scaleLinear()
      .domain([0, longest - 1])
      .range([left + 4, right - 4]);
    const group = root.append("g").attr("class", "panel").attr("data-panel", facet.title);
    if (faceted) drawPanelTitle(group, frame, facet.title, left, y, panelWidth);
    for (const tick of ticks) {
      group
        .append("path")
        .attr("d", `M${round(left)},${round(plotTop + scale(tick))}H${round(right)}`)
        .attr("stroke", frame.theme.rule)
        .attr("stroke-width", frame.type.thin)
        .attr("stroke-dasharray", "1 3");
      if (column === 0)
        drawText(group, frame, formatValue(tick), left - 6, plotTop + scale(tick) + baselineShift(size), { anchor: "end", fill: frame.theme.muted });
    }
    group
      .append("path")
      .attr("d", `M${round(left)},${round(plotTop + height)}H${round(right)}`)
      .attr("stroke", frame.theme.muted)
      .attr("stroke-width", frame.type.thin);
    const step = labelStep((right - left - 8) / Math.max(1, longest - 1), textWidth("000", size) + 4);
    for (let component = 0; component < longest; component += step)
      drawText(group, frame, String(component), x(component), plotTop + height + size + 4, { anchor: "middle", fill: frame.theme.muted });
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
  const dot = (plot: Plot, curve: Curve, component: number) => ({
    x: plot.x(component) - 4,
    y: plot.top + scale(Math.max(floor, curve.values[component]!)) - 4,
    width: 8,
    height: 8,
  });
  return {
    height: y,
    cellAt: (px, py): Cell | null => {
      const found = pointed(px, py);
      if (!found) return null;
      const { curve, component, plot } = found;
      const value = curve.values[component]!;
      const { series } = curve;
      const lines = [
        { label: `σ, component ${component}`, value: formatValue(value) },
        ...(series.note === undefined ? [] : [{ label: "", value: series.note }]),
      ];
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

function drawCurves(group: Group, frame: Frame, plot: Plot, scale: (value: number) => number, floor: number, height: number, faceted: boolean): void {
  const selected = frame.selection?.place;
  const isSelected = (curve: Curve): boolean =>
    selected !== undefined &&
    (selected.site !== undefined || selected.layer !== undefined) &&
    samePlace(curve.series.place, { ...selected, ...(selected.site === undefined ? { site: curve.series.place.site ?? "" } : {}) });
  const curves = [...plot.facet.curves].sort((a, b) => Number(isSelected(a)) - Number(isSelected(b)));
  const drawable = curves.filter(({ values }) => values.some(isDrawable));
  if (drawable.length === 0) {
    group
      .append("rect")
      .attr("class", "pending")
      .attr("x", round(plot.left))
      .attr("y", round(plot.top))
      .attr("width", round(plot.right - plot.left))
      .attr("height", height)
      .attr("fill", hatchFill(frame));
    return;
  }
  const path = line<number>()
    .defined((value) => isDrawable(value) && value >= floor)
    .x((_, index) => round(plot.x(index)))
    .y((value) => round(plot.top + scale(value)));
  const ends: CurveEnd[] = [];
  for (const curve of drawable) {
    const strong = isSelected(curve);
    group
      .append("path")
      .attr("class", "curve")
      .attr("d", path(Array.from(curve.values)) ?? "")
      .attr("fill", "none")
      .attr("stroke", strong ? frame.theme.ink : curve.colour)
      .attr("stroke-width", (strong ? 2 : drawable.length > 12 ? 1 : 1.5) * (frame.preset === "print" ? 0.75 : 1))
      .attr("stroke-linejoin", "round");
    const last = curve.values.findLastIndex((value) => isDrawable(value) && value >= floor);
    if (last >= 0)
      ends.push({
        text: curveLabel(curve, faceted),
        colour: strong ? frame.theme.ink : curve.colour,
        isStrong: strong,
        x: plot.x(last),
        y: plot.top + scale(curve.values[last]!),
      });
  }
  drawCurveEnds(group, frame, ends, plot.top, height);
}

function drawKey(root: Group, figure: SpectrumFigure, frame: Frame, left: number, top: number, layers: readonly number[]): number {
  const { axis: size } = frame.type;
  let x = left;
  const baseline = top + size + 2;
  if (layers.length > 0) {
    const words: [string, string] = [`layer ${layers[0]!}`, String(layers.at(-1)!)];
    x +=
      drawRampKey(root, frame, "layers", adapterRamp(frame, figure.series[0]!.place.adapter ?? ""), words, x, baseline, [
        textWidth(words[0], size),
        textWidth(words[1], size),
      ]) + 20;
  }
  const adapters = [...new Set(figure.series.flatMap(({ place }) => place.adapter ?? []))];
  if (layers.length === 0 && adapters.length > 1) {
    for (const adapter of adapters) {
      root
        .append("path")
        .attr("d", `M${round(x)},${round(baseline - 4)}h16`)
        .attr("stroke", frame.adapterColours[adapter] ?? frame.theme.ink)
        .attr("stroke-width", 2);
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
    const sameSite = figure.series
      .filter((each) => siteKind(each.place.site ?? each.label) === siteKind(series.place.site ?? series.label) && each.place.adapter === series.place.adapter)
      .sort((a, b) => (a.place.layer ?? 0) - (b.place.layer ?? 0));
    const next = sameSite[sameSite.indexOf(series) + up];
    return next ? { ...next.place, ...(place.component === undefined ? {} : { component: place.component }) } : null;
  },
  valueAt(figure, arrays, _metric, place) {
    const series = seriesOf(figure, place);
    return series && place.component !== undefined ? (valuesOf(series, arrays)[place.component] ?? null) : null;
  },
  refs: (figure, change) => ({ ...figure, series: figure.series.map((series) => ({ ...series, values: change(series.values, [null]) })) }),
  firstPlace: ({ series: [first] }) => (first ? { ...first.place, component: 0 } : null),
  numberWords: ({ title, unit }, { site }) => ({ label: `singular value at ${site === undefined ? title : siteKind(site)}`, unit }),
  adapters: ({ series }) => adaptersOfPlaces(series.map(({ place }) => place)),
  table(figure, arrays) {
    return {
      columns: ["series", "layer", "site", "adapter", "component", "singular_value"],
      rows: figure.series.flatMap((series) =>
        Array.from(valuesOf(series, arrays), (value, component) => [
          series.label,
          series.place.layer ?? null,
          series.place.site ?? null,
          series.place.adapter ?? null,
          component,
          value,
        ]),
      ),
    };
  },
};
