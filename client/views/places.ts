/** Places and pinned numbers in words. */
import type { Figure, Metric, Place, ProbeResult } from "../../probes/result.ts";
import { slice } from "../../probes/result.ts";
import { fewCurves } from "../figures/curves.ts";
import { valueAt } from "../figures/figure.ts";
import { indexedToken, siteKind } from "../figures/labels.ts";
import { axisIndex, holds } from "../figures/places.ts";

/** Metrics a figure can be drawn by; empty where there is nothing to choose. */
export function metricsOf(figure: Figure): readonly Metric[] {
  return figure.kind === "heatmap" || figure.kind === "bars" ? figure.metrics : [];
}

/** A few curves fit beside another figure; everything else gets the page's width. */
export const isWide = (figure: Figure): boolean => figure.kind !== "lines" || figure.series.length > fewCurves;

const shortNames: Readonly<Record<string, string>> = { normalized: "normalised", logit_diff: "logit difference", kl: "KL", log_prob: "log-prob" };
/** Short enough for a switch: the field's own short names, else the metric's id. */
export const metricName = ({ id }: Metric): string => shortNames[id] ?? id.replaceAll("_", " ");

export const chosenMetric = (figure: Figure, id: string | null): Metric | null =>
  metricsOf(figure).find((metric) => metric.id === id) ?? metricsOf(figure)[0] ?? null;

/** The tokens that a figure's positions are. */
export function tokensOf(figure: Figure): readonly string[] {
  if (figure.kind === "heatmap") return figure.panels.flatMap(({ rows, cols }) => [rows, cols]).find(({ name }) => name === "position")?.labels ?? [];
  if (figure.kind === "tokenGrid") return figure.cols.name === "position" ? figure.cols.labels : [];
  return figure.kind === "attention" ? figure.tokens : [];
}

/** "layer 3, ·venia [5]", "L3H1", "mlp.in#0 of layer 3" */
export function placeWords(place: Place, tokens: readonly string[]): string {
  const parts: string[] = [];
  const site = place.site === undefined ? null : siteKind(place.site);
  if (place.component !== undefined) parts.push(`L${place.layer ?? "?"}.${site ?? ""}#${place.component}`);
  else if (place.head !== undefined && place.layer !== undefined) parts.push(`head L${place.layer}H${place.head}`);
  else if (place.layer !== undefined) parts.push(`layer ${place.layer}`);
  if (place.position !== undefined) parts.push(indexedToken(tokens[place.position] ?? "", place.position));
  if (place.adapter !== undefined && place.component !== undefined) parts.push(place.adapter);
  return parts.join(", ") || (site ?? place.adapter ?? "");
}

/** What kind of activation the place is in: the panel's own title where there is one. */
export function siteWords(figure: Figure, place: Place): string {
  if (figure.kind === "heatmap") {
    const panel =
      figure.panels.find((each) => each.place !== undefined && holds(each.place, place)) ?? (figure.panels.length === 1 ? figure.panels[0] : undefined);
    if (panel) return panel.title.split(" · ")[0] ?? panel.title;
  }
  return place.site === undefined ? figure.title : siteKind(place.site);
}

/** What the number of a figure without metrics is. */
function numberWords(figure: Figure, place: Place, step: number | undefined): string {
  const when = step === undefined ? "newest" : `at step ${step}`;
  if (figure.kind === "tokenGrid") return `${figure.panels[0]?.title.toLowerCase() ?? ""}, ${figure.panels[0]?.metric.label ?? figure.title}`;
  if (figure.kind === "attention") return "difference between the panels";
  if (figure.kind === "lines") return `${figure.y.label} of ${siteWords(figure, place)}, ${when}`;
  if (figure.kind === "ridgeline") return `${figure.unit || "singular value"} of ${siteWords(figure, place)}, ${when}`;
  return figure.kind === "spectrum" ? `singular value at ${siteWords(figure, place)}` : figure.title;
}

export interface RowNumber {
  readonly label: string;
  readonly value: number;
}

/** The largest numbers of a pinned layer where the figure has more than the place says: which component, head or position carries it. */
export function strongestInLayer(figure: Figure, result: ProbeResult, place: Place, metricId: string | null): readonly RowNumber[] {
  const { layer } = place;
  if (layer === undefined) return [];
  if (figure.kind === "attention" && figure.order && result.arrays[figure.order.array]) {
    const { data } = slice(result.arrays, figure.order);
    return largest(Array.from(data.subarray(layer * figure.heads, (layer + 1) * figure.heads), (value, head) => ({ label: `head L${layer}H${head}`, value })));
  }
  if (figure.kind !== "heatmap") return [];
  const metric = chosenMetric(figure, metricId);
  const numbers = figure.panels.flatMap((panel) => {
    const ref = metric && panel.values[metric.id];
    const row = axisIndex(panel.rows, { layer, ...(place.stack === undefined ? {} : { stack: place.stack }) });
    if (!ref || row < 0 || !result.arrays[ref.array]) return [];
    const { data } = slice(result.arrays, ref);
    const columns = panel.cols.labels.length;
    return panel.cols.labels.map((label, column) => ({
      label: columnWords(panel.cols.name, label, layer, column),
      value: data[row * columns + column] ?? NaN,
    }));
  });
  return largest(numbers);
}

const largest = (numbers: readonly RowNumber[]): RowNumber[] =>
  numbers
    .filter(({ value }) => Number.isFinite(value))
    .toSorted((a, b) => Math.abs(b.value) - Math.abs(a.value))
    .slice(0, 5);

function columnWords(axis: string, label: string, layer: number, column: number): string {
  if (axis === "head") return `head L${layer}H${label}`;
  return axis === "position" ? indexedToken(label, column) : label;
}

export interface PinnedNumber {
  readonly label: string;
  readonly value: number;
  readonly unit: string;
}

/** Every number a figure has at a place, the drawn one first. */
export function numbersAt(figure: Figure, result: ProbeResult, place: Place, metricId: string | null, step?: number): readonly PinnedNumber[] {
  const chosen = chosenMetric(figure, metricId);
  if (!chosen) {
    const value = valueAt(figure, result.arrays, undefined, place, step);
    return value === null ? [] : [{ label: numberWords(figure, place, step), value, unit: figure.kind === "spectrum" ? figure.unit : "" }];
  }
  const ordered = [chosen, ...metricsOf(figure).filter(({ id }) => id !== chosen.id)];
  return ordered.flatMap(({ id, label, unit }) => {
    const value = valueAt(figure, result.arrays, id, place);
    return value === null ? [] : [{ label, value, unit }];
  });
}
