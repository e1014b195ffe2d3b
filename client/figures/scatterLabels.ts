/** Names beside points: the selected one's, then those farthest from the others, as many as lie on nothing else. */
import { mean } from "d3-array";
import type { Box } from "./context.ts";
import { fitMiddle, textWidth } from "./textWidth.ts";

export interface NamedPoint {
  readonly x: number;
  readonly y: number;
  readonly text: string;
  readonly isStrong: boolean;
}
export interface PointLabel {
  readonly x: number;
  /** Baseline. */
  readonly y: number;
  readonly text: string;
  readonly anchor: "start" | "end";
  readonly isStrong: boolean;
}

const mostLabels = 16;
const widest = 170;

const overlap = (a: Box, b: Box): boolean => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

export function outlierLabels(points: readonly NamedPoint[], plot: Box, size: number): PointLabel[] {
  const middle = { x: mean(points, ({ x }) => x) ?? 0, y: mean(points, ({ y }) => y) ?? 0 };
  const far = (point: NamedPoint): number => Math.hypot((point.x - middle.x) / plot.width, (point.y - middle.y) / plot.height);
  const ranked = points.toSorted((a, b) => Number(b.isStrong) - Number(a.isStrong) || far(b) - far(a));
  const dots = points.map(({ x, y }): Box => ({ x: x - 3, y: y - 3, width: 6, height: 6 }));
  const taken: Box[] = [];
  const labels: PointLabel[] = [];
  for (const point of ranked) {
    if (labels.length >= mostLabels) break;
    const text = fitMiddle(point.text, widest, size, "mono");
    const width = textWidth(text, size, "mono");
    const own = dots[points.indexOf(point)];
    for (const anchor of ["start", "end"] as const) {
      const box: Box = { x: anchor === "start" ? point.x + 6 : point.x - 6 - width, y: point.y - size / 2, width, height: size };
      const isInside = box.x >= plot.x && box.x + width <= plot.x + plot.width;
      const isFree = taken.every((other) => !overlap(box, other)) && dots.every((dot) => dot === own || !overlap(box, dot));
      if (!isInside || !(isFree || point.isStrong)) continue;
      taken.push(box);
      labels.push({ x: anchor === "start" ? point.x + 6 : point.x - 6, y: point.y + size * 0.355, text, anchor, isStrong: point.isStrong });
      break;
    }
  }
  return labels;
}
