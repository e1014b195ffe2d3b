/** What a monitor is: numbers read off a run while it trains, a few a look, never touching what is trained. */
import type { SiteState } from "../../adapters/method.ts";
import type { FactoredMatrix } from "../../linalg/factored.ts";
import type { World } from "../../runs/worlds.ts";
import type { FloatTensor } from "../../tensors/hostTensor.ts";
import type { Adaptation } from "../adaptation.ts";
import type { ProbeParams } from "../trainingParams.ts";
import type { TrainingPrograms } from "../trainingPrograms.ts";
import type { PinnedPrompts } from "./pinnedPrompts.ts";
import type { SiteSpectrum } from "./siteSpectrum.ts";

/** The run as monitors see it, the same for all looks. */
export interface WatchedRun {
  readonly adaptation: Adaptation;
  readonly programs: TrainingPrograms;
  readonly params: ProbeParams;
  /** Null when no prompt is pinned. */
  readonly prompts: PinnedPrompts | null;
}

/** The run at one look; what several monitors need is computed once. */
export interface Moment {
  /** Steps done. */
  readonly step: number;
  /** Of the last step, before clipping, by key of the trained tensor; empty before the first. */
  readonly gradients: Readonly<Record<string, Float32Array>>;
  /** ΔW of a site in factors. */
  delta(state: SiteState): FactoredMatrix;
  spectrum(state: SiteState): Promise<SiteSpectrum>;
  /** Logits after each pinned prompt in a world that the looker named, as the adapter is now: one row a prompt. */
  logits(world: World): readonly Float32Array[];
}

/** An array that a look adds numbers to. */
export interface ArraySpec {
  readonly name: string;
  /** Without the snapshot axis. */
  readonly shape: readonly number[];
  /** One name an axis of `shape`. */
  readonly axes: readonly string[];
}

/** Numbers for a contiguous part of an array, starting at flat index `offset`. */
export interface Tile {
  readonly array: string;
  readonly offset: number;
  readonly data: Float32Array;
}

export interface Monitor {
  readonly title: string;
  /** One sentence: what it tells. */
  readonly summary: string;
  applies(run: WatchedRun): boolean;
  /** Looks only beside this monitor, whose numbers it uses. */
  readonly beside?: string;
  arrays(run: WatchedRun): readonly ArraySpec[];
  /** @throws "training.badParams", "site.unknown" when the parameters name what the run does not have */
  start(run: WatchedRun): Looker;
}

/** A monitor at work on one run. */
export interface Looker {
  /** Worlds whose logits a look reads: one batch a look runs those of all monitors, and each pays for as many as it named. */
  readonly worlds?: readonly World[];
  /** Once, before the first look. @returns seconds that a look is expected to take, where the first one does not tell */
  prepare?(signal: AbortSignal): Promise<number | null>;
  /** Numbers of every array by name, shaped as its spec; NaN where there is none. */
  look(moment: Moment): Promise<Readonly<Record<string, Float32Array>>>;
  /** What a resumed run needs from before; without it a look depends on nothing earlier. */
  state?(): Readonly<Record<string, FloatTensor>>;
  restore?(state: Readonly<Record<string, FloatTensor>>): void;
}

/** One number for each adapted site, in the run's order. */
export async function perSite(run: WatchedRun, value: (state: SiteState, index: number) => number | Promise<number>): Promise<Float32Array> {
  const values = new Float32Array(run.adaptation.sites.length);
  for (const [index, state] of run.adaptation.sites.entries()) values[index] = await value(state, index);
  return values;
}

/** A number a site. */
export function siteCurves(run: WatchedRun, name: string): ArraySpec {
  return { name, shape: [run.adaptation.sites.length], axes: ["site"] };
}
