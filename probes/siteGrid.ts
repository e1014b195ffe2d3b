/** Sites laid out as layer × kind of site, for heatmaps and tables over a whole adapter. */
import type { LoadedAdapter } from "../server/adapters/loadAdapter.ts";
import type { SiteAdapter } from "../server/adapters/method.ts";
import type { Axis } from "./result.ts";

export interface SiteGrid {
  readonly rows: Axis;
  readonly cols: Axis;
  /** `[row, col]` of a site. */
  cell(site: SiteAdapter): { row: number; col: number };
  readonly layers: readonly number[];
  readonly kinds: readonly string[];
}

/** "blocks.3.mlp.in" → "mlp.in"; "model.layers.3.self_attn.q_proj" → "self_attn.q_proj". */
export function siteKind(site: SiteAdapter): string {
  return site.site.replace(/^.*\.\d+\./, "");
}

/** "L3.mlp.in" */
export function siteLabel(site: SiteAdapter): string {
  return /\.\d+\./.test(site.site) ? `L${site.layer}.${siteKind(site)}` : site.site;
}

export function siteGrid(adapter: LoadedAdapter): SiteGrid {
  const sites = [...adapter.sites.values()];
  const layers = [...new Set(sites.map((site) => site.layer))].sort((a, b) => a - b);
  const kinds = [...new Set(sites.map(siteKind))];
  return {
    rows: { name: "layer", labels: layers.map(String) },
    cols: { name: "site", labels: kinds },
    cell: (site) => ({ row: layers.indexOf(site.layer), col: kinds.indexOf(siteKind(site)) }),
    layers,
    kinds,
  };
}
