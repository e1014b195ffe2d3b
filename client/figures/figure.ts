/** Draws any figure into an SVG element, in the browser and on the server alike, and answers what lies under a point. */
import { select } from "d3-selection";
import type { AnyFigure, Place } from "../../probes/result.ts";
import { moduleOf } from "./aboutFigure.ts";
import type { Arrays, Box, Cell, Drawn, FigureContext, Frame, Group, Hover } from "./context.ts";
import { drawText, round } from "./text.ts";
import { wrapText } from "./textWidth.ts";
import { types } from "./theme.ts";

export type { FigureContext, Hover } from "./context.ts";

export interface Drawing {
  readonly width: number;
  readonly height: number;
  /** The cell under a point in the figure's own pixels. */
  readonly cellAt: (x: number, y: number) => Hover | null;
}

/** Replaces what the SVG element holds. Title and subtitle are part of the picture only in print; on screen they are HTML. */
export function drawFigure(svg: SVGSVGElement, figure: AnyFigure, arrays: Arrays, context: FigureContext): Drawing {
  const frame: Frame = { ...context, arrays, type: types[context.preset], scope: `figure-${figure.id.replace(/\W/g, "-")}-${context.theme.name}` };
  const node = select(svg);
  node.selectChildren().remove();
  node
    .attr("xmlns", "http://www.w3.org/2000/svg")
    .attr("font-family", frame.type.sans)
    .attr("data-kind", figure.kind)
    .attr("role", "img")
    .attr("aria-label", figure.title);
  const background = context.preset === "print" ? node.append("rect").attr("class", "background").attr("fill", frame.theme.background) : null;
  const root: Group = node.append("g");
  const { drawn, width } = context.preset === "print" ? drawCropped(root, figure, frame) : { drawn: moduleOf(figure).draw(root, figure, frame, 0), ...frame };
  const height = Math.ceil(drawn.height);
  // A mark on a cell at the edge reaches a little beyond it.
  if (context.preset === "screen") node.attr("overflow", "visible");
  // Paper is measured in inches: a browser pixel is 1/96 of one.
  const size = (pixels: number) => (context.preset === "print" ? `${round((pixels * (context.zoom ?? 1)) / 96)}in` : String(round(pixels)));
  node
    .attr("width", size(width))
    .attr("height", size(height))
    .attr("viewBox", `0 0 ${round(width)} ${height}`);
  background?.attr("width", round(width)).attr("height", height);

  const overlay: Group = node.append("g").attr("class", "marks").attr("pointer-events", "none").attr("fill", "none");
  if (!context.hidesMarks) drawMarks(overlay, frame, drawn, context.selection?.place ?? null, context.pins ?? []);
  listen(svg, frame, drawn);
  const cellAt = (x: number, y: number) => {
    const cell = drawn.cellAt(x, y);
    return cell ? hoverOf(cell) : null;
  };
  return { width, height, cellAt };
}

/** No paper is narrower: words under the drawing need some room. */
const leastWidth = 2.5 * 96;
/** So little free space is not worth a figure that is a little narrower than the one above it. */
const worthCropping = 24;

/** Drawn under its title, and no wider than it is: once to see how wide, and again at that width if it is much less. */
function drawCropped(root: Group, figure: AnyFigure, frame: Frame): { drawn: Drawn; width: number } {
  const drawAt = (width: number): Drawn => {
    root.selectChildren().remove();
    const narrower = { ...frame, width };
    return moduleOf(figure).draw(root, figure, narrower, drawHead(root, figure, narrower));
  };
  const drawn = drawAt(frame.width);
  const width = Math.max(leastWidth, Math.ceil((drawn.right ?? frame.width) + 2));
  if (width > frame.width - worthCropping) return { drawn, width: frame.width };
  const again = drawAt(width);
  // With less room it may be laid out otherwise; then it keeps the whole.
  return (again.right ?? 0) <= width ? { drawn: again, width } : { drawn: drawAt(frame.width), width: frame.width };
}

function drawHead(root: Group, figure: AnyFigure, frame: Frame): number {
  const { text, axis, line } = frame.type;
  const title = wrapText(figure.title, frame.width, text, "bold");
  const subtitle = wrapText(figure.subtitle, frame.width, axis);
  title.forEach((words, index) => drawText(root, frame, words, 0, text + index * line, { size: text, bold: true }));
  const under = title.length * line;
  subtitle.forEach((words, index) => drawText(root, frame, words, 0, under + axis + index * (axis + 3.5), { fill: frame.theme.muted }));
  return under + subtitle.length * (axis + 3.5) + 8;
}

/** A ring of the page's colour under the line keeps it visible on cells of any colour. */
function outline(overlay: Group, frame: Frame, box: Box, colour: string, width: number, kind: string): void {
  // Around a small cell, so that its colour stays visible inside.
  const out = Math.min(box.width, box.height) < 10 ? width / 2 + 0.5 : 0;
  const ring = (stroke: string, strokeWidth: number) =>
    overlay
      .append("rect")
      .attr("class", kind)
      .attr("x", round(box.x - out))
      .attr("y", round(box.y - out))
      .attr("width", round(box.width + 2 * out))
      .attr("height", round(box.height + 2 * out))
      .attr("stroke", stroke)
      .attr("stroke-width", strokeWidth);
  if (width >= 1.5) ring(frame.theme.background, width + 1.5);
  ring(colour, width);
}

function drawMarks(overlay: Group, frame: Frame, drawn: Drawn, selection: Place | null, pins: readonly Place[]): void {
  for (const pin of pins)
    for (const { box, strength } of drawn.marks(pin)) if (strength === "cell") outline(overlay, frame, box, frame.theme.accent, 1.5, "pin");
  if (!selection) return;
  for (const { box, strength } of drawn.marks(selection))
    outline(
      overlay,
      frame,
      box,
      strength === "cell" ? frame.theme.ink : frame.theme.muted,
      strength === "cell" ? 2 : 1,
      strength === "cell" ? "selected" : "selected band",
    );
}

const hoverOf = ({ box, ...cell }: Cell): Hover => ({ ...cell, x: box.x + box.width / 2, y: box.y });

/** One handler an event for the whole figure; cells have none of their own. */
function listen(svg: SVGSVGElement, frame: Frame, drawn: Drawn): void {
  const { onHover, onPick, onStep } = frame;
  const node = select<SVGSVGElement, unknown>(svg);
  if (!onHover && !onPick) return;
  const hovered = node
    .append("rect")
    .attr("class", "hovered")
    .attr("fill", "none")
    .attr("stroke", frame.theme.ink)
    .attr("stroke-width", 1)
    .attr("pointer-events", "none")
    .attr("display", "none");
  const under = (event: MouseEvent): Cell | null => {
    const box = svg.getBoundingClientRect();
    const scale = box.width > 0 ? frame.width / box.width : 1;
    return drawn.cellAt((event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
  };
  const show = (cell: Cell | null) => {
    hovered.attr("display", cell ? null : "none");
    if (cell) hovered.attr("x", round(cell.box.x)).attr("y", round(cell.box.y)).attr("width", round(cell.box.width)).attr("height", round(cell.box.height));
    node.attr("cursor", cell && onPick ? "pointer" : null);
    onHover?.(cell ? hoverOf(cell) : null);
  };
  node.on("pointermove.figure", (event: PointerEvent) => show(under(event)));
  node.on("pointerleave.figure", () => show(null));
  node.on("click.figure", (event: MouseEvent) => {
    const cell = under(event);
    if (!cell) return;
    if (cell.step !== undefined) onStep?.(cell.step);
    // A curve such as the loss is nowhere in the network.
    if (Object.keys(cell.place).length > 0) onPick?.(cell.place, event.shiftKey);
  });
}
