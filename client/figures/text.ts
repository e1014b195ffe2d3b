/** One line of text in a figure. */
import type { Selection } from "d3-selection";
import type { Frame, Group } from "./context.ts";

export interface TextStyle {
  readonly size?: number;
  readonly fill?: string;
  readonly anchor?: "start" | "middle" | "end";
  readonly mono?: boolean;
  readonly bold?: boolean;
  /** Degrees about the anchor. */
  readonly turn?: number;
}

/** `y` is the baseline. */
export function drawText(
  group: Group,
  frame: Frame,
  text: string,
  x: number,
  y: number,
  style: TextStyle = {},
): Selection<SVGTextElement, unknown, null, undefined> {
  const node = group
    .append("text")
    .attr("x", round(x))
    .attr("y", round(y))
    .attr("font-size", round(style.size ?? frame.type.axis))
    .attr("fill", style.fill ?? frame.theme.ink)
    // The bundled fonts have no double bar.
    .text(text.replaceAll("‖", "||"));
  if (style.anchor && style.anchor !== "start") node.attr("text-anchor", style.anchor);
  if (style.mono) node.attr("font-family", frame.type.mono);
  if (style.bold) node.attr("font-weight", 600);
  if (style.turn) node.attr("transform", `rotate(${style.turn} ${round(x)} ${round(y)})`);
  return node;
}

/** Hundredths of a pixel are enough, and keep the file small. */
export const round = (value: number): number => Math.round(value * 100) / 100;

/** From the middle of a line to its baseline, for letters of this size. */
export const baselineShift = (size: number): number => 0.355 * size;
