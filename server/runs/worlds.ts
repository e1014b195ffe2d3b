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

/** How strongly an adapter acts at one site: its strength times the gates on the whole site. */
export function siteStrength(setting: AdapterSetting, adapter: string, site: string): number {
  const whole = (setting.components ?? []).filter((gate) => gate.adapter === adapter && gate.site === site && gate.component === null);
  return whole.reduce((product, { value }) => product * value, strengthOf(setting, adapter));
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
