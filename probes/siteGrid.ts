/** Sites laid out as layer × kind of site, for heatmaps and tables over a whole adapter. */
import type { LoadedAdapter } from "../server/adapters/loadAdapter.ts";
import type { SiteAdapter } from "../server/adapters/method.ts";
import { siteKind as siteKindOf } from "../server/models/siteNames.ts";
import * as layout from "../server/training/monitors/siteLayout.ts";
import { layerRows, siteAxis } from "./axes.ts";
import type { Axis, Place } from "./result.ts";

export interface SiteGrid {
  readonly rows: Axis;
  readonly cols: Axis;
  /** `[row, col]` of a site; every site has a cell of its own. */
  cell(site: SiteAdapter): { row: number; col: number };
  /** "L3.mlp.in"; with its stack in front where the adapter has several. */
  label(site: SiteAdapter): string;
  /** "attn.q", "mlp.in": one a column. */
  readonly kinds: readonly string[];
  place(site: SiteAdapter): Place;
}

export const siteKind = ({ site }: SiteAdapter): string => siteKindOf(site);
export const siteLabel = ({ site, layer }: SiteAdapter): string => layout.siteLabel({ name: site, layer });

export function siteGrid(adapter: LoadedAdapter): SiteGrid {
  const sites = [...adapter.sites.values()];
  const { rows, kinds, cells, labels, stacks } = layout.siteLayout(sites.map(({ site, layer }) => ({ name: site, layer })));
  const places = new Map(sites.map(({ site }, i) => [site, { cell: cells[i] ?? 0, label: labels[i] ?? site, stack: stacks[i] ?? "" }]));
  return {
    rows: layerRows(rows),
    cols: siteAxis(kinds),
    cell(site) {
      const at = places.get(site.site)?.cell ?? 0;
      return { row: Math.floor(at / kinds.length), col: at % kinds.length };
    },
    label: (site) => places.get(site.site)?.label ?? site.site,
    place: ({ site, layer }) => {
      const stack = places.get(site)?.stack ?? "";
      return { layer, site, adapter: adapter.name, ...(stack === "" ? {} : { stack }) };
    },
    kinds,
  };
}
