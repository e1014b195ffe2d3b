/** The figures of component ablation: every component by layer and site, and the strongest of them as bars. */
import { siteKind } from "../../server/models/siteNames.ts";
import { layerAxis, type ComponentPart } from "../axes.ts";
import type { Axis, HeatmapFigure, Metric, NullBand, ProbeEvent } from "../result.ts";

/** One singular component of one adapter at one site. */
export interface Component extends ComponentPart {
  readonly layer: number;
}

/** "L4.mlp.out#1" */
export const componentLabel = ({ layer, site, component }: Component): string => `L${layer}.${siteKind(site)}#${component}`;

const effectMetric: Metric = {
  id: "effect",
  label: "share of the adapter's effect",
  unit: "1 = the whole effect is lost when switched off",
  scale: "diverging",
};
export const componentMetrics: readonly Metric[] = [
  effectMetric,
  { id: "logit_diff", label: "logit difference", unit: "logits", scale: "diverging" },
  { id: "kl", label: "KL from the adapted run", unit: "nats", scale: "sequential" },
];

export function componentGrid(nLayers: number, cols: Axis, nulls: readonly NullBand[]): HeatmapFigure {
  return {
    kind: "heatmap",
    id: "components",
    title: "Every component of every site",
    subtitle: "Each singular component of ΔW switched off alone · share of the adapter's effect on the answer that is lost",
    metrics: componentMetrics,
    nulls,
    panels: [
      {
        id: "components",
        title: "Components by layer and site",
        rows: layerAxis(nLayers),
        cols,
        values: Object.fromEntries(componentMetrics.map(({ id }) => [id, { array: `grid.${id}` }])),
      },
    ],
  };
}

/** @param strongest in the order of their bars */
export function* strongestBars(strongest: readonly { readonly of: Component; readonly effect: number }[], nulls: readonly NullBand[]): Generator<ProbeEvent> {
  yield { type: "array", name: "strongest.effect", shape: [strongest.length], axes: ["component"] };
  yield { type: "tile", array: "strongest.effect", offset: 0, data: Float32Array.from(strongest, ({ effect }) => effect) };
  yield {
    type: "figure",
    figure: {
      kind: "bars",
      id: "strongest",
      title: "Strongest components",
      subtitle: "Effect on the answer when switched off, as a share of the adapter's whole effect",
      metrics: [effectMetric],
      nulls,
      bars: strongest.map(({ of }) => {
        const { layer, site, component, adapter } = of;
        return { label: componentLabel(of), group: adapter, place: { layer, site, component, adapter } };
      }),
      values: { effect: { array: "strongest.effect" } },
    },
  };
}
