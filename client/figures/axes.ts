/** Labels of rows and columns: thinned when there are many, slanted when they are long, never overlapping. */
import type { Axis, Place } from "../../probes/result.ts";
import { rowTop, type Grid } from "./cells.ts";
import type { Frame, Group } from "./context.ts";
import { labelStep, shorten, siteKind, tokenLabel } from "./labels.ts";
import { baselineShift, drawText, round } from "./text.ts";
import { fitText, textWidth } from "./textWidth.ts";

/** Characters of a label: on screen the pointer tells the rest, on paper only a name that would take two fifths of it is cut. */
const longestLabel = ({ preset, type, width }: Frame): number => (preset === "screen" ? 14 : Math.max(14, Math.floor((0.4 * width) / (0.6 * type.axis))));
const isCounting = (axis: Axis): boolean => axis.name === "layer" || axis.name === "head";
/** A row that is no layer or head of its own: "out". */
const isNamedRow = (axis: Axis, index: number): boolean =>
  isCounting(axis) && axis.labels[index] !== String(axis.places[index]?.[axis.name === "layer" ? "layer" : "head"]);
const written = (axis: Axis, index: number, frame: Frame): string =>
  isCounting(axis) ? axis.labels[index]! : shorten(tokenLabel(axis.labels[index]!), longestLabel(frame));

/** Space that row labels take on the left of a grid. */
export const rowGutter = (axis: Axis, frame: Frame): number =>
  8 +
  axis.labels.reduce(
    (most, _, index) => Math.max(most, textWidth(written(axis, index, frame), frame.type.axis, isCounting(axis) ? "sans" : "mono")),
    textWidth("layer", frame.type.axis) - 8,
  );

/** @param strong a row whose label stands out, always drawn */
export function drawRowLabels(root: Group, frame: Frame, axis: Axis, grid: Grid, strong: number): void {
  const group = root.append("g").attr("class", "rows");
  const step = labelStep(grid.cellHeight, frame.type.axis + (frame.preset === "print" ? 1 : 2));
  const named = axis.labels.findIndex((_, index) => isNamedRow(axis, index));
  axis.labels.forEach((_, index) => {
    const isStrong = index === strong;
    // A label that is not a number ("out") sits at an end and matters more than the last step before it.
    const isNamed = isNamedRow(axis, index);
    const crowded = (other: number) => other >= 0 && other !== index && Math.abs(other - index) * grid.cellHeight < frame.type.axis + 1;
    if (!isStrong && !isNamed && (index % step !== 0 || crowded(strong))) return;
    if (!isNamed && !isStrong && isCounting(axis) && crowded(named)) return;
    drawText(group, frame, written(axis, index, frame), grid.x - 6, rowTop(grid, index) + grid.cellHeight / 2 + baselineShift(frame.type.axis), {
      anchor: "end",
      fill: isStrong ? frame.theme.ink : frame.theme.muted,
      bold: isStrong,
      mono: !isCounting(axis),
    });
  });
}

export interface ColumnPlan {
  readonly kind: "slanted" | "flat" | "grouped";
  readonly turn: number;
  readonly step: number;
  readonly height: number;
  /** How far the labels reach to the left of the grid. */
  readonly overhang: number;
  readonly groups: readonly ColumnGroup[];
}
export interface ColumnGroup {
  readonly label: string;
  readonly from: number;
  readonly to: number;
}

/** "mlp.in", "facts-edit·mlp.in": what the columns of one site share. */
const siteOf = ({ adapter, site }: Place): string => `${adapter === undefined ? "" : `${adapter}·`}${siteKind(site ?? "")}`;

/** Columns of one site side by side: "mlp.in#0", "mlp.in#1"… share one label. */
export function columnGroups(axis: Axis): ColumnGroup[] {
  if (axis.name !== "component" || axis.places.some(({ site }) => site === undefined)) return [];
  const groups: ColumnGroup[] = [];
  for (const [index, place] of axis.places.entries()) {
    const label = siteOf(place);
    const last = groups.at(-1);
    if (last?.label === label) groups[groups.length - 1] = { ...last, to: index + 1 };
    else groups.push({ label, from: index, to: index + 1 });
  }
  return groups.length < axis.labels.length ? groups : [];
}

const radians = (degrees: number): number => (degrees * Math.PI) / 180;
/** Between slanted labels; paper is read from nearer. */
const slantGap = ({ preset }: Frame): number => (preset === "print" ? 1 : 1.5);
/** The gentlest slant at which neighbours `pitch` apart do not touch; thinning only when upright ones would. */
function slant(pitch: number, needed: number): { turn: number; step: number } {
  const turn = [40, 60, 90].find((degrees) => pitch * Math.sin(radians(degrees)) >= needed);
  if (turn !== undefined) return { turn, step: 1 };
  return { turn: 60, step: labelStep(pitch * Math.sin(radians(60)), needed) };
}

export function planColumns(axis: Axis, cellWidth: number, frame: Frame): ColumnPlan {
  const size = frame.type.axis;
  const face = isCounting(axis) ? "sans" : "mono";
  const groups = columnGroups(axis);
  const spans =
    groups.length > 0
      ? groups.map((group) => ({ text: group.label, middle: ((group.from + group.to) / 2) * cellWidth, room: (group.to - group.from) * cellWidth }))
      : axis.labels.map((_, index) => ({ text: written(axis, index, frame), middle: (index + 0.5) * cellWidth, room: cellWidth }));
  const rowsBelow = groups.length > 0 && cellWidth >= 9 ? size + 2 : 0;
  const fits = spans.every((span) => textWidth(span.text, size, face) + 6 <= span.room);
  if (fits || isCounting(axis)) {
    const step = fits ? 1 : labelStep(cellWidth, spans.reduce((most, span) => Math.max(most, textWidth(span.text, size, face)), 0) + 6);
    return { kind: groups.length > 0 ? "grouped" : "flat", turn: 0, step, height: rowsBelow + size + 8, overhang: 0, groups };
  }
  const { turn, step } = slant(Math.min(...spans.map((span) => span.room)), size + slantGap(frame));
  const shown = spans.filter((_, index) => index % step === 0);
  const longest = shown.reduce((most, span) => Math.max(most, textWidth(span.text, size, "mono")), 0);
  const overhang = shown.reduce((most, span) => Math.max(most, textWidth(span.text, size, "mono") * Math.cos(radians(turn)) + 4 - span.middle), 0);
  return {
    kind: groups.length > 0 ? "grouped" : "slanted",
    turn,
    step,
    height: rowsBelow + 10 + longest * Math.sin(radians(turn)) + size * 0.5 * Math.cos(radians(turn)),
    overhang,
    groups,
  };
}

/** @param strong a column whose label stands out, always drawn */
export function drawColumnLabels(root: Group, frame: Frame, axis: Axis, plan: ColumnPlan, grid: Grid, strong: number): void {
  const group = root.append("g").attr("class", "columns");
  const bottom = grid.y + grid.rows * grid.cellHeight;
  const { axis: size } = frame.type;
  const one = (text: string, middle: number, top: number, isStrong: boolean) => {
    const style = { fill: isStrong ? frame.theme.ink : frame.theme.muted, bold: isStrong, mono: !isCounting(axis) };
    if (plan.turn === 0) drawText(group, frame, text, middle, top + size + 2, { ...style, anchor: "middle" });
    else
      drawText(group, frame, text, middle + size * 0.35 * Math.sin(radians(plan.turn)), top + 5 + size * 0.45, { ...style, anchor: "end", turn: -plan.turn });
  };
  if (plan.kind === "grouped") {
    const showsNumbers = grid.cellWidth >= 9;
    for (const { label, from, to } of plan.groups) {
      const [left, right] = [grid.x + from * grid.cellWidth, grid.x + to * grid.cellWidth];
      if (showsNumbers) {
        const step = labelStep(grid.cellWidth, textWidth("00", size) + 2);
        for (let index = from; index < to; index++) {
          if ((index - from) % step === 0 || index === strong)
            one(String(axis.places[index]?.component ?? ""), left + (index - from + 0.5) * grid.cellWidth, bottom, index === strong);
        }
      }
      const top = bottom + (showsNumbers ? size + 5 : 3);
      if (plan.turn === 0)
        group
          .append("path")
          .attr("d", `M${round(left + 1)},${round(top)}H${round(right - 2)}`)
          .attr("stroke", frame.theme.rule)
          .attr("stroke-width", frame.type.thin);
      if (plan.turn === 0)
        drawText(group, frame, fitText(label, right - left, size, "mono"), (left + right) / 2, top + size + 1, {
          fill: strong >= from && strong < to ? frame.theme.ink : frame.theme.muted,
          anchor: "middle",
          mono: true,
        });
      else one(label, (left + right) / 2, top, strong >= from && strong < to);
    }
    return;
  }
  const needed = plan.turn === 0 ? plan.step * grid.cellWidth : (size + slantGap(frame)) / Math.sin(radians(plan.turn));
  axis.labels.forEach((_, index) => {
    const isStrong = index === strong;
    const crowded = strong >= 0 && !isStrong && Math.abs(strong - index) * grid.cellWidth < needed - 1e-6;
    if (isStrong || (index % plan.step === 0 && !crowded)) one(written(axis, index, frame), grid.x + (index + 0.5) * grid.cellWidth, bottom, isStrong);
  });
}
