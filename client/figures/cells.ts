/** A matrix of coloured cells: rectangles when there are few, one embedded image when there are many. */
import { rgb } from "d3-color";
import type { Box, Frame, Group } from "./context.ts";
import { formatCell } from "./labels.ts";
import { pngDataUrl } from "./png.ts";
import type { ColourScale } from "./scales.ts";
import { baselineShift, drawText, round } from "./text.ts";
import { textWidth } from "./textWidth.ts";
import { inkOn } from "./theme.ts";

/** Above this many cells in a figure they are drawn as an image. */
export const mostVectorCells = 4096;

export interface Grid {
  readonly x: number;
  readonly y: number;
  readonly rows: number;
  readonly cols: number;
  readonly cellWidth: number;
  readonly cellHeight: number;
  /** Row 0 at the bottom. */
  readonly up: boolean;
  /** Only columns up to the row exist: later tokens are never looked at. */
  readonly causal?: boolean;
}

export const gridBox = (grid: Grid): Box => ({ x: grid.x, y: grid.y, width: grid.cols * grid.cellWidth, height: grid.rows * grid.cellHeight });
export const rowTop = (grid: Grid, row: number): number => grid.y + (grid.up ? grid.rows - 1 - row : row) * grid.cellHeight;
export const cellBox = (grid: Grid, row: number, col: number): Box => ({
  x: grid.x + col * grid.cellWidth,
  y: rowTop(grid, row),
  width: grid.cellWidth,
  height: grid.cellHeight,
});
export const rowBox = (grid: Grid, row: number): Box => ({ ...gridBox(grid), y: rowTop(grid, row), height: grid.cellHeight });
export const columnBox = (grid: Grid, col: number): Box => ({ ...gridBox(grid), x: grid.x + col * grid.cellWidth, width: grid.cellWidth });

const exists = (grid: Grid, index: number): boolean => grid.causal !== true || index % grid.cols <= Math.floor(index / grid.cols);

/** Row and column under a point, or null outside. */
export function cellUnder(grid: Grid, x: number, y: number): { row: number; col: number } | null {
  const col = Math.floor((x - grid.x) / grid.cellWidth);
  const down = Math.floor((y - grid.y) / grid.cellHeight);
  if (col < 0 || col >= grid.cols || down < 0 || down >= grid.rows) return null;
  const row = grid.up ? grid.rows - 1 - down : down;
  return exists(grid, row * grid.cols + col) ? { row, col } : null;
}

export const hatchId = (frame: Frame): string => `${frame.scope}-hatch`;
/** Soft diagonal lines for what is not computed yet. */
export function defineHatch(root: Group, frame: Frame): void {
  const pattern = root
    .append("defs")
    .append("pattern")
    .attr("id", hatchId(frame))
    .attr("patternUnits", "userSpaceOnUse")
    .attr("width", 4)
    .attr("height", 4)
    .attr("patternTransform", "rotate(45)");
  pattern.append("rect").attr("width", 4).attr("height", 4).attr("fill", frame.theme.background);
  pattern.append("rect").attr("width", 1).attr("height", 4).attr("fill", frame.theme.hatch);
}
export const hatchFill = (frame: Frame): string => `url(#${hatchId(frame)})`;

/** @param values `[rows, cols]`, NaN pending */
export function drawCells(root: Group, frame: Frame, grid: Grid, values: Float32Array, scale: ColourScale, asImage: boolean): void {
  const group = root.append("g").attr("class", "cells");
  if (asImage) drawImage(group, frame, grid, values, scale);
  else drawRectangles(group, frame, grid, values, scale);
}

function drawRectangles(group: Group, frame: Frame, grid: Grid, values: Float32Array, scale: ColourScale): void {
  // Hairlines between cells only where they leave most of the cell.
  const gap = Math.min(grid.cellWidth, grid.cellHeight) >= 7 ? frame.type.thin : 0;
  group
    .selectAll("rect")
    .data(Array.from(values, (value, index) => ({ value, index })).filter(({ index }) => exists(grid, index)))
    .join("rect")
    .attr("class", ({ value }) => (Number.isNaN(value) ? "cell pending" : "cell"))
    .attr("x", ({ index }) => round(grid.x + (index % grid.cols) * grid.cellWidth))
    .attr("y", ({ index }) => round(rowTop(grid, Math.floor(index / grid.cols))))
    .attr("width", round(grid.cellWidth - gap))
    .attr("height", round(grid.cellHeight - gap))
    .attr("fill", ({ value }) => (Number.isNaN(value) ? hatchFill(frame) : scale.colour(value)));
}

const numberSize = ({ type, preset }: Frame): number => (preset === "print" ? type.axis : type.axis - 1);

/** Whether every number of all panels has room inside its cell: one panel without them would look empty. */
export function cellNumbersFit(frame: Frame, panels: readonly Float32Array[], { cellWidth, cellHeight }: Pick<Grid, "cellWidth" | "cellHeight">): boolean {
  const size = numberSize(frame);
  const fits = (value: number): boolean => Number.isNaN(value) || textWidth(formatCell(value), size) + 5 <= cellWidth;
  return size + 3 <= cellHeight && panels.every((values) => values.every(fits));
}

export function drawCellNumbers(root: Group, frame: Frame, grid: Grid, values: Float32Array, scale: ColourScale): void {
  const size = numberSize(frame);
  const group = root.append("g").attr("class", "numbers").attr("pointer-events", "none");
  values.forEach((value, index) => {
    if (Number.isNaN(value) || !exists(grid, index)) return;
    const box = cellBox(grid, Math.floor(index / grid.cols), index % grid.cols);
    drawText(group, frame, formatCell(value), box.x + (box.width - frame.type.thin) / 2, box.y + box.height / 2 + baselineShift(size), {
      size,
      anchor: "middle",
      fill: inkOn(scale.colour(value)),
    });
  });
}

/** 255 shades: an odd number, so that the zero of a diverging scale is one of them. */
const shades = 255;
function drawImage(group: Group, frame: Frame, grid: Grid, values: Float32Array, scale: ColourScale): void {
  const box = gridBox(grid);
  if (values.some((value, index) => Number.isNaN(value) && exists(grid, index)))
    place(group.append("rect").attr("class", "pending"), box).attr("fill", hatchFill(frame));
  const pixels = new Uint8Array(grid.rows * grid.cols);
  for (let row = 0; row < grid.rows; row++) {
    const line = (grid.up ? grid.rows - 1 - row : row) * grid.cols;
    for (let col = 0; col < grid.cols; col++) {
      const value = values[row * grid.cols + col]!;
      pixels[line + col] = Number.isNaN(value) || !exists(grid, row * grid.cols + col) ? 0 : 1 + Math.round(scale.share(value) * (shades - 1));
    }
  }
  const palette = Array.from({ length: shades + 1 }, (_, index): [number, number, number] => {
    const { r, g, b } = rgb(scale.colourAt(Math.max(0, index - 1) / (shades - 1)));
    return [r, g, b];
  });
  place(group.append("image"), box)
    .attr("preserveAspectRatio", "none")
    .attr("image-rendering", "pixelated")
    .attr("href", pngDataUrl(pixels, grid.cols, grid.rows, palette));
}

interface Placeable {
  attr(name: string, value: number | string): this;
}
const place = <T extends Placeable>(node: T, box: Box): T =>
  node.attr("x", round(box.x)).attr("y", round(box.y)).attr("width", round(box.width)).attr("height", round(box.height));
