/** Sites laid out as layer × kind of site. */

/** "blocks.3.mlp.in" → "mlp.in"; "model.layers.3.self_attn.q_proj" → "self_attn.q_proj". */
export function siteKind(site: string): string {
  return site.replace(/^.*\.\d+\./, "");
}

/** "L3.mlp.in"; a site outside the blocks keeps its name. */
export function siteLabel({ name, layer }: { readonly name: string; readonly layer: number }): string {
  return /\.\d+\./.test(name) ? `L${layer}.${siteKind(name)}` : name;
}

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
