/** What an adapter method is: how its files open, what it adds to W x at each site, and in which ways it can be trained and saved. */
import type { Tensor } from "@tensorflow/tfjs-core";
import * as z from "zod";
import { fieldOfIssue, WorkbenchError } from "../errors.ts";
import type { AdapterConfig } from "../formats/adapterConfig.ts";
import type { AdapterKey } from "../formats/adapterKeys.ts";
import type { Tensors, Weight } from "../tensors/engine.ts";
import type { FactoredMatrix } from "../linalg/factored.ts";
import type { FloatTensor } from "../tensors/hostTensor.ts";
import type { RandomStream } from "../linalg/random.ts";

/** One adapter at one linear map of the base. */
export interface SiteAdapter {
  /** Full site name "blocks.3.attn.qkv"; the module path when there is no base to name it. */
  readonly site: string;
  readonly layer: number;
  readonly modulePath: string;
  readonly dIn: number;
  readonly dOut: number;
  readonly rank: number;
  readonly alpha: number;
  readonly scaling: number;
  /** The low-rank part s·B·A, from the file's own factors. */
  readonly factors: FactoredMatrix;
  /** A `[rank, dIn]` as on disk (hook_a = A x). */
  readonly loraA: Weight;
  /**
   * What the site's program reads. Low-rank methods have `read` = Vᵀ `[rank, dIn]` and `write` = U Σ `[dOut, rank]`,
   * the singular components of s·B·A, so that gate k means the k-th singular component.
   */
  weights(): Readonly<Record<string, Weight>>;
  /** ‖column of W + sBA‖ and such; null when the method adds s·B·A and nothing else. */
  readonly beyondLowRank: string | null;
}

export interface DeltaInputs {
  /** `[batch, pos, dIn]` */
  readonly x: Tensor;
  /** W x, without bias: `[batch, pos, dOut]` */
  readonly base: Tensor;
  /** Coefficients on the right singular vectors, gated: `[batch, pos, rank]` */
  readonly gated: Tensor;
  /** `[batch, 1, 1]` */
  readonly strength: Tensor;
  readonly weights: Tensors;
}

export interface ParsedSite {
  readonly modulePath: string;
  readonly keys: Readonly<Partial<Record<AdapterKey["role"], AdapterKey>>>;
  /** The method's own tensors of this module, by their names in `tensors`. */
  readonly own: Readonly<Record<string, AdapterKey>>;
  /** Those that all modules of the adapter share. */
  readonly shared: Readonly<Record<string, AdapterKey>>;
  readonly site: {
    readonly fullName: string;
    readonly layer: number;
    readonly dIn: number;
    readonly dOut: number;
    readonly stored: "outIn" | "inOut";
    readonly baseWeight: Weight;
  } | null;
  readonly isEmbedding: boolean;
  /** Largest sizes among the modules that the adapter's config names; null without the base. */
  readonly largest: { readonly dIn: number; readonly dOut: number } | null;
}

/** One method, whatever it is to be: opened from a file, or trained and saved. */
export interface AdapterMethod<Trainings = Readonly<Record<string, TrainingMethod>>> {
  /** Name on screen. */
  readonly title: string;
  /** `peft_type` in adapter_config.json. */
  readonly peftType: string;
  readonly source: string;
  /** Whether the definition is the reference's own or reconstructed from a description. */
  readonly exactness: string;
  /** Names of the fields of adapter_config.json that the method reads itself. */
  readonly fields: readonly string[];
  /** Names of tensors in the file beyond LoRA's own ("vera_lambda_b", "lora_E"). */
  readonly tensors: readonly string[];
  /** Whether a config with this `peft_type` is this method (DoRA is a LORA config with use_dora). */
  accepts(config: AdapterConfig): boolean;
  /** @throws "adapter.shapeMismatch", "adapter.malformed" naming the module */
  open(config: AdapterConfig, parsed: ParsedSite): SiteAdapter;
  /** What an opened site adds to W x: `[batch, pos, dOut]`. */
  delta(inputs: DeltaInputs): Tensor;
  /** The ways to train it, by the names that a run calls them. */
  readonly trainings: Trainings;
}

export interface MethodSpec<Fields extends z.ZodObject, Trainings> extends Pick<
  AdapterMethod<Trainings>,
  "title" | "peftType" | "source" | "exactness" | "delta" | "trainings"
> {
  /** Parser of the fields of adapter_config.json that are the method's own. */
  readonly fields: Fields;
  /** Fields that say how it was trained, with no say in what an opened adapter does. */
  readonly idleFields?: readonly string[];
  readonly tensors?: readonly string[];
  /** Without it every config with this `peft_type` is the method's. */
  readonly accepts?: (config: AdapterConfig) => boolean;
  readonly open: (config: AdapterConfig, fields: z.output<Fields>, parsed: ParsedSite) => SiteAdapter;
}

/** Parses the method's own fields at the door, so that `open` has them typed. */
export function defineMethod<Fields extends z.ZodObject, Trainings>(spec: MethodSpec<Fields, Trainings>): AdapterMethod<Trainings> {
  const { fields, idleFields = [], tensors = [], accepts = () => true, open, ...about } = spec;
  return {
    ...about,
    fields: [...Object.keys(fields.shape), ...idleFields],
    tensors,
    accepts,
    open(config, parsed) {
      const found = fields.safeParse(config.raw);
      if (!found.success)
        throw new WorkbenchError("adapter.malformed", `${config.dir}/adapter_config.json: ${z.prettifyError(found.error)}; expected a config of ${spec.title}`);
      return open(config, found.data, parsed);
    },
  };
}

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

/** The tensors that a method holds at a site, by name; a name with "?" is there under some options only. */
export interface SiteTensors {
  /** Changes at every step; in place, unless `afterStep` puts a tensor of another shape here. */
  readonly trained: Partial<Record<string, FloatTensor>>;
  /** Never changes while training; sites that share a tensor have the same key. */
  readonly frozen: Partial<Record<string, Weight>>;
  /** Kept between steps without a gradient (importance averages); saved in checkpoints. */
  readonly memory: Partial<Record<string, FloatTensor>>;
}

/** As the trainer and the monitors see them: by name only. */
export interface AnyTensors extends SiteTensors {
  readonly trained: Record<string, FloatTensor>;
  readonly frozen: Record<string, Weight>;
  readonly memory: Record<string, FloatTensor>;
}

/** Of one sort of tensor, none. */
export type None = Readonly<Record<string, never>>;

/** The same names with other values: tensors of a traced program, a rule each. */
export type Named<Names, Value> = { readonly [Name in keyof Names]: Value };

/** All that one site holds beside the base. */
export type SiteState<Held extends SiteTensors = AnyTensors> = Held & { readonly site: TrainingSite };

/** How one kind of parameter is trained. */
export interface ParameterRule {
  /** Whether weight decay acts on it. */
  readonly decays: boolean;
  /** A rate of its own, constant; without it the scheduled one. */
  readonly learningRate?: number;
  /** Decoupled L1: p ← p − λ sign(p), λ times the rate when `timesRate`. */
  readonly lasso?: { readonly strength: number; readonly timesRate: boolean };
}

export interface DeltaContext<Options, Held extends SiteTensors = AnyTensors> {
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
  readonly trained: Named<Held["trained"], Tensor>;
  readonly frozen: Named<Held["frozen"], Tensor>;
  /** One-hot task of each row, `[rows, tasks]`; null when there is one task. */
  readonly tasks: Tensor | null;
}

export interface PenaltySite<Held extends SiteTensors = AnyTensors> {
  readonly site: TrainingSite;
  readonly trained: Named<Held["trained"], Tensor>;
  readonly frozen: Named<Held["frozen"], Tensor>;
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

export interface InputsContext<Options, Held extends SiteTensors = AnyTensors> extends Omit<StartContext<Options>, "allSites"> {
  readonly sites: readonly SiteState<Held>[];
  /** One batch at a time: the inputs of every site on training data with the adapter off, `[rows, dIn]`, padding left out. */
  inputs(options: { readonly fraction: number }): AsyncIterable<ReadonlyMap<string, FloatTensor>>;
}

export interface StepContext<Options, Held extends SiteTensors = AnyTensors> {
  readonly options: Options;
  /** Steps done, counting this one. */
  readonly step: number;
  readonly totalSteps: number;
  readonly sites: readonly SiteState<Held>[];
  /** Of this step, before clipping, by site name and parameter. */
  gradient(site: string, parameter: keyof Held["trained"] & string): Float32Array;
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
export interface Gauge<Held extends SiteTensors = AnyTensors> {
  readonly id: string;
  readonly label: string;
  readonly unit: string;
  /** Longest it can become, so that a figure can be laid out before the run. */
  readonly length: number;
  values(state: SiteState<Held>): Float32Array;
}

export interface TrainingSpec<Options, Held extends SiteTensors = AnyTensors> {
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
  start(site: TrainingSite, context: StartContext<Options>): Held;
  /** Learns frozen tensors from the inputs of the sites before training (IPA); writes into the states. */
  learnInputs?(context: InputsContext<Options, Held>): Promise<void>;
  /** By name of the trained tensor. */
  rules(options: Options): Named<Required<Held["trained"]>, ParameterRule>;
  /** What the site adds to W x: `[rows, dOut]`, in tfjs operations, differentiable in `trained`. */
  delta(context: DeltaContext<Options, Held>): Tensor;
  /** Added to the loss: a scalar. */
  penalty?(sites: readonly PenaltySite<Held>[], options: Options): Tensor;
  /** What a reader should know of these options in a run of this length, before it begins; null when nothing. */
  warning?(options: Options, totalSteps: number): string | null;
  afterStep?(context: StepContext<Options, Held>): StepChange;
  /** ΔW of one task as it is now, in factors: exact unless `beyondLowRank` says what is missing. */
  deltaWeight(state: SiteState<Held>, options: Options, task?: number): FactoredMatrix;
  /** What the update does that `deltaWeight` cannot hold (DoRA's rescaled rows); then `denseDelta` has it. */
  readonly beyondLowRank?: string;
  /** c `[dOut]` where the adapted weight is diag(c) (W + ΔW) with ΔW as in `deltaWeight`. */
  rowScales?(state: SiteState<Held>, options: Options): Float32Array;
  /** ΔW `[dOut, dIn]`, dense, exact. */
  denseDelta?(state: SiteState<Held>, options: Options, task?: number): Float32Array;
  gauges?(options: Options, tasks: readonly string[]): readonly Gauge<Held>[];
  save(sites: readonly SiteState<Held>[], options: Options, tasks: readonly string[]): SavedAdapter;
}

/** What the table and the trainer see: options are parsed at the door, then opaque. */
export interface TrainingMethod extends Omit<TrainingSpec<unknown>, "options"> {
  readonly schema: z.ZodType;
  /** @throws "training.badOptions" naming the field */
  parseOptions(raw: unknown): unknown;
}

/** Keeps a training fully typed inside. */
export function defineTraining<Options, Held extends SiteTensors>({ options: schema, ...spec }: TrainingSpec<Options, Held>): TrainingMethod {
  // Every `options: unknown` that comes back was made by parseOptions, and every state by start, so they are Options and Held.
  const typed = spec as Omit<TrainingSpec<Options, Held>, "options"> as unknown as Omit<TrainingSpec<unknown>, "options">;
  return {
    ...typed,
    schema,
    parseOptions(raw) {
      const parsed = schema.safeParse(raw);
      if (!parsed.success)
        throw new WorkbenchError("training.badOptions", `${spec.title}: ${z.prettifyError(parsed.error)}`, {
          field: fieldOfIssue(parsed.error.issues, ["options"]),
        });
      return parsed.data;
    },
  };
}

/** Key of a site's tensor in an adapter file. */
export function savedKey(site: Pick<TrainingSite, "modulePath">, suffix: string): string {
  return `base_model.model.${site.modulePath}.${suffix}`;
}
