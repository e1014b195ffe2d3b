/** Where small multiples go: as many beside each other as stay readable, the rest on the next line. */
import type { Frame, Group } from "./context.ts";
import { splitTitle } from "./labels.ts";
import { drawText } from "./text.ts";
import { fitText, textWidth, wrapText } from "./textWidth.ts";

export interface PanelPlan {
  readonly perLine: number;
  readonly cellWidth: number;
}

/**
 * @param left space for row labels, once a line
 * @param narrowest cell width below which panels rather wrap
 */
export function planPanels(width: number, count: number, cols: number, left: number, gap: number, narrowest: number, widest: number): PanelPlan {
  for (let beside = count; beside >= 1; beside--) {
    const exact = (width - left - (beside - 1) * gap) / (beside * cols);
    if (exact < narrowest && beside > 1) continue;
    // Whole pixels keep hairlines crisp, but must not cost a dense grid a large part of its width.
    const cellWidth = Math.min(widest, exact >= 8 ? Math.floor(exact) : exact);
    const lines = Math.ceil(count / beside);
    return { perLine: Math.ceil(count / lines), cellWidth };
  }
  return { perLine: 1, cellWidth: Math.max(0.1, (width - left) / cols) };
}

const titleSize = (frame: Frame): number => (frame.preset === "print" ? frame.type.text : 12);

/** Lines that the names of panels side by side take, and their remarks under them; none where remarks stand beside the names. */
export interface TitlePlan {
  readonly names: number;
  readonly remarks: number;
}
const oneLine: TitlePlan = { names: 1, remarks: 0 };

/** Remarks go under the names when one of them has no room beside its name; on paper nothing is cut, so both may take several lines. */
export function planTitles(frame: Frame, titles: readonly string[], room: number): TitlePlan {
  const parts = titles.map(splitTitle);
  const size = titleSize(frame);
  const below = parts.some(({ name, remark }) => remark !== "" && textWidth(name, size, "bold") + 6 + textWidth(remark, frame.type.axis) > room);
  if (frame.preset === "screen") return { names: 1, remarks: below ? 1 : 0 };
  const most = (lines: readonly (readonly string[])[]): number => Math.max(1, ...lines.map(({ length }) => length));
  const names = most(parts.map(({ name }) => wrapText(name, room, size, "bold")));
  return { names, remarks: below ? most(parts.map(({ remark }) => wrapText(remark, room, frame.type.axis))) : 0 };
}

/** Height of a panel's title above its grid. */
export const titleHeight = (frame: Frame, plan = oneLine): number => plan.names * (frame.type.text + 4) + 5 + plan.remarks * (frame.type.axis + 4);

/** "Residual stream" strong, its remark quiet beside or below it; on screen cut where the panel ends. */
export function drawPanelTitle(root: Group, frame: Frame, title: string, x: number, top: number, room: number, plan = oneLine): void {
  const { name, remark } = splitTitle(title);
  const size = titleSize(frame);
  const lines = plan.names > 1 ? wrapText(name, room, size, "bold") : [fitText(name, room, size, "bold")];
  const first = top + frame.type.text;
  const drawn = lines.map((line, index) => drawText(root, frame, line, x, first + index * (frame.type.text + 4), { size, bold: true }));
  if (plan.remarks > 0) {
    const under = first + plan.names * (frame.type.text + 4);
    const words = plan.remarks > 1 ? wrapText(remark, room, frame.type.axis) : [fitText(remark, room, frame.type.axis)];
    words.forEach((line, index) => drawText(root, frame, line, x, under + index * (frame.type.axis + 4), { fill: frame.theme.muted }));
    return;
  }
  const rest = fitText(remark, room - textWidth(lines.at(-1) ?? "", size, "bold") - 6, frame.type.axis);
  // Inside the same text, so that it follows the name even in a font of other widths.
  if (rest !== "")
    drawn.at(-1)?.append("tspan").attr("dx", 6).attr("font-size", frame.type.axis).attr("font-weight", 400).attr("fill", frame.theme.muted).text(rest);
}
