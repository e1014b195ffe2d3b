/** Spectra over time as heat: a column a snapshot, a row a component. */
import type { RidgelineFigure } from "../../probes/result.ts";
import { cellBox, cellUnder, drawCells, gridBox, mostVectorCells, rowBox, type Grid } from "./cells.ts";
import { type Drawn, type Frame, type Group, type Mark } from "./context.ts";
import { formatValue, labelStep } from "./labels.ts";
import { drawLegend } from "./legend.ts";
import { drawMarkers, markerRoom } from "./markers.ts";
import { drawPanelTitle, planPanels, titleHeight } from "./panels.ts";
import { colourScale } from "./scales.ts";
import { baselineShift, drawText, round } from "./text.ts";
import { textWidth } from "./textWidth.ts";

import { cellOf, isPanel, markersOf, snapshotAt, type Read } from "./ridgelineRead.ts";

export function drawHeat(root: Group, figure: RidgelineFigure, frame: Frame, top: number, { steps, panels, components }: Read): Drawn {
  const { axis: size } = frame.type;
  const scale = colourScale(
    { id: "value", label: figure.unit || "singular value", unit: "", scale: "sequential" },
    panels.map(({ data }) => data),
    frame.theme,
  );
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
    for (let component = 0; component < own; component += rowEvery)
      drawText(group, frame, String(component), grid.x - 6, grid.y + (component + 0.5) * cellHeight + baselineShift(size), {
        anchor: "end",
        fill: frame.theme.muted,
      });
    drawColumnSteps(group, frame, steps, grid, components * cellHeight);
    drawMarkers(group, frame, markersOf(figure, panel), {
      x: (step) =>
        grid.x +
        (Math.max(
          0,
          steps.findIndex((each) => each >= step),
        ) +
          0.5) *
          cellWidth,
      left: grid.x,
      right: grid.x + cols * cellWidth + 120,
      top: grid.y,
      height: 0,
      lanes,
      isTicksOnly: panels.length > 1,
    });
    if (frame.step !== undefined && at >= 0)
      group
        .append("rect")
        .attr("class", "step")
        .attr("x", round(grid.x + at * cellWidth - 0.5))
        .attr("y", round(grid.y - 2))
        .attr("width", round(Math.max(cellWidth, 2)))
        .attr("height", round(own * cellHeight + 4))
        .attr("fill", "none")
        .attr("stroke", frame.theme.accent)
        .attr("stroke-width", 1);
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
    drawText(group, frame, formatValue(step), isTight ? grid.x + grid.cols * grid.cellWidth : middle, grid.y + height + size + 3, {
      anchor: isTight ? "end" : "middle",
      fill: frame.theme.muted,
    });
  });
}

/** `[component, snapshot]` of `[snapshot, component]`. */
function transposed(data: Float32Array, snapshots: number, components: number): Float32Array {
  const turned = new Float32Array(data.length);
  for (let snapshot = 0; snapshot < snapshots; snapshot++)
    for (let component = 0; component < components; component++) turned[component * snapshots + snapshot] = data[snapshot * components + component]!;
  return turned;
}

// --- ridges -----------------------------------------------------------------
