/** Sites laid out as layer × kind of site, for heatmaps and tables over a whole adapter. */
import type { LoadedAdapter } from "../server/adapters/loadAdapter.ts";
import type { SiteAdapter } from "../server/adapters/method.ts";
import * as names from "../server/models/siteNames.ts";
import type { Axis } from "./result.ts";

export interface SiteGrid {
  readonly rows: Axis;
  readonly cols: Axis;
  /** `[row, col]` of a site. */
  cell(site: SiteAdapter): { row: number; col: number };
  readonly layers: readonly number[];
  readonly kinds: readonly string[];
}

export const siteKind = ({ site }: SiteAdapter): string => names.siteKind(site);
export const siteLabel = ({ site }: SiteAdapter): string => names.siteLabel(site);

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
