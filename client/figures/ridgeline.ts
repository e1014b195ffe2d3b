/** Spectra over time, a panel a site: ridges (a row a snapshot, later ones behind) or heat (a column a snapshot, a row a component). */
import { scaleLinear } from "d3-scale";
import type { Place, RidgelineFigure } from "../../probes/result.ts";
import { slice } from "../../probes/result.ts";
import { cellBox, cellUnder, defineHatch, drawCells, gridBox, hatchFill, mostVectorCells, rowBox, type Grid } from "./cells.ts";
import { arrowStep, type Arrays, type Box, type Cell, type Drawn, type FigureModule, type Frame, type Group, type Mark } from "./context.ts";
import { adapterRamp, drawRampKey } from "./curves.ts";
import { formatValue, labelStep } from "./labels.ts";
import { drawLegend } from "./legend.ts";
import { drawMarkers, markerRoom, type Marker } from "./markers.ts";
import { drawPanelTitle, planPanels, titleHeight } from "./panels.ts";
import { samePlace } from "./places.ts";
import { colourScale } from "./scales.ts";
import { baselineShift, drawText, round } from "./text.ts";
import { textWidth } from "./textWidth.ts";

type Panel = RidgelineFigure["panels"][number];

/** Ridges need room: more panels than this are drawn as heat unless one is chosen. */
export const mostRidgePanels = 6;
const mostRidges = 24;

export const ridgeLook = (figure: RidgelineFigure, look: string | undefined, panel: string | undefined): "ridges" | "heat" => {
  const shown = panel === undefined ? figure.panels.length : 1;
  return look === "heat" || shown > mostRidgePanels ? "heat" : "ridges";
};

/** What is drawn of one panel: `[snapshot, component]` of the snapshots that have numbers. */
interface Spectra {
  readonly panel: Panel;
  readonly components: number;
  readonly data: Float32Array;
}

interface Read {
  readonly steps: readonly number[];
  readonly panels: readonly Spectra[];
  readonly components: number;
}

/** Not every look at a run measures everything: snapshots at which no panel has a number are left out. */
function read(figure: RidgelineFigure, frame: { readonly arrays: Arrays; readonly panel?: string | undefined }): Read {
  const all = frame.arrays[figure.steps.array] ? slice(frame.arrays, figure.steps).data : new Float32Array(0);
  const chosen = figure.panels.filter(({ id }) => frame.panel === undefined || id === frame.panel);
  const whole = (chosen.length > 0 ? chosen : figure.panels).map((panel) => {
    if (!frame.arrays[panel.values.array]) return { panel, components: 0, data: new Float32Array(0) };
    const { shape, data } = slice(frame.arrays, panel.values);
    return { panel, components: shape[1] ?? 0, data };
  });
  const kept = Array.from(all, (_, index) => index).filter((index) => Number.isFinite(all[index]!) && whole.some(({ components, data }) => data.subarray(index * components, (index + 1) * components).some(Number.isFinite)));
  const panels = whole.map(({ panel, components, data }): Spectra => {
    const rows = new Float32Array(kept.length * components);
    kept.forEach((index, row) => rows.set(data.subarray(index * components, (index + 1) * components), row * components));
    return { panel, components, data: rows };
  });
  return { steps: kept.map((index) => all[index]!), panels, components: Math.max(1, ...panels.map(({ components }) => components)) };
}

/** The last snapshot up to the slider's step. */
function snapshotAt(steps: readonly number[], step: number | undefined): number {
  if (step === undefined) return steps.length - 1;
  return steps.findLastIndex((each) => each <= step);
}

const markersOf = (figure: RidgelineFigure, panel: Panel): Marker[] => (figure.markers ?? []).filter(({ place }) => Object.keys(place).length === 0 || samePlace(panel.place, place));

function draw(root: Group, figure: RidgelineFigure, frame: Frame, top: number): Drawn {
  defineHatch(root, frame);
  const content = read(figure, frame);
  if (content.steps.length === 0) return drawNothing(root, figure, frame, top);
  return ridgeLook(figure, frame.look, frame.panel) === "heat" ? drawHeat(root, figure, frame, top, content) : drawRidges(root, figure, frame, top, content);
}

/** No snapshot yet. */
function drawNothing(root: Group, figure: RidgelineFigure, frame: Frame, top: number): Drawn {
  const box: Box = { x: 0, y: top + titleHeight(frame), width: Math.min(260, frame.width), height: 96 };
  const title = figure.panels[0]?.title ?? "";
  drawPanelTitle(root, frame, title, 0, top, box.width);
  root.append("rect").attr("class", "pending").attr("x", 0).attr("y", round(box.y)).attr("width", round(box.width)).attr("height", box.height).attr("fill", hatchFill(frame));
  return { height: box.y + box.height + 6, cellAt: () => null, marks: () => [] };
}

function cellOf(figure: RidgelineFigure, { panel, components, data }: Spectra, steps: readonly number[], snapshot: number, component: number, box: Box): Cell {
  const value = data[snapshot * components + component] ?? NaN;
  const step = steps[snapshot] ?? NaN;
  return { place: { ...panel.place, component }, step, label: `${panel.title}, component ${component}, step ${formatValue(step)}`, value, lines: [{ label: `${figure.unit || "σ"}, component ${component}`, value: formatValue(value) }], box };
}

// --- heat -------------------------------------------------------------------

function drawHeat(root: Group, figure: RidgelineFigure, frame: Frame, top: number, { steps, panels, components }: Read): Drawn {
  const { axis: size } = frame.type;
  const scale = colourScale({ id: "value", label: figure.unit || "singular value", unit: "", scale: "sequential" }, panels.map(({ data }) => data), frame.theme);
  const cols = steps.length;
  const gutter = textWidth("00", size) + 10;
  const gap = gutter + 8;
  const isPrint = frame.preset === "print";
  const [narrowest, widest] = panels.length === 1 ? [1, Math.min(26, 640 / cols)] : [(isPrint ? 110 : 150) / cols, Math.min(18, 240 / cols)];
  const { perLine, cellWidth } = planPanels(frame.width, panels.length, cols, gutter, gap, narrowest, widest);
  const cellHeight = Math.max(3, Math.min(panels.length === 1 ? 18 : 10, (panels.length === 1 ? 260 : isPrint ? 70 : 90) / components));
  const lanes = markerRoom(frame, figure.markers ?? [], panels.length > 1);
  const head = titleHeight(frame) + lanes;
  const asImage = cols * components * panels.length > mostVectorCells;
  const at = snapshotAt(steps, frame.step);
  const grids: Grid[] = [];
  let y = top;
  panels.forEach(({ panel, components: own, data }, index) => {
    const column = index % perLine;
    if (index > 0 && column === 0) y += head + components * cellHeight + size + 12;
    const grid: Grid = { x: gutter + column * (cols * cellWidth + gap), y: y + head, rows: own, cols, cellWidth, cellHeight, up: false };
    grids.push(grid);
    const group = root.append("g").attr("class", "panel").attr("data-panel", panel.id);
    drawPanelTitle(group, frame, panel.title, grid.x, y, cols * cellWidth + gap - 12);
    drawCells(group, frame, grid, transposed(data, cols, own), scale, asImage);
    const rowEvery = labelStep(cellHeight, size + 2);
    for (let component = 0; component < own; component += rowEvery) drawText(group, frame, String(component), grid.x - 6, grid.y + (component + 0.5) * cellHeight + baselineShift(size), { anchor: "end", fill: frame.theme.muted });
    drawColumnSteps(group, frame, steps, grid, components * cellHeight);
    drawMarkers(group, frame, markersOf(figure, panel), { x: (step) => grid.x + (Math.max(0, steps.findIndex((each) => each >= step)) + 0.5) * cellWidth, left: grid.x, right: grid.x + cols * cellWidth + 120, top: grid.y, height: 0, lanes, isTicksOnly: panels.length > 1 });
    if (frame.step !== undefined && at >= 0) group.append("rect").attr("class", "step").attr("x", round(grid.x + at * cellWidth - 0.5)).attr("y", round(grid.y - 2)).attr("width", round(Math.max(cellWidth, 2))).attr("height", round(own * cellHeight + 4)).attr("fill", "none").attr("stroke", frame.theme.accent).attr("stroke-width", 1);
  });
  y += head + components * cellHeight + size + 16;
  y += drawLegend(root, frame, scale, gutter, y, "component ↓ · step", undefined);
  return {
    height: y,
    cellAt: (px, py) => {
      for (const [index, grid] of grids.entries()) {
        const found = cellUnder(grid, px, py);
        if (found) return cellOf(figure, panels[index]!, steps, found.col, found.row, cellBox(grid, found.row, found.col));
      }
      return null;
    },
    marks: (place) =>
      panels.flatMap(({ panel, components: own }, index): Mark[] => {
        if (!isPanel(panel, place)) return [];
        const grid = grids[index]!;
        if (place.component === undefined || place.component >= own) return [{ box: gridBox(grid), strength: "band" }];
        return [{ box: rowBox(grid, place.component), strength: "band" }];
      }),
  };
}

function drawColumnSteps(group: Group, frame: Frame, steps: readonly number[], grid: Grid, height: number): void {
  const { axis: size } = frame.type;
  const widest = Math.max(...steps.map((step) => textWidth(formatValue(step), size)));
  const every = labelStep(grid.cellWidth, widest + 10);
  const last = steps.length - 1;
  steps.forEach((step, index) => {
    // The last step is always named; its neighbour gives way.
    if (index !== last && (index % every !== 0 || (last - index) * grid.cellWidth < 1.5 * widest + 8)) return;
    const middle = grid.x + (index + 0.5) * grid.cellWidth;
    const isTight = index === last && widest > grid.cellWidth;
    drawText(group, frame, formatValue(step), isTight ? grid.x + grid.cols * grid.cellWidth : middle, grid.y + height + size + 3, { anchor: isTight ? "end" : "middle", fill: frame.theme.muted });
  });
}

/** `[component, snapshot]` of `[snapshot, component]`. */
function transposed(data: Float32Array, snapshots: number, components: number): Float32Array {
  const turned = new Float32Array(data.length);
  for (let snapshot = 0; snapshot < snapshots; snapshot++) for (let component = 0; component < components; component++) turned[component * snapshots + snapshot] = data[snapshot * components + component]!;
  return turned;
}

// --- ridges -----------------------------------------------------------------

/** Snapshots evenly among those reached, the first, the last and the slider's always among them. */
function ridgeRows(count: number, at: number): number[] {
  if (count <= mostRidges) return Array.from({ length: count }, (_, index) => index);
  const rows = Array.from({ length: mostRidges }, (_, index) => Math.round((index * (count - 1)) / (mostRidges - 1)));
  if (at >= 0 && !rows.includes(at)) {
    const nearest = rows.reduce((best, row, index) => (index > 0 && index < rows.length - 1 && Math.abs(row - at) < Math.abs(rows[best]! - at) ? index : best), 1);
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

function drawRidges(root: Group, figure: RidgelineFigure, frame: Frame, top: number, { steps, panels, components }: Read): Drawn {
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
  const colour = scaleLinear<string>().domain([0, Math.max(1, steps.length - 1)]).range(ramp);
  const plots: RidgePlot[] = [];
  let y = top;
  panels.forEach((spectra, index) => {
    const column = index % perLine;
    if (index > 0 && column === 0) y += titleHeight(frame) + plotHeight + size + 14;
    const left = gutter + column * (width + gap);
    const plot: RidgePlot = { spectra, left, right: left + width, bottom: y + titleHeight(frame) + plotHeight, x: scaleLinear().domain([0, Math.max(1, components - 1)]).range([left + 3, left + width - 3]) };
    plots.push(plot);
    const group = root.append("g").attr("class", "panel").attr("data-panel", spectra.panel.id);
    drawPanelTitle(group, frame, spectra.panel.title, left, y, width + gap - 12);
    const labelEvery = labelStep(pitch, size + 2);
    const lastRow = rows.length - 1;
    for (let row = lastRow; row >= 0; row--) {
      const baseline = plot.bottom - row * pitch;
      const isHere = frame.step !== undefined && rows[row] === at;
      const isNamed = isHere || row === lastRow || (row % labelEvery === 0 && (lastRow - row) * pitch >= size + 2 && Math.abs(rows.indexOf(at) - row) * pitch >= (frame.step === undefined ? 0 : size + 1));
      if (isNamed && !(row === lastRow && !isHere && frame.step !== undefined && (lastRow - rows.indexOf(at)) * pitch < size + 1)) drawText(group, frame, formatValue(steps[rows[row]!]!), left - 6, baseline + 3, { anchor: "end", fill: isHere ? frame.theme.accent : frame.theme.muted, bold: isHere });
      drawRidge(group, frame, plot, rows[row]!, baseline, peak / most, isHere ? frame.theme.accent : colour(rows[row]!), isHere);
    }
    // Drawn once more in front, so that no earlier ridge hides what the slider points at.
    const here = rows.indexOf(at);
    if (frame.step !== undefined && here >= 0) drawRidge(group, frame, plot, at, plot.bottom - here * pitch, peak / most, frame.theme.accent, true, true);
    drawRowMarkers(group, frame, markersOf(figure, spectra.panel), steps, rows, plot, pitch);
    const every = labelStep((width - 6) / Math.max(1, components - 1), textWidth("000", size) + 4);
    for (let component = 0; component < spectra.components; component += every) drawText(group, frame, String(component), plot.x(component), plot.bottom + size + 4, { anchor: "middle", fill: frame.theme.muted });
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
      const row = rows.reduce((best, _, index) => (Math.abs(dot(plot, index, component).y + 4 - py) < Math.abs(dot(plot, best, component).y + 4 - py) ? index : best), 0);
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

function drawRidge(group: Group, frame: Frame, { spectra: { data, components }, x }: RidgePlot, snapshot: number, baseline: number, scale: number, colour: string, isHere: boolean, isLineOnly = false): void {
  const points = Array.from(data.subarray(snapshot * components, (snapshot + 1) * components), (value, component) => ({ px: x(component), py: baseline - value * scale, value })).filter(({ value }) => Number.isFinite(value));
  if (points.length === 0) return;
  const path = points.map(({ px, py }, index) => `${index === 0 ? "M" : "L"}${round(px)},${round(py)}`).join("");
  const thin = frame.preset === "print" ? 0.75 : 1.1;
  if (!isLineOnly) group.append("path").attr("d", `${path}L${round(points.at(-1)!.px)},${round(baseline)}H${round(points[0]!.px)}Z`).attr("fill", frame.theme.background).attr("fill-opacity", 0.86);
  group.append("path").attr("class", isHere ? "ridge step" : "ridge").attr("d", path).attr("fill", "none").attr("stroke", colour).attr("stroke-width", isHere ? thin * 1.8 : thin).attr("stroke-linejoin", "round");
}

/** A small mark at the right of the row where something changed; the words are in the curves' figures and on hover. */
function drawRowMarkers(group: Group, frame: Frame, markers: readonly Marker[], steps: readonly number[], rows: readonly number[], plot: RidgePlot, pitch: number): void {
  for (const marker of markers) {
    const snapshot = steps.findIndex((step) => step >= marker.x);
    const row = rows.findIndex((each) => each >= snapshot);
    if (snapshot < 0 || row < 0) continue;
    group.append("path").attr("class", "marker").attr("d", `M${round(plot.right)},${round(plot.bottom - row * pitch)}h6`).attr("stroke", frame.theme.ink).attr("stroke-width", 1.5).append("title").text(`step ${formatValue(marker.x)}: ${marker.label}`);
  }
}

function drawRidgeKey(root: Group, figure: RidgelineFigure, frame: Frame, left: number, top: number, steps: readonly number[], ramp: readonly [string, string], most: number, peak: number): number {
  const { axis: size } = frame.type;
  const baseline = top + size + 2;
  const words: [string, string] = [`step ${formatValue(steps[0]!)}`, formatValue(steps.at(-1)!)];
  let x = left + drawRampKey(root, frame, "steps", ramp, words, left, baseline, [textWidth(words[0], size), textWidth(words[1], size)]) + 20;
  // How high a ridge is: a bar of the height of a round number.
  const power = 10 ** Math.floor(Math.log10(most / 2));
  const unitHeight = [5, 2, 1].map((factor) => factor * power).find((value) => value <= most / 2) ?? most;
  const bar = (unitHeight / most) * peak;
  const barWords = figure.unit === "" ? `σ = ${formatValue(unitHeight)}` : `${formatValue(unitHeight)} ${figure.unit}`;
  root.append("path").attr("d", `M${round(x)},${round(baseline)}v${round(-bar)}M${round(x - 2)},${round(baseline)}h4M${round(x - 2)},${round(baseline - bar)}h4`).attr("stroke", frame.theme.muted).attr("stroke-width", frame.type.thin).attr("fill", "none");
  drawText(root, frame, barWords, x + 7, baseline, { fill: frame.theme.muted });
  x += 7 + textWidth(barWords, size) + 20;
  const axes = "step ↑ · component";
  const fits = x + textWidth(axes, size) <= frame.width;
  drawText(root, frame, axes, fits ? x : left, fits ? baseline : baseline + size + 5, { fill: frame.theme.muted });
  return (fits ? 0 : size + 5) + size + 10;
}

// --- places -----------------------------------------------------------------

function isPanel(panel: Panel, place: Place): boolean {
  const { component: _, ...rest } = place;
  return samePlace(panel.place, rest);
}

export const ridgeline: FigureModule<RidgelineFigure> = {
  draw,
  neighbour(figure, place, key, arrays) {
    const index = figure.panels.findIndex((panel) => isPanel(panel, place));
    const panel = figure.panels[index];
    if (!panel) return null;
    const { right, up } = arrowStep[key];
    if (right !== 0) {
      const beside = figure.panels[index + right];
      return beside ? { ...beside.place, ...(place.component === undefined ? {} : { component: place.component }) } : null;
    }
    const component = (place.component ?? 0) - up;
    return component >= 0 && component < read(figure, { arrays, panel: panel.id }).components ? { ...panel.place, component } : null;
  },
  valueAt(figure, arrays, _metric, place, step = Infinity) {
    const panel = figure.panels.find((each) => isPanel(each, place));
    if (!panel || place.component === undefined) return null;
    const { steps, panels: [spectra] } = read(figure, { arrays, panel: panel.id });
    if (!spectra || place.component >= spectra.components) return null;
    const { components, data } = spectra;
    const at = steps.findLastIndex((each, snapshot) => each <= step && !Number.isNaN(data[snapshot * components + place.component!]!));
    return at < 0 ? NaN : data[at * components + place.component]!;
  },
  table(figure, arrays) {
    const { steps, panels } = read(figure, { arrays });
    return {
      columns: ["panel", "layer", "site", "adapter", "step", "component", "singular_value"],
      rows: panels.flatMap(({ panel, components, data }) =>
        Array.from(data, (value, index) => [panel.id, panel.place.layer ?? null, panel.place.site ?? null, panel.place.adapter ?? null, steps[Math.floor(index / components)] ?? NaN, index % components, value]),
      ),
    };
  },
};
