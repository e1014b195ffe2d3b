/** What is asked of a figure, whatever its kind. The one place where a kind meets its module. */
import type { AnyFigure, ArrayRef, Metric, Place } from "../../probes/result.ts";
import { arrowKeys, type Arrays, type FigureTable } from "./context.ts";
import type { Curve, FigureModule, LabelledNumber, Looks, Reading } from "./figureModule.ts";
import { siteKind } from "./labels.ts";
import type { Marker } from "./markers.ts";
import { modules } from "./modules.ts";
import { unknownKind } from "./unknownKind.ts";

/** By kind as a file has it, which need not be one of those. */
const byKind: ReadonlyMap<string, FigureModule<AnyFigure>> = new Map(Object.entries<FigureModule<AnyFigure>>(modules));
const unknown = unknownKind([...byKind.keys()]);

export const moduleOf = ({ kind }: AnyFigure): FigureModule<AnyFigure> => byKind.get(kind) ?? unknown;

/** The place an arrow key leads to, or null at an edge and for any other key. */
export function neighbour(figure: AnyFigure, place: Place, key: string, arrays: Arrays = {}): Place | null {
  const arrow = arrowKeys.find((each) => each === key);
  return arrow ? moduleOf(figure).neighbour(figure, place, arrow, arrays) : null;
}

/** The number drawn at a place: NaN while pending, null when the figure does not show the place. */
export const valueAt = (figure: AnyFigure, arrays: Arrays, metric: string | undefined, place: Place, step?: number): number | null =>
  moduleOf(figure).valueAt(figure, arrays, metric, place, step);

/** The numbers of a figure beside their labels. */
export const figureTable = (figure: AnyFigure, arrays: Arrays): FigureTable => moduleOf(figure).table(figure, arrays);

export interface ShapedRef {
  readonly ref: ArrayRef;
  /** Without the snapshot axis, null for what may be any. */
  readonly shape: readonly (number | null)[];
}

/** Everything it points at but its `steps`. */
export function figureRefs(figure: AnyFigure): readonly ShapedRef[] {
  const found: ShapedRef[] = [];
  moduleOf(figure).refs(figure, (ref, shape) => {
    found.push({ ref, shape });
    return ref;
  });
  return found;
}

/** Whether it is drawn at one of several steps. */
export const hasSnapshots = (figure: AnyFigure): boolean =>
  figure.steps !== undefined && moduleOf(figure).showsAllSteps !== true && figureRefs(figure).length > 0;

/** The figure with its values fixed at one stored snapshot; the same figure when it has no snapshots or shows them all. */
export const figureAtSnapshot = (figure: AnyFigure, index: number): AnyFigure =>
  hasSnapshots(figure) ? moduleOf(figure).refs(figure, (ref) => ({ ...ref, at: [index, ...(ref.at ?? [])] })) : figure;

export const firstPlace = (figure: AnyFigure, arrays: Arrays): Place | null => moduleOf(figure).firstPlace(figure, arrays);
export const metricsOf = (figure: AnyFigure): readonly Metric[] => moduleOf(figure).metrics?.(figure) ?? [];
export const tokensOf = (figure: AnyFigure): readonly string[] => moduleOf(figure).tokens?.(figure) ?? [];
export const adaptersOf = (figure: AnyFigure): readonly string[] => moduleOf(figure).adapters?.(figure) ?? [];
export const markersOf = (figure: AnyFigure): readonly Marker[] => moduleOf(figure).markers?.(figure) ?? [];
export const panelsOf = (figure: AnyFigure): readonly { readonly id: string; readonly title: string }[] => moduleOf(figure).panels?.(figure) ?? [];
export const curvesOf = (figure: AnyFigure, arrays: Arrays): readonly Curve[] => moduleOf(figure).curves?.(figure, arrays) ?? [];
export const readingsAt = (figure: AnyFigure, arrays: Arrays, place: Place): readonly Reading[] => moduleOf(figure).readings?.(figure, arrays, place) ?? [];
/** Small ones stand beside each other, others take the page's width. */
export const isWide = (figure: AnyFigure): boolean => moduleOf(figure).isNarrow?.(figure) !== true;
export const looksOf = (figure: AnyFigure, asked: string | undefined, panel: string | undefined): Looks | null =>
  moduleOf(figure).looks?.(figure, asked, panel) ?? null;

export const chosenMetric = (figure: AnyFigure, id: string | null): Metric | null =>
  metricsOf(figure).find((metric) => metric.id === id) ?? metricsOf(figure)[0] ?? null;

export const partWords = (figure: AnyFigure, place: Place): string =>
  moduleOf(figure).partWords?.(figure, place) ?? (place.site === undefined ? figure.title : siteKind(place.site));

/** What the number at a place is in a figure without metrics. */
export const numberWords = (figure: AnyFigure, place: Place, step?: number): { readonly label: string; readonly unit: string } =>
  moduleOf(figure).numberWords?.(figure, place, step === undefined ? "newest" : `at step ${step}`) ?? { label: figure.title, unit: "" };

export interface PinnedNumber extends LabelledNumber {
  readonly unit: string;
}

/** Every number a figure has at a place, the drawn one first. */
export function numbersAt(figure: AnyFigure, arrays: Arrays, place: Place, metricId: string | null, step?: number): readonly PinnedNumber[] {
  const chosen = chosenMetric(figure, metricId);
  if (!chosen) {
    const value = valueAt(figure, arrays, undefined, place, step);
    return value === null ? [] : [{ value, ...numberWords(figure, place, step) }];
  }
  const ordered = [chosen, ...metricsOf(figure).filter(({ id }) => id !== chosen.id)];
  return ordered.flatMap(({ id, label, unit }) => {
    const value = valueAt(figure, arrays, id, place);
    return value === null ? [] : [{ label, value, unit }];
  });
}

/** The numbers at the same place in the figure's other panels. */
export const numbersBeside = (figure: AnyFigure, arrays: Arrays, place: Place, metricId: string | null): readonly LabelledNumber[] =>
  moduleOf(figure).beside?.(figure, arrays, place, chosenMetric(figure, metricId)?.id) ?? [];

/** The largest numbers of a pinned layer where the figure has more than the place says: which component, head or position carries it. */
export function strongestInLayer(figure: AnyFigure, arrays: Arrays, place: Place, metricId: string | null): readonly LabelledNumber[] {
  const { layer, stack } = place;
  if (layer === undefined) return [];
  const all = moduleOf(figure).inLayer?.(figure, arrays, { layer, ...(stack === undefined ? {} : { stack }) }, chosenMetric(figure, metricId)?.id) ?? [];
  return all
    .filter(({ value }) => Number.isFinite(value))
    .toSorted((a, b) => Math.abs(b.value) - Math.abs(a.value))
    .slice(0, 5);
}
