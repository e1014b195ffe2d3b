/** Attention patterns: every head as a thumbnail, those that differ most first, and the chosen head large with its tokens. */
import { positionAxis } from "../../probes/axes.ts";
import type { AttentionFigure, Place } from "../../probes/result.ts";
import { drawColumnLabels, drawRowLabels, planColumns, rowGutter } from "./axes.ts";
import {
  cellBox,
  cellNumbersFit,
  cellUnder,
  columnBox,
  defineHatch,
  drawCellNumbers,
  drawCells,
  gridBox,
  mostVectorCells,
  rowBox,
  type Grid,
} from "./cells.ts";
import { arrowStep, type Arrays, type Box, type Drawn, type Frame, type Group, type Mark } from "./context.ts";
import type { FigureModule } from "./figureModule.ts";
import { formatValue, indexedToken, splitTitle } from "./labels.ts";
import { drawLegend, lowRoom } from "./legend.ts";
import { drawPanelTitle, planPanels, planTitles, titleHeight } from "./panels.ts";
import { headWords, numbersOf } from "./places.ts";
import { colourScale, type ColourScale } from "./scales.ts";
import { drawText } from "./text.ts";

type Panel = AttentionFigure["panels"][number];
interface Head {
  readonly layer: number;
  readonly head: number;
}

const differenceWords = "difference between the panels";
const headName = ({ layer, head }: Head): string => `L${layer}H${head}`;

function patternOf(figure: AttentionFigure, arrays: Arrays, panel: Panel, { layer, head }: Head): Float32Array {
  const size = figure.tokens.length ** 2;
  const all = numbersOf(arrays, panel.values, figure.layers * figure.heads * size);
  const from = (layer * figure.heads + head) * size;
  return all.subarray(from, from + size);
}

/** Heads, those that differ most first; pending ones last. */
function orderedHeads(figure: AttentionFigure, arrays: Arrays): Head[] {
  const turns = figure.order ? numbersOf(arrays, figure.order, figure.layers * figure.heads) : null;
  const heads = Array.from({ length: figure.layers * figure.heads }, (_, index) => ({
    layer: Math.floor(index / figure.heads),
    head: index % figure.heads,
    turn: turns?.[index] ?? NaN,
  }));
  return turns
    ? heads.sort((a, b) => (Number.isNaN(b.turn) ? -1 : b.turn) - (Number.isNaN(a.turn) ? -1 : a.turn) || a.layer - b.layer || a.head - b.head)
    : heads;
}

const hasHead = (figure: AttentionFigure, place: Place | undefined): place is Place & Head =>
  place?.layer !== undefined && place.head !== undefined && place.layer < figure.layers && place.head < figure.heads;

/** The change is what thumbnails show; without one, the pattern itself. */
const thumbnailPanel = (figure: AttentionFigure): Panel => figure.panels.find(({ metric }) => metric.scale === "diverging") ?? figure.panels[0]!;

function draw(root: Group, figure: AttentionFigure, frame: Frame, top: number): Drawn {
  defineHatch(root, frame);
  const ordered = orderedHeads(figure, frame.arrays);
  const selected = frame.selection?.place;
  const chosen: Head = hasHead(figure, selected) ? selected : ordered[0]!;
  const thumbnails = drawThumbnails(root, figure, frame, ordered, chosen, top);
  const focus = drawFocus(root, figure, frame, chosen, selected?.position ?? -1, thumbnails.bottom);

  return {
    height: focus.bottom,
    right: Math.max(...[...thumbnails.boxes, ...focus.grids.map(gridBox)].map(({ x, width }) => x + width)),
    cellAt: (px, py) => {
      const thumbnail = thumbnails.boxes.findIndex(
        (box) => px >= box.x && px < box.x + box.width && py >= box.y && py < box.y + box.height + frame.type.axis + 3,
      );
      if (thumbnail >= 0) {
        const head = ordered[thumbnail]!;
        const turn = figure.order ? numbersOf(frame.arrays, figure.order, figure.layers * figure.heads)[head.layer * figure.heads + head.head]! : NaN;
        return {
          place: { layer: head.layer, head: head.head },
          label: headName(head),
          value: turn,
          lines: figure.order ? [{ label: differenceWords, value: formatValue(turn) }] : [],
          box: thumbnails.boxes[thumbnail]!,
        };
      }
      for (const [index, grid] of focus.grids.entries()) {
        const found = cellUnder(grid, px, py);
        if (!found) continue;
        const panel = figure.panels[index]!;
        const at = found.row * figure.tokens.length + found.col;
        const value = patternOf(figure, frame.arrays, panel, chosen)[at]!;
        const [to, from] = [indexedToken(figure.tokens[found.row]!, found.row), indexedToken(figure.tokens[found.col]!, found.col)];
        return {
          place: { ...chosen, position: found.row },
          label: `${splitTitle(panel.title).name}, ${headName(chosen)}, ${to} looks at ${from}`,
          value,
          lines: figure.panels.map((each) => ({ label: each.title, value: formatValue(patternOf(figure, frame.arrays, each, chosen)[at]!) })),
          box: cellBox(grid, found.row, found.col),
        };
      }
      return null;
    },
    marks: (place): Mark[] => {
      const inThumbnails = thumbnails.boxes.flatMap((box, index): Mark[] => {
        const head = ordered[index]!;
        const fits = place.head !== undefined && (place.layer === undefined || place.layer === head.layer) && place.head === head.head;
        return fits
          ? [{ box: { x: box.x - 1, y: box.y - 1, width: box.width + 2, height: box.height + 2 }, strength: place.layer === undefined ? "band" : "cell" }]
          : [];
      });
      const position = place.position;
      if (position === undefined || position >= figure.tokens.length) return inThumbnails;
      return [
        ...inThumbnails,
        ...focus.grids.flatMap((grid): Mark[] => [
          { box: rowBox(grid, position), strength: "band" },
          ...(place.head === undefined ? [{ box: columnBox(grid, position), strength: "band" as const }] : []),
        ]),
      ];
    },
  };
}

/** Fewest pixels of a thumbnail in which a pattern can be told from another. */
const thumbnailSize = { screen: 42, print: 28 } as const;
const mostThumbnailLines = { screen: 4, print: 6 } as const;

function drawThumbnails(
  root: Group,
  figure: AttentionFigure,
  frame: Frame,
  ordered: readonly Head[],
  chosen: Head,
  top: number,
): { boxes: Box[]; bottom: number } {
  const { axis: size } = frame.type;
  const side = thumbnailSize[frame.preset];
  const gap = 8;
  const perLine = Math.max(1, Math.floor((frame.width + gap) / (side + gap)));
  const shown = ordered.slice(0, perLine * mostThumbnailLines[frame.preset]);
  const panel = thumbnailPanel(figure);
  const lineHeight = side + size + 9;
  const remark = [
    splitTitle(panel.title).name.toLowerCase(),
    figure.order ? "most different first" : "by layer",
    ...(shown.length < ordered.length ? [`${shown.length} of ${ordered.length} shown`] : []),
  ].join(", ");
  const title = `Heads · ${remark}`;
  const titles = planTitles(frame, [title], frame.width);
  drawPanelTitle(root, frame, title, 0, top, frame.width, titles);
  const gridTop = top + titleHeight(frame, titles);
  const scale = colourScale(
    panel.metric,
    shown.map((head) => patternOf(figure, frame.arrays, panel, head)),
    frame.theme,
  );
  const group = root.append("g").attr("class", "thumbnails");
  const boxes = shown.map((head, index) => {
    const box = { x: (index % perLine) * (side + gap), y: gridTop + Math.floor(index / perLine) * lineHeight, width: side, height: side };
    const isChosen = head.layer === chosen.layer && head.head === chosen.head;
    const count = figure.tokens.length;
    drawCells(
      group,
      frame,
      { x: box.x, y: box.y, rows: count, cols: count, cellWidth: side / count, cellHeight: side / count, up: false, causal: true },
      patternOf(figure, frame.arrays, panel, head),
      scale,
      true,
    );
    drawText(group, frame, headName(head), box.x + side / 2, box.y + side + size + 2, {
      anchor: "middle",
      bold: isChosen,
      fill: isChosen ? frame.theme.ink : frame.theme.muted,
    });
    return box;
  });
  return { boxes, bottom: gridTop + Math.ceil(shown.length / perLine) * lineHeight + 10 };
}

function drawFocus(root: Group, figure: AttentionFigure, frame: Frame, chosen: Head, strong: number, top: number): { grids: Grid[]; bottom: number } {
  const axis = positionAxis(figure.tokens);
  const count = figure.tokens.length;
  const print = frame.preset === "print";
  const scales = new Map<string, ColourScale>();
  const patterns = figure.panels.map((panel) => patternOf(figure, frame.arrays, panel, chosen));
  for (const { metric } of figure.panels) {
    if (!scales.has(metric.id))
      scales.set(
        metric.id,
        colourScale(
          metric,
          patterns.filter((_, index) => figure.panels[index]!.metric.id === metric.id),
          frame.theme,
        ),
      );
  }
  const gutter = rowGutter(axis, frame);
  const gap = print ? 12 : 22;
  const narrowest = Math.max(frame.type.axis + 1.6, 0);
  const least = narrowest * count <= frame.width - gutter ? narrowest : 220 / count;
  const widest = Math.min(print ? 36 : 34, (print ? 300 : 420) / count);
  const sketch = planPanels(frame.width, figure.panels.length, count, gutter, gap, least, widest);
  const left = Math.max(gutter, planColumns(axis, sketch.cellWidth, frame).overhang);
  const { perLine, cellWidth } = planPanels(frame.width, figure.panels.length, count, left, gap, Math.min(least, sketch.cellWidth), widest);
  const plan = planColumns(axis, cellWidth, frame);
  const asImage = count * count * figure.panels.length > mostVectorCells;
  const titleRoom = count * cellWidth + gap - 8;
  const titles = figure.panels.map((panel) => `${splitTitle(panel.title).name} · ${headName(chosen)}`);
  const plans = planTitles(frame, titles, titleRoom);
  const head = titleHeight(frame, plans);
  const numbered = !asImage && cellNumbersFit(frame, patterns, { cellWidth, cellHeight: cellWidth });
  let y = top;
  const grids: Grid[] = [];
  figure.panels.forEach((panel, index) => {
    const column = index % perLine;
    if (index > 0 && column === 0) y += head + count * cellWidth + plan.height + 6;
    const grid: Grid = {
      x: left + column * (count * cellWidth + gap),
      y: y + head,
      rows: count,
      cols: count,
      cellWidth,
      cellHeight: cellWidth,
      up: false,
      causal: true,
    };
    grids.push(grid);
    const group = root.append("g").attr("class", "panel").attr("data-panel", panel.id);
    drawPanelTitle(group, frame, titles[index]!, grid.x, y, titleRoom, plans);
    drawCells(group, frame, grid, patterns[index]!, scales.get(panel.metric.id)!, asImage);
    if (numbered) drawCellNumbers(group, frame, grid, patterns[index]!, scales.get(panel.metric.id)!);
    if (column === 0) drawRowLabels(group, frame, axis, grid, strong);
    drawColumnLabels(group, frame, axis, plan, grid, strong);
  });
  y += head + count * cellWidth + plan.height + 10;
  [...scales.values()].forEach((scale, index) => {
    y += drawLegend(
      root,
      frame,
      scale,
      gutter,
      y,
      index === 0 ? "rows look, columns are looked at" : "",
      figure.nulls?.find((band) => band.metric === scale.metric.id),
      lowRoom(frame, scales.values()),
    );
  });
  return { grids, bottom: y };
}

export const attention: FigureModule<AttentionFigure> = {
  draw,
  neighbour(figure, place, key) {
    if (!hasHead(figure, place)) return null;
    const { right, up } = arrowStep[key];
    const [layer, head] = [place.layer + up, place.head + right];
    return layer < 0 || layer >= figure.layers || head < 0 || head >= figure.heads ? null : { ...place, layer, head };
  },
  /** How much the head differs; a single weight would need two positions. */
  valueAt(figure, arrays, _metric, place) {
    return hasHead(figure, place) && figure.order
      ? numbersOf(arrays, figure.order, figure.layers * figure.heads)[place.layer * figure.heads + place.head]!
      : null;
  },
  refs(figure, change) {
    const { layers, heads, tokens, order } = figure;
    const panels = figure.panels.map((panel) => ({ ...panel, values: change(panel.values, [layers, heads, tokens.length, tokens.length]) }));
    return { ...figure, panels, ...(order ? { order: change(order, [layers, heads]) } : {}) };
  },
  firstPlace: () => ({ layer: 0, head: 0 }),
  numberWords: () => ({ label: differenceWords, unit: "" }),
  inLayer(figure, arrays, { layer }) {
    if (!figure.order) return [];
    const turns = numbersOf(arrays, figure.order, figure.layers * figure.heads);
    return Array.from({ length: figure.heads }, (_, head) => ({ label: headWords({ layer, head }), value: turns[layer * figure.heads + head] ?? NaN }));
  },
  tokens: ({ tokens }) => tokens,
  table(figure, arrays) {
    const count = figure.tokens.length;
    const values = figure.panels.map((panel) => numbersOf(arrays, panel.values, figure.layers * figure.heads * count * count));
    return {
      columns: ["layer", "head", "destination", "destination_token", "source", "source_token", ...figure.panels.map(({ id }) => id)],
      // Later tokens are never looked at, so those cells are left out.
      rows: Array.from({ length: figure.layers * figure.heads }, (_, head) =>
        figure.tokens.flatMap((to, destination) =>
          figure.tokens
            .slice(0, destination + 1)
            .map((from, source) => [
              Math.floor(head / figure.heads),
              head % figure.heads,
              destination,
              to,
              source,
              from,
              ...values.map((each) => each[(head * count + destination) * count + source]!),
            ]),
        ),
      ).flat(),
    };
  },
};
