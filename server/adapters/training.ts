/** What an adapter method is while it trains: its parameters, what it adds to W x, its rules, and how it is saved. */
import type { Tensor } from "@tensorflow/tfjs-core";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import type { Tensors, Weight } from "../tensors/engine.ts";
import type { FactoredMatrix } from "../linalg/factored.ts";
import type { FloatTensor } from "../tensors/hostTensor.ts";
import type { RandomStream } from "../linalg/random.ts";

/** A linear map of the base that gets an adapter. */
export interface TrainingSite {
  /** "blocks.3.attn.qkv" */
  readonly name: string;
  readonly layer: number;
  /** As PEFT spells it in files, without "base_model.model.": "transformer.h.3.attn.c_attn". */
  readonly modulePath: string;
  readonly dIn: number;
  readonly dOut: number;
  /** How `baseWeight` lies: `[dOut, dIn]`, or transposed (GPT-2). */
  readonly stored: "outIn" | "inOut";
  readonly baseWeight: Weight;
}

/** All that one site holds beside the base. */
export interface SiteState {
  readonly site: TrainingSite;
  /** Changes at every step; in place, unless `afterStep` puts a tensor of another shape here. */
  readonly trained: Record<string, FloatTensor>;
  /** Never changes while training; sites that share a tensor have the same key. */
  readonly frozen: Record<string, Weight>;
  /** Kept between steps without a gradient (importance averages); saved in checkpoints. */
  readonly memory: Record<string, FloatTensor>;
}

/** How one kind of parameter is trained. */
export interface ParameterRule {
  /** Whether weight decay acts on it. */
  readonly decays: boolean;
  /** A rate of its own, constant; without it the scheduled one. */
  readonly learningRate?: number;
  /** Decoupled L1: p ← p − λ sign(p), λ times the rate when `timesRate`. */
  readonly lasso?: { readonly strength: number; readonly timesRate: boolean };
  /** Clamped into this after each step. */
  readonly range?: readonly [number, number];
}

export interface DeltaContext<Options> {
  readonly site: TrainingSite;
  readonly options: Options;
  /** Site inputs after dropout, `[rows, dIn]`; rows = batch · positions. */
  readonly x: Tensor;
  /** Site inputs before dropout; the same tensor when there is none. */
  readonly xClean: Tensor;
  /** W x without bias, of `xClean`: `[rows, dOut]` */
  readonly base: Tensor;
  /** W as `site.stored` says. */
  readonly weight: Tensor;
  readonly trained: Tensors;
  readonly frozen: Tensors;
  /** One-hot task of each row, `[rows, tasks]`; null when there is one task. */
  readonly tasks: Tensor | null;
}

export interface PenaltySite {
  readonly site: TrainingSite;
  readonly trained: Tensors;
  readonly frozen: Tensors;
  /** W as `site.stored` says. */
  readonly weight: Tensor;
}

/** Seeded streams: the same labels give the same numbers, whatever else was drawn. */
export type RandomSource = (...labels: readonly (string | number)[]) => RandomStream;

export interface StartContext<Options> {
  readonly options: Options;
  /** Label draws by the site's name where sites must differ, and without it where they share. */
  readonly random: RandomSource;
  /** Unique to the run: prefix of every frozen tensor's key that is not shared between runs. */
  readonly runKey: string;
  readonly tasks: readonly string[];
  /** Every site that the run trains, for methods whose sites share a tensor (VeRA). */
  readonly allSites: readonly TrainingSite[];
}

/** `trained`, `frozen` and `memory` of one site before the first step. */
export type SiteStart = Pick<SiteState, "trained" | "frozen"> & Partial<Pick<SiteState, "memory">>;

export interface InputsContext<Options> extends Omit<StartContext<Options>, "allSites"> {
  readonly sites: readonly SiteState[];
  /** One batch at a time: the inputs of every site on training data with the adapter off, `[rows, dIn]`, padding left out. */
  inputs(options: { readonly fraction: number }): AsyncIterable<ReadonlyMap<string, FloatTensor>>;
}

export interface StepContext<Options> {
  readonly options: Options;
  /** Steps done, counting this one. */
  readonly step: number;
  readonly totalSteps: number;
  readonly sites: readonly SiteState[];
  /** Of this step, before clipping, by site name and parameter. */
  gradient(site: string, parameter: string): Float32Array;
  readonly random: RandomSource;
}

export interface StepChange {
  /** Sites whose trained tensors have other shapes now; their moments begin anew. */
  readonly reshaped: readonly string[];
  /** All moments begin anew, as when the reference rebuilds its optimizer. */
  readonly resetsMoments?: boolean;
  /** Words for the log and the figures, when something worth a marker happened. */
  readonly note: string | null;
}

/** What is written into an adapter folder. */
export interface SavedAdapter {
  /** Fields of adapter_config.json beyond those common to all (base, targets, task type). */
  readonly config: Readonly<Record<string, unknown>>;
  /** By full key: "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight". */
  readonly tensors: ReadonlyMap<string, FloatTensor>;
}

/** A number or list per site that a method lets one watch: gates, current rank. */
export interface Gauge {
  readonly id: string;
  readonly label: string;
  readonly unit: string;
  /** Longest it can become, so that a figure can be laid out before the run. */
  readonly length: number;
  values(state: SiteState): Float32Array;
}

export interface TrainingSpec<Options> {
  readonly title: string;
  /** One sentence: what it trains and what that is good for. */
  readonly summary: string;
  readonly source: string;
  /** "as in PEFT", or which parts are reconstructed. */
  readonly exactness: string;
  readonly isReconstructed: boolean;
  /** Parser, defaults and form; every field has `.describe()`. */
  readonly options: z.ZodType<Options>;
  /** @throws "training.badOptions" when the site cannot carry the options (rank above a dimension) */
  parameterCount(site: Pick<TrainingSite, "name" | "dIn" | "dOut">, options: Options, tasks: number): number;
  start(site: TrainingSite, context: StartContext<Options>): SiteStart;
  /** Learns frozen tensors from the inputs of the sites before training (IPA); writes into the states. */
  learnInputs?(context: InputsContext<Options>): Promise<void>;
  /** By name of the trained tensor. */
  rules(options: Options): Readonly<Record<string, ParameterRule>>;
  /** What the site adds to W x: `[rows, dOut]`, in tfjs operations, differentiable in `trained`. */
  delta(context: DeltaContext<Options>): Tensor;
  /** Added to the loss: a scalar. */
  penalty?(sites: readonly PenaltySite[], options: Options): Tensor;
  afterStep?(context: StepContext<Options>): StepChange;
  /** ΔW of one task as it is now, in factors: exact unless `beyondLowRank` says what is missing. */
  deltaWeight(state: SiteState, options: Options, task?: number): FactoredMatrix;
  /** What the update does that `deltaWeight` cannot hold (DoRA's rescaled rows); then `denseDelta` has it. */
  readonly beyondLowRank?: string;
  /** ΔW `[dOut, dIn]`, dense, exact. */
  denseDelta?(state: SiteState, options: Options, task?: number): Float32Array;
  gauges?(options: Options, tasks: readonly string[]): readonly Gauge[];
  save(sites: readonly SiteState[], options: Options, tasks: readonly string[]): SavedAdapter;
}

/** What the table and the trainer see: options are parsed at the door, then opaque. */
export interface TrainingMethod extends Omit<TrainingSpec<unknown>, "options"> {
  readonly schema: z.ZodType;
  /** @throws "training.badOptions" naming the field */
  parseOptions(raw: unknown): unknown;
}

/** Keeps a method fully typed inside. */
export function defineTraining<Options>({ options: schema, ...spec }: TrainingSpec<Options>): TrainingMethod {
  // Every `options: unknown` that comes back was made by parseOptions, so it is an Options.
  const typed = spec as Omit<TrainingSpec<Options>, "options"> as Omit<TrainingSpec<unknown>, "options">;
  return {
    ...typed,
    schema,
    parseOptions(raw) {
      const parsed = schema.safeParse(raw);
      if (!parsed.success) throw new WorkbenchError("training.badOptions", `${spec.title}: ${z.prettifyError(parsed.error)}`);
      return parsed.data;
    },
  };
}

/** Key of a site's tensor in an adapter file. */
export function savedKey(site: Pick<TrainingSite, "modulePath">, suffix: string): string {
  return `base_model.model.${site.modulePath}.${suffix}`;
}
