/** Where something changed abruptly: thin vertical ticks over a plot of steps, with a word where there is room. */
import type { Place } from "../../probes/result.ts";
import type { Frame, Group } from "./context.ts";
import { samePlace } from "./places.ts";
import { drawText, round } from "./text.ts";
import { textWidth } from "./textWidth.ts";

export interface Marker {
  readonly x: number;
  readonly label: string;
  readonly place: Place;
}
/** More than this many rules through a plot would hide its curves. */
const fewMarkers = 4;
const mostLanes = 2;
const laneHeight = (frame: Frame): number => frame.type.axis + 3;

/** Height above a plot that ticks and words take. */
export const markerRoom = (frame: Frame, markers: readonly Marker[], isTicksOnly: boolean): number =>
  markers.length === 0 ? 0 : isTicksOnly ? 8 : Math.min(mostLanes, markers.length) * laneHeight(frame) + 2;

export interface MarkerPlot {
  readonly x: (value: number) => number;
  readonly left: number;
  /** As far as words may reach. */
  readonly right: number;
  readonly top: number;
  readonly height: number;
  readonly lanes: number;
  readonly isTicksOnly: boolean;
}

export function drawMarkers(root: Group, frame: Frame, markers: readonly Marker[], plot: MarkerPlot): void {
  if (markers.length === 0) return;
  const { axis: size } = frame.type;
  const group = root.append("g").attr("class", "markers");
  const selected = frame.selection?.place;
  const isSelected = ({ place }: Marker): boolean => selected !== undefined && samePlace(place, selected);
  const lanes = Array.from({ length: mostLanes }, (_, lane) => lane);
  const isTaken: { readonly lane: number; readonly from: number; readonly to: number }[] = [];
  // The selected site's words are placed first, so that they always have room.
  for (const marker of markers.toSorted((a, b) => Number(isSelected(b)) - Number(isSelected(a)) || a.x - b.x)) {
    const at = plot.x(marker.x);
    const isStrong = isSelected(marker);
    const colour = isStrong ? frame.theme.ink : frame.theme.muted;
    const width = textWidth(marker.label, size, isStrong ? "bold" : "sans");
    const lane = plot.isTicksOnly
      ? -1
      : lanes.findIndex(
          (each) => at + 4 + width <= plot.right && isTaken.every((other) => other.lane !== each || at + 4 + width + 6 < other.from || at - 2 > other.to),
        );
    const from = plot.top - (lane < 0 ? 6 : (lane + 1) * laneHeight(frame));
    const isLong = isStrong || markers.length <= fewMarkers;
    group
      .append("path")
      .attr("class", "marker")
      .attr("d", `M${round(at)},${round(from)}V${round(isLong ? plot.top + plot.height : plot.top)}`)
      .attr("stroke", colour)
      .attr("stroke-width", frame.type.thin)
      .attr("stroke-dasharray", isStrong ? null : "2 2");
    if (lane < 0) continue;
    isTaken.push({ lane, from: at - 2, to: at + 4 + width });
    drawText(group, frame, marker.label, at + 4, from + size - 1, { fill: colour, bold: isStrong });
  }
}
