/** The figure of patching across time: each part by layer and site, replaced by the other adapter's and, beside it, switched off. */
import { componentColumns, layerAxis, siteAxis } from "../axes.ts";
import type { Axis, HeatmapFigure, Metric, NullBand } from "../result.ts";
import { siteKind } from "../siteGrid.ts";
import type { Pair, Part } from "./adapterPair.ts";

/** What is done to each part. */
export const exchanges = ["replaced", "off"] as const;
export const exchangeMetrics = ["normalized", "logit_diff", "kl"] as const;

export interface PartGrid {
  readonly rows: Axis;
  readonly cols: Axis;
  /** Flat place of each part. */
  readonly cells: readonly number[];
}

export function gridOf(parts: readonly Part[], nLayers: number): PartGrid {
  const kinds = [...new Set(parts.map(({ site }) => siteKind(site)))];
  const { axis, columns } =
    parts[0]?.component === null
      ? { axis: siteAxis(kinds), columns: parts.map(({ site }) => kinds.indexOf(siteKind(site))) }
      : componentColumns(parts.map(({ site, component }) => ({ site: site.site, component: component ?? 0, adapter: "" })));
  return { rows: layerAxis(nLayers), cols: axis, cells: parts.map(({ site }, index) => site.layer * axis.labels.length + (columns[index] ?? 0)) };
}

export function acrossFigure({ into, from, sites }: Pair, { rows, cols }: PartGrid, unit: "site" | "component", nulls: readonly NullBand[]): HeatmapFigure {
  const metrics: readonly Metric[] = [
    { id: "normalized", label: "normalised logit difference", unit: `0 = ${into.name}, 1 = ${from.name}`, scale: "diverging", domain: [-1, 1] },
    { id: "logit_diff", label: "logit difference", unit: "logits", scale: "diverging" },
    { id: "kl", label: `KL from the run of ${into.name}`, unit: "nats", scale: "sequential" },
  ];
  const single = sites.filter(({ site }) => !into.sites.has(site) || !from.sites.has(site)).length;
  const words = unit === "site" ? "one site's update" : "the k-th singular component of one site";
  const titles = { replaced: `Replaced by ${from.name}'s`, off: "Switched off, for comparison" };
  return {
    kind: "heatmap",
    id: "across",
    title: `${from.name} into ${into.name}`,
    subtitle: `${into.name} with ${words} replaced by ${from.name}'s · beside it the same switched off, with nothing in its place${
      single > 0 ? ` · at ` + `${single} of ${sites.length} sites only one of them has an update; the other's is 0` : ""
    }`,
    metrics,
    nulls,
    panels: exchanges.map((kind) => ({
      id: kind,
      title: titles[kind],
      rows,
      cols,
      values: Object.fromEntries(exchangeMetrics.map((id) => [id, { array: `${kind}.${id}` }])),
    })),
  };
}
