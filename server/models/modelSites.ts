/** Every adapter site of a model under its full name, and the module path the reference implementation gives it. */
import { stages, type Family, type ModelConfig, type SiteSpec, type Stage } from "./family.ts";

export interface ModelSite extends SiteSpec {
  /** "blocks.3.attn.qkv", "embed", "unembed" */
  readonly fullName: string;
  readonly stage: Stage;
  readonly layer: number;
}

export function layersOf(config: ModelConfig, stage: Stage): number[] {
  return stage === "block" ? Array.from({ length: config.nLayers }, (_, layer) => layer) : [0];
}

/** Puts a stage-local name under its stage: ("block", 3, "hook_resid_pre") → "blocks.3.hook_resid_pre". */
export function fullName(stage: Stage, layer: number, local: string): string {
  return stage === "block" ? `blocks.${layer}.${local}` : local;
}

export function modelSites(family: Family, config: ModelConfig): ModelSite[] {
  return stages.flatMap((stage) =>
    layersOf(config, stage).flatMap((layer) =>
      family.sites(config, stage, layer).map((site) => ({ ...site, stage, layer, fullName: fullName(stage, layer, site.name) })),
    ),
  );
}

/** A module path as checkpoints spell it, without the family's prefix: "transformer.h.0.attn.c_attn" → "h.0.attn.c_attn", "lm_head" → "/lm_head". */
export function bareModulePath(family: Family, path: string): string {
  if (path === "lm_head" || path === "score") return `/${path}`;
  const prefix = family.prefixes.find((candidate) => candidate !== "" && path.startsWith(candidate));
  return prefix === undefined ? path : path.slice(prefix.length);
}
