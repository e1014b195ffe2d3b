/** Sites laid out as layer × kind of site. */
import { siteKind, siteLabel as labelOf } from "../../models/siteNames.ts";

/** "L3.mlp.in" */
export const siteLabel = ({ name }: { readonly name: string }): string => labelOf(name);

export interface SiteLayout {
  readonly layers: readonly number[];
  readonly kinds: readonly string[];
  /** Flat `[layer, kind]` place of each site. */
  readonly cells: readonly number[];
}

export function siteLayout(sites: readonly { readonly name: string; readonly layer: number }[]): SiteLayout {
  const layers = [...new Set(sites.map(({ layer }) => layer))].sort((a, b) => a - b);
  const kinds = [...new Set(sites.map(({ name }) => siteKind(name)))];
  return { layers, kinds, cells: sites.map(({ name, layer }) => layers.indexOf(layer) * kinds.length + kinds.indexOf(siteKind(name))) };
}
