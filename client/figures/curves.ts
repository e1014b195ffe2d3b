/** What plots of curves share: ticks, colours by layer, labels at the ends of curves. */
import type { Frame, Group } from "./context.ts";
import { baselineShift, drawText, round } from "./text.ts";
import { mix } from "./theme.ts";

/** Powers of ten, with 2 and 5 between them where there is room. */
export function logTicks(scale: { domain(): number[] }, height: number, size: number): number[] {
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

/** From early to late layers or steps, about the adapter's own colour. */
export function adapterRamp(frame: Frame, adapter: string): [string, string] {
  const colour = frame.adapterColours[adapter] ?? frame.theme.categorical[0]!;
  return frame.theme.name === "light"
    ? [mix(colour, "#ffffff", 0.62), mix(colour, "#000000", 0.55)]
    : [mix(colour, frame.theme.panel, 0.68), mix(colour, "#ffffff", 0.6)];
}

export interface CurveEnd {
  readonly x: number;
  readonly y: number;
  readonly text: string;
  readonly colour: string;
  readonly isStrong: boolean;
}

/** Labels at the ends of curves, each with a thread to its curve, which it may have been pushed away from. */
export function drawCurveEnds(group: Group, frame: Frame, ends: readonly CurveEnd[], top: number, height: number): void {
  const { axis: size } = frame.type;
  for (const { x, y, labelY, text, colour, isStrong } of placedLabels(ends, top, height, size)) {
    group
      .append("path")
      .attr("d", `M${round(x)},${round(y)}L${round(x + 8)},${round(labelY)}`)
      .attr("stroke", colour)
      .attr("stroke-width", frame.type.thin);
    drawText(group, frame, text, x + 11, labelY + baselineShift(size), { bold: isStrong, fill: frame.theme.ink });
  }
}

/** Up to this many labels are pushed apart rather than left out. */
export const fewCurves = 8;

/** Few labels are pushed apart; of many, those that would overlap are left out, the strong and outermost kept first. */
function placedLabels(ends: readonly CurveEnd[], top: number, height: number, size: number): (CurveEnd & { readonly labelY: number })[] {
  const order = [...ends].sort((a, b) => a.y - b.y);
  if (order.length <= fewCurves && order.length * size < height * 0.8) {
    const ys: number[] = [];
    for (const { y } of order) ys.push(Math.max(y, (ys.at(-1) ?? -Infinity) + size));
    for (let index = ys.length - 1; index >= 0; index--) ys[index] = Math.min(ys[index]!, index === ys.length - 1 ? top + height : ys[index + 1]! - size);
    return order.map((end, index) => ({ ...end, labelY: ys[index]! }));
  }
  const ranked = new Set([...order.filter(({ isStrong }) => isStrong), order[0]!, order.at(-1)!, ...order]);
  const kept: CurveEnd[] = [];
  for (const end of ranked) if (kept.every(({ y }) => Math.abs(y - end.y) >= size)) kept.push(end);
  return kept.map((end) => ({ ...end, labelY: end.y }));
}

/** A bar from the first to the last colour with a word at each end; returns its width. */
export function drawRampKey(
  root: Group,
  frame: Frame,
  id: string,
  colours: readonly [string, string],
  words: readonly [string, string],
  x: number,
  baseline: number,
  widths: readonly [number, number],
): number {
  const gradient = root.append("defs").append("linearGradient").attr("id", `${frame.scope}-${id}`);
  colours.forEach((colour, index) => gradient.append("stop").attr("offset", index).attr("stop-color", colour));
  drawText(root, frame, words[0], x, baseline, { fill: frame.theme.muted });
  const left = x + widths[0] + 6;
  root
    .append("rect")
    .attr("x", round(left))
    .attr("y", round(baseline - 8))
    .attr("width", 80)
    .attr("height", 8)
    .attr("fill", `url(#${frame.scope}-${id})`);
  drawText(root, frame, words[1], left + 86, baseline, { fill: frame.theme.muted });
  return widths[0] + 6 + 86 + widths[1];
}
