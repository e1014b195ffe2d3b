/** Curves of a training run: their axes, their markers, and one curve a site. */
import { siteLabel } from "../../server/training/monitors/siteLayout.ts";
import { stepsArray, type Watch } from "../../server/training/monitors/watch.ts";
import type { ArrayRef, LinesFigure, Place, RidgelineFigure } from "../result.ts";
import { sitesOf } from "../trainingWords.ts";

export type Series = LinesFigure["series"][number];

/** The steps at which was looked. */
export const lookSteps: ArrayRef = { array: stepsArray };
const at = (values: ArrayRef): LinesFigure["x"] => ({ label: "step", unit: "optimizer steps", values });
export const atSteps = at({ array: "step" });
export const atLooks = at(lookSteps);
export const atEvaluations = at({ array: "evaluation_step" });

export interface LineWords {
  readonly id: string;
  readonly title: string;
  readonly subtitle: string;
  /** Of the y axis. */
  readonly label: string;
  readonly unit: string;
  readonly domain?: readonly [number, number];
  readonly scale?: "linear" | "log";
}

/** All but the curves. */
export function lineAxes({ id, title, subtitle, label, unit, domain, scale = "linear" }: LineWords, x: LinesFigure["x"]): Omit<LinesFigure, "series"> {
  return { kind: "lines", id, title, subtitle, x, y: { label, unit, scale, ...(domain ? { domain } : {}) } };
}

/** One value a look, with markers where something changed. */
export function lookLines(watch: Watch, words: LineWords, series: readonly Series[]): LinesFigure {
  return { ...lineAxes(words, atLooks), ...markersOf(watch), series };
}

/** A curve a site, of the array that has the figure's id. */
export function siteLines(watch: Watch, words: LineWords): LinesFigure {
  return lookLines(watch, words, curvesOf(perSite(watch, (_, column) => ({ array: words.id, column }))));
}

type SitePanel = RidgelineFigure["panels"][number];

/** Every site that is trained, as a panel. */
export function perSite(watch: Watch, values: (site: string, index: number) => ArrayRef): SitePanel[] {
  return sitesOf(watch).map(({ name, layer }, index) => ({
    id: name,
    title: siteLabel({ name, layer }),
    place: { layer, site: name },
    values: values(name, index),
  }));
}

/** The panels as curves of one figure. */
export const curvesOf = (panels: readonly SitePanel[]): Series[] => panels.map(({ id, title: label, place, values }) => ({ id, label, place, values }));

export function markersOf(watch: Watch): Required<Pick<LinesFigure, "markers">> {
  return { markers: watch.markers.map(({ step, label, site, layer }) => ({ x: step, label, place: placeOf(layer, site) })) };
}

/** Of what may be outside the layers, or of no site. */
export const placeOf = (layer: number | null, site: string | null): Place => ({
  ...(layer === null ? {} : { layer }),
  ...(site === null ? {} : { site }),
});
