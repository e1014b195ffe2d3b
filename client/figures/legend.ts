/** The line under a figure: colour bar with bounds, caps where numbers lie beyond them, null, pending. */
import type { NullBand } from "../../probes/result.ts";
import { hatchFill } from "./cells.ts";
import type { Frame, Group } from "./context.ts";
import { formatValue } from "./labels.ts";
import type { ColourScale } from "./scales.ts";
import { drawText, round } from "./text.ts";
import { textWidth, wrapText } from "./textWidth.ts";

interface Item {
  readonly width: number;
  draw(x: number, baseline: number): void;
}

const barHeight = 8;
const between = 20;

/**
 * @param axes what the axes are, "layer ↑ · token"
 * @param lowRoom width kept for the lower bound, so that the bars of several legends stand under each other
 * @returns the height taken
 */
export function drawLegend(root: Group, frame: Frame, scale: ColourScale, x: number, y: number, axes: string, band: NullBand | undefined, lowRoom = 0): number {
  const group = root.append("g").attr("class", "legend");
  const { axis: size } = frame.type;
  const room = frame.width - x;
  const note = (text: string): Item[] =>
    wrapText(text, room, size).map((line) => ({
      width: textWidth(line, size),
      draw: (left, baseline) => drawText(group, frame, line, left, baseline, { fill: frame.theme.muted }),
    }));
  const items: Item[] = [barItem(group, frame, scale, band, lowRoom), ...note([scale.metric.label, unitWords(scale)].filter((word) => word !== "").join(", "))];
  if (axes !== "") items.push(...note(axes));
  const beyond = beyondWords(scale);
  if (beyond !== "") items.push(...note(beyond));
  if (scale.pending > 0) {
    items.push({
      width: 16 + textWidth("not computed yet", size),
      draw: (left, baseline) => {
        group
          .append("rect")
          .attr("x", round(left))
          .attr("y", round(baseline - 8.5))
          .attr("width", 11)
          .attr("height", 9)
          .attr("fill", hatchFill(frame));
        drawText(group, frame, "not computed yet", left + 16, baseline, { fill: frame.theme.muted });
      },
    });
  }
  if (band) items.push(...note(`${formatValue(band.low)} to ${formatValue(band.high)}: ${band.words}`));
  let [left, baseline] = [x, y + size + 1];
  for (const item of items) {
    if (left > x && left + item.width > frame.width) {
      left = x;
      baseline += size + 6;
    }
    item.draw(left, baseline);
    left += item.width + between;
  }
  return baseline - y + 6;
}

/** Widest lower bound of several legends. */
export const lowRoom = (frame: Frame, scales: Iterable<ColourScale>): number =>
  Math.max(...[...scales].map(({ low }) => textWidth(formatValue(low), frame.type.axis)));

const unitWords = (scale: ColourScale): string => (scale.metric.unit === scale.metric.label ? "" : scale.metric.unit);

const cells = (count: number): string => (count === 1 ? "1 cell" : `${count} cells`);
function beyondWords(scale: ColourScale): string {
  const parts = [
    ...(scale.below.count > 0 ? [`${cells(scale.below.count)} below ${formatValue(scale.low)}, down to ${formatValue(scale.below.farthest)}`] : []),
    ...(scale.above.count > 0 ? [`${cells(scale.above.count)} above ${formatValue(scale.high)}, up to ${formatValue(scale.above.farthest)}`] : []),
  ];
  return parts.join("; ");
}

function barItem(group: Group, frame: Frame, scale: ColourScale, band: NullBand | undefined, lowRoom: number): Item {
  const { axis: size } = frame.type;
  const [low, high] = [formatValue(scale.low), formatValue(scale.high)];
  const length = frame.preset === "print" ? 90 : 144;
  const start = Math.max(textWidth(low, size), lowRoom) + 8;
  return {
    width: start + length + 8 + (scale.above.count > 0 ? 4 : 0) + textWidth(high, size),
    draw: (left, baseline) => {
      const [from, top] = [left + start, baseline - barHeight];
      const gradient = group
        .append("defs")
        .append("linearGradient")
        .attr("id", `${frame.scope}-ramp-${scale.metric.id.replace(/\W/g, "-")}`);
      const stops = 32;
      for (let stop = 0; stop <= stops; stop++)
        gradient
          .append("stop")
          .attr("offset", round(stop / stops))
          .attr("stop-color", scale.colourAt(stop / stops));
      drawText(group, frame, low, from - 8, baseline, { anchor: "end", fill: frame.theme.muted });
      group
        .append("rect")
        .attr("x", round(from))
        .attr("y", round(top))
        .attr("width", length)
        .attr("height", barHeight)
        .attr("fill", `url(#${gradient.attr("id")})`);
      const cap = (tip: number, base: number, share: number, side: string) =>
        group
          .append("path")
          .attr("class", `cap ${side}`)
          .attr("d", `M${round(base)},${round(top)}V${round(top + barHeight)}L${round(tip)},${round(top + barHeight / 2)}Z`)
          .attr("fill", scale.colourAt(share));
      if (scale.below.count > 0) cap(from - 6, from, 0, "low");
      if (scale.above.count > 0) cap(from + length + 6, from + length, 1, "high");
      if (band) {
        const [a, b] = [from + scale.share(band.low) * length, from + scale.share(band.high) * length];
        group
          .append("path")
          .attr("class", "null")
          .attr("d", `M${round(a)},${round(top - 2)}v-2H${round(b)}v2`)
          .attr("fill", "none")
          .attr("stroke", frame.theme.muted)
          .attr("stroke-width", 1);
      }
      drawText(group, frame, high, from + length + 8 + (scale.above.count > 0 ? 4 : 0), baseline, { fill: frame.theme.muted });
    },
  };
}
