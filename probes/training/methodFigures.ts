/** What a method's own numbers do while it trains: the gradients of its parameters, and its gauges (gates, ranks, learned scales). */
import { gaugeArray, gaugesOf, isSingle } from "../../server/training/monitors/gauges.ts";
import { gradientCurves } from "../../server/training/monitors/gradientNorms.ts";
import type { Watch } from "../../server/training/monitors/watch.ts";
import type { Figure } from "../result.ts";
import { lookLines, lookSteps, markersOf, perSite, placeOf, siteLines, type Series } from "./lines.ts";

/** One figure a parameter; the curves of all are the columns of one array. */
export function gradientFigures(watch: Watch): Figure[] {
  const curves = gradientCurves(watch.run).map(({ parameter, label, layer, site }, column): { parameter: string; series: Series } => ({
    parameter,
    series: { id: `${label}.${parameter}`, label, place: placeOf(layer, site), values: { array: "gradient_norm", column } },
  }));
  return [...new Set(curves.map(({ parameter }) => parameter))].map((parameter) =>
    lookLines(
      watch,
      {
        id: `gradient_norm_${parameter}`,
        title: `Gradient of ${gradientWords(parameter)}`,
        subtitle: "Norm at the steps that were looked at, before clipping",
        label: "gradient norm",
        unit: "nats per unit",
        scale: "log",
      },
      curves.filter((curve) => curve.parameter === parameter).map(({ series }) => series),
    ),
  );
}

const gradientWords = (parameter: string): string => ({ base: "the weights, by layer", score: "the classifier head" })[parameter] ?? `${parameter}, by site`;

export function gaugeFigures(watch: Watch): Figure[] {
  return gaugesOf(watch.run).map((gauge): Figure => {
    const { id, label, unit } = gauge;
    const title = label.charAt(0).toUpperCase() + label.slice(1);
    if (isSingle(gauge)) return siteLines(watch, { id: gaugeArray(gauge, ""), title, subtitle: "One line a site, at every look", label, unit });
    return {
      kind: "ridgeline",
      id: `gauge_${id}`,
      title,
      subtitle: "One row a look, every entry at one site",
      unit,
      steps: lookSteps,
      panels: perSite(watch, (site) => ({ array: gaugeArray(gauge, site) })),
      ...markersOf(watch),
    };
  });
}
