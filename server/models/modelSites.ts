/** Every adapter site of a model under its full name, and the module path the reference implementation gives it. */
import type { Family, ModelConfig, SiteSpec } from "./family.ts";
import { fullName } from "./siteNames.ts";

export interface ModelSite extends SiteSpec {
  /** "blocks.3.attn.qkv", "embed", "unembed" */
  readonly fullName: string;
  /** Id of the segment it is in. */
  readonly segment: string;
  readonly layer: number | null;
}

export function modelSites(family: Family, config: ModelConfig): ModelSite[] {
  return family
    .plan(config)
    .flatMap((segment) => segment.sites.map((site) => ({ ...site, segment: segment.id, layer: segment.layer, fullName: fullName(segment, site.name) })));
}

/** A module path as checkpoints spell it, without the family's prefix: "transformer.h.0.attn.c_attn" → "h.0.attn.c_attn", "lm_head" → "/lm_head". */
export function bareModulePath(family: Family, path: string): string {
  if (path === "lm_head" || path === "score") return `/${path}`;
  const prefix = family.prefixes.find((candidate) => candidate !== "" && path.startsWith(candidate));
  return prefix === undefined ? path : path.slice(prefix.length);
}

/** The other way: "h.0.attn.c_attn" → "transformer.h.0.attn.c_attn", "/lm_head" → "lm_head"; checkpoint keys too. */
export function modulePath({ prefixes }: Family, bare: string): string {
  return bare.startsWith("/") ? bare.slice(1) : (prefixes[0] ?? "") + bare;
}
