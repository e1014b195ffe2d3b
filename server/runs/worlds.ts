/** A world is one counterfactual: which adapters are on and how strongly, per component; which activations are replaced. */
import type { FloatTensor } from "../tensors/hostTensor.ts";

/** One singular component of one adapter at one site, or the whole site, set to `value` (1 = as trained, 0 = off). Gates on the same place multiply. */
export interface ComponentGate {
  readonly adapter: string;
  /** Full site name, "blocks.3.mlp.in". */
  readonly site: string;
  /** Null: all that the adapter adds at the site, with what is none of its components (a DoRA's rescaled rows, a bias on B). */
  readonly component: number | null;
  readonly value: number;
}

/** The adapters of one row of a batch. Adapters not named are off. */
export interface AdapterSetting {
  readonly strengths: Readonly<Record<string, number>>;
  readonly components?: readonly ComponentGate[];
}

/** How strongly an adapter acts; 0 when the setting does not name it. An adapter may be called "constructor". */
export function strengthOf({ strengths }: AdapterSetting, adapter: string): number {
  return Object.hasOwn(strengths, adapter) ? (strengths[adapter] ?? 0) : 0;
}

/** How strongly an adapter acts at each site: its strength times the gates on the whole site. */
export function siteStrengths(setting: AdapterSetting, adapter: string): (site: string) => number {
  const strength = strengthOf(setting, adapter);
  const whole = new Map<string, number>();
  for (const gate of setting.components ?? [])
    if (gate.adapter === adapter && gate.component === null) whole.set(gate.site, (whole.get(gate.site) ?? 1) * gate.value);
  return (site) => strength * (whole.get(site) ?? 1);
}

export const baseSetting: AdapterSetting = { strengths: {} };

/** One activation replaced: at one position or all, in one head or all. */
export interface WorldEdit {
  /** Full hook name. */
  readonly hook: string;
  readonly position: number | null;
  readonly head: number | null;
  /** Which of the sweep's sources gives the value. */
  readonly source: string;
}

export interface World {
  readonly setting: AdapterSetting;
  readonly edits: readonly WorldEdit[];
}

/** An intervention on a whole batch: where the mask is 1 the hook takes `value`. */
export interface BatchEdit {
  readonly hook: string;
  /** `[batch, …, 1]`, 0 or 1. */
  readonly mask: FloatTensor;
  /** The hook's shape, with `batch` rows or 1 for all. */
  readonly value: FloatTensor;
}
