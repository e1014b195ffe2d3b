/** Spectra over time as ridges: a row a snapshot, later ones behind. */
import { scaleLinear } from "d3-scale";
import type { RidgelineFigure } from "../../probes/result.ts";
import { type Box, type Drawn, type Frame, type Group, type Mark } from "./context.ts";
import { adapterRamp, drawRampKey } from "./curves.ts";
import { formatValue, labelStep } from "./labels.ts";
import { type Marker } from "./markers.ts";
import { drawPanelTitle, titleHeight } from "./panels.ts";
import { drawText, round } from "./text.ts";
import { textWidth } from "./textWidth.ts";

import { cellOf, isPanel, markersOf, snapshotAt, type Read, type Spectra } from "./ridgelineRead.ts";

const mostRidges = 24;

/** Snapshots evenly among those reached, the first, the last and the slider's always among them. */
function ridgeRows(count: number, at: number): number[] {
  if (count <= mostRidges) return Array.from({ length: count }, (_, index) => index);
  const rows = Array.from({ length: mostRidges }, (_, index) => Math.round((index * (count - 1)) / (mostRidges - 1)));
  if (at >= 0 && !rows.includes(at)) {
    const nearest = rows.reduce(
      (best, row, index) => (index > 0 && index < rows.length - 1 && Math.abs(row - at) < Math.abs(rows[best]! - at) ? index : best),
      1,
    );
    rows[nearest] = at;
  }
  return rows.toSorted((a, b) => a - b);
}

interface RidgePlot {
  readonly spectra: Spectra;
  readonly left: number;
  readonly right: number;
  readonly bottom: number;
  readonly x: (component: number) => number;
}

export function drawRidges(root: Group, figure: RidgelineFigure, frame: Frame, top: number, { steps, panels, components }: Read): Drawn {
  const { axis: size } = frame.type;
  const isPrint = frame.preset === "print";
  const at = snapshotAt(steps, frame.step);
  const rows = ridgeRows(steps.length, at);
  const pitch = isPrint ? 7 : panels.length === 1 ? 12 : 9;
  const peak = pitch * 5;
  const most = Math.max(0, ...panels.flatMap(({ data }) => [...data].filter(Number.isFinite))) || 1;
  const gutter = Math.max(textWidth("step", size), ...steps.map((step) => textWidth(formatValue(step), size))) + 10;
  const gap = gutter + 10;
  const narrowest = isPrint ? 90 : 150;
  const fits = Math.max(1, Math.min(panels.length, Math.floor((frame.width + gap - gutter) / (narrowest + gap))));
  const perLine = Math.ceil(panels.length / Math.ceil(panels.length / fits));
  const width = Math.min(panels.length === 1 ? 520 : 260, (frame.width - gutter - gap * (perLine - 1)) / perLine);
  const plotHeight = peak + (Math.max(rows.length, Math.min(mostRidges, 8)) - 1) * pitch;
  const adapter = panels[0]!.panel.place.adapter ?? "";
  const ramp = adapterRamp(frame, adapter);
  const colour = scaleLinear<string>()
    .domain([0, Math.max(1, steps.length - 1)])
    .range(ramp);
  const plots: RidgePlot[] = [];
  let y = top;
  panels.forEach((spectra, index) => {
    const column = index % perLine;
    if (index > 0 && column === 0) y += titleHeight(frame) + plotHeight + size + 14;
    const left = gutter + column * (width + gap);
    const plot: RidgePlot = {
      spectra,
      left,
      right: left + width,
      bottom: y + titleHeight(frame) + plotHeight,
      x: scaleLinear()
        .domain([0, Math.max(1, components - 1)])
        .range([left + 3, left + width - 3]),
    };
    plots.push(plot);
    const group = root.append("g").attr("class", "panel").attr("data-panel", spectra.panel.id);
    drawPanelTitle(group, frame, spectra.panel.title, left, y, width + gap - 12);
    const labelEvery = labelStep(pitch, size + 2);
    const lastRow = rows.length - 1;
    for (let row = lastRow; row >= 0; row--) {
      const baseline = plot.bottom - row * pitch;
      const isHere = frame.step !== undefined && rows[row] === at;
      const isNamed =
        isHere ||
        row === lastRow ||
        (row % labelEvery === 0 &&
          (lastRow - row) * pitch >= size + 2 &&
          Math.abs(rows.indexOf(at) - row) * pitch >= (frame.step === undefined ? 0 : size + 1));
      if (isNamed && !(row === lastRow && !isHere && frame.step !== undefined && (lastRow - rows.indexOf(at)) * pitch < size + 1))
        drawText(group, frame, formatValue(steps[rows[row]!]!), left - 6, baseline + 3, {
          anchor: "end",
          fill: isHere ? frame.theme.accent : frame.theme.muted,
          bold: isHere,
        });
      drawRidge(group, frame, plot, rows[row]!, baseline, peak / most, isHere ? frame.theme.accent : colour(rows[row]!), isHere);
    }
    // Drawn once more in front, so that no earlier ridge hides what the slider points at.
    const here = rows.indexOf(at);
    if (frame.step !== undefined && here >= 0) drawRidge(group, frame, plot, at, plot.bottom - here * pitch, peak / most, frame.theme.accent, true, true);
    drawRowMarkers(group, frame, markersOf(figure, spectra.panel), steps, rows, plot, pitch);
    const every = labelStep((width - 6) / Math.max(1, components - 1), textWidth("000", size) + 4);
    for (let component = 0; component < spectra.components; component += every)
      drawText(group, frame, String(component), plot.x(component), plot.bottom + size + 4, { anchor: "middle", fill: frame.theme.muted });
  });
  y += titleHeight(frame) + plotHeight + size + 16;
  y += drawRidgeKey(root, figure, frame, gutter, y, steps, ramp, most, peak);

  const dot = (plot: RidgePlot, row: number, component: number): Box => {
    const value = plot.spectra.data[rows[row]! * plot.spectra.components + component] ?? 0;
    return { x: plot.x(component) - 4, y: plot.bottom - row * pitch - (Number.isFinite(value) ? value * (peak / most) : 0) - 4, width: 8, height: 8 };
  };
  return {
    height: y,
    cellAt: (px, py) => {
      const plot = plots.find(({ left, right, bottom }) => px >= left - 6 && px <= right + 6 && py <= bottom + 6 && py >= bottom - plotHeight);
      if (!plot || plot.spectra.components === 0) return null;
      const component = Math.min(plot.spectra.components - 1, Math.max(0, Math.round((px - plot.x(0)) / (plot.x(1) - plot.x(0)))));
      // The curve nearest in height at this component; of equal ones the front.
      const row = rows.reduce(
        (best, _, index) => (Math.abs(dot(plot, index, component).y + 4 - py) < Math.abs(dot(plot, best, component).y + 4 - py) ? index : best),
        0,
      );
      return cellOf(figure, plot.spectra, steps, rows[row]!, component, dot(plot, row, component));
    },
    marks: (place) =>
      plots.flatMap((plot): Mark[] => {
        if (!isPanel(plot.spectra.panel, place)) return [];
        const here = Math.max(0, rows.indexOf(at));
        if (place.component !== undefined && place.component < plot.spectra.components) return [{ box: dot(plot, here, place.component), strength: "cell" }];
        return [{ box: { x: plot.left - 2, y: plot.bottom - plotHeight, width: plot.right - plot.left + 4, height: plotHeight + 3 }, strength: "band" }];
      }),
  };
}

function drawRidge(
  group: Group,
  frame: Frame,
  { spectra: { data, components }, x }: RidgePlot,
  snapshot: number,
  baseline: number,
  scale: number,
  colour: string,
  isHere: boolean,
  isLineOnly = false,
): void {
  const points = Array.from(data.subarray(snapshot * components, (snapshot + 1) * components), (value, component) => ({
    px: x(component),
    py: baseline - value * scale,
    value,
  })).filter(({ value }) => Number.isFinite(value));
  if (points.length === 0) return;
  const path = points.map(({ px, py }, index) => `${index === 0 ? "M" : "L"}${round(px)},${round(py)}`).join("");
  const thin = frame.preset === "print" ? 0.75 : 1.1;
  if (!isLineOnly)
    group
      .append("path")
      .attr("d", `${path}L${round(points.at(-1)!.px)},${round(baseline)}H${round(points[0]!.px)}Z`)
      .attr("fill", frame.theme.background)
      .attr("fill-opacity", 0.86);
  group
    .append("path")
    .attr("class", isHere ? "ridge step" : "ridge")
    .attr("d", path)
    .attr("fill", "none")
    .attr("stroke", colour)
    .attr("stroke-width", isHere ? thin * 1.8 : thin)
    .attr("stroke-linejoin", "round");
}

/** A small mark at the right of the row where something changed; the words are in the curves' figures and on hover. */
function drawRowMarkers(
  group: Group,
  frame: Frame,
  markers: readonly Marker[],
  steps: readonly number[],
  rows: readonly number[],
  plot: RidgePlot,
  pitch: number,
): void {
  for (const marker of markers) {
    const snapshot = steps.findIndex((step) => step >= marker.x);
    const row = rows.findIndex((each) => each >= snapshot);
    if (snapshot < 0 || row < 0) continue;
    group
      .append("path")
      .attr("class", "marker")
      .attr("d", `M${round(plot.right)},${round(plot.bottom - row * pitch)}h6`)
      .attr("stroke", frame.theme.ink)
      .attr("stroke-width", 1.5)
      .append("title")
      .text(`step ${formatValue(marker.x)}: ${marker.label}`);
  }
}

function drawRidgeKey(
  root: Group,
  figure: RidgelineFigure,
  frame: Frame,
  left: number,
  top: number,
  steps: readonly number[],
  ramp: readonly [string, string],
  most: number,
  peak: number,
): number {
  const { axis: size } = frame.type;
  const baseline = top + size + 2;
  const words: [string, string] = [`step ${formatValue(steps[0]!)}`, formatValue(steps.at(-1)!)];
  let x = left + drawRampKey(root, frame, "steps", ramp, words, left, baseline, [textWidth(words[0], size), textWidth(words[1], size)]) + 20;
  // How high a ridge is: a bar of the height of a round number.
  const power = 10 ** Math.floor(Math.log10(most / 2));
  const unitHeight = [5, 2, 1].map((factor) => factor * power).find((value) => value <= most / 2) ?? most;
  const bar = (unitHeight / most) * peak;
  const barWords = figure.unit === "" ? `σ = ${formatValue(unitHeight)}` : `${formatValue(unitHeight)} ${figure.unit}`;
  root
    .append("path")
    .attr("d", `M${round(x)},${round(baseline)}v${round(-bar)}M${round(x - 2)},${round(baseline)}h4M${round(x - 2)},${round(baseline - bar)}h4`)
    .attr("stroke", frame.theme.muted)
    .attr("stroke-width", frame.type.thin)
    .attr("fill", "none");
  drawText(root, frame, barWords, x + 7, baseline, { fill: frame.theme.muted });
  x += 7 + textWidth(barWords, size) + 20;
  const axes = "step ↑ · component";
  const fits = x + textWidth(axes, size) <= frame.width;
  drawText(root, frame, axes, fits ? x : left, fits ? baseline : baseline + size + 5, { fill: frame.theme.muted });
  return (fits ? 0 : size + 5) + size + 10;
}

// --- places -----------------------------------------------------------------
