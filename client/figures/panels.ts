/** Where small multiples go: as many beside each other as stay readable, the rest on the next line. */
import type { Frame, Group } from "./context.ts";
import { splitTitle } from "./labels.ts";
import { drawText } from "./text.ts";
import { fitText, textWidth } from "./textWidth.ts";

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

/** Whether some remark does not fit beside its name; then all go under it. */
export const remarksBelow = (frame: Frame, titles: readonly string[], room: number): boolean =>
  titles.map(splitTitle).some(({ name, remark }) => remark !== "" && textWidth(name, titleSize(frame), "bold") + 6 + textWidth(remark, frame.type.axis) > room);

/** Height of a panel's title above its grid. */
export const titleHeight = (frame: Frame, below = false): number => frame.type.text + 9 + (below ? frame.type.axis + 4 : 0);

/** "Residual stream" strong, its remark quiet beside or below it; cut where the panel ends. */
export function drawPanelTitle(root: Group, frame: Frame, title: string, x: number, top: number, room: number, below = false): void {
  const { name, remark } = splitTitle(title);
  const size = titleSize(frame);
  const shown = fitText(name, room, size, "bold");
  const line = drawText(root, frame, shown, x, top + frame.type.text, { size, bold: true });
  const after = below ? 0 : textWidth(shown, size, "bold") + 6;
  const rest = fitText(remark, room - after, frame.type.axis);
  if (rest === "") return;
  if (below) drawText(root, frame, rest, x, top + frame.type.text + frame.type.axis + 4, { fill: frame.theme.muted });
  // Inside the same text, so that it follows the name even in a font of other widths.
  else line.append("tspan").attr("dx", 6).attr("font-size", frame.type.axis).attr("font-weight", 400).attr("fill", frame.theme.muted).text(rest);
}
