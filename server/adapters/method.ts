/** What an adapter method is: how its tensors become sites, and what each site adds, written once in tfjs. */
import type { Tensor } from "@tensorflow/tfjs-core";
import type { AdapterConfig } from "../formats/adapterConfig.ts";
import type { AdapterKey } from "../formats/adapterKeys.ts";
import type { Weight, Tensors } from "../tensors/engine.ts";
import type { FactoredMatrix } from "../linalg/factored.ts";

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
  /** The method's own tensors of this module, by their names in `ownTensors`. */
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

export interface AdapterMethod {
  /** Name on screen. */
  readonly title: string;
  /** `peft_type` in adapter_config.json. */
  readonly peftType: string;
  readonly source: string;
  /** Whether the definition is the reference's own or reconstructed from a description. */
  readonly exactness: string;
  /** Fields of adapter_config.json that the method reads itself, from `config.raw`; checked in `loadSite`. */
  readonly ownFields?: readonly string[];
  /** Names of tensors in the file beyond LoRA's own ("vera_lambda_b", "lora_E"). */
  readonly ownTensors?: readonly string[];
  /** Whether a config with this `peft_type` is this method (DoRA is a LORA config with use_dora). */
  accepts(config: AdapterConfig): boolean;
  /** @throws "adapter.shapeMismatch", "adapter.malformed" naming the module */
  loadSite(config: AdapterConfig, parsed: ParsedSite): SiteAdapter;
  /** What the site adds to W x: `[batch, pos, dOut]`. */
  delta(inputs: DeltaInputs): Tensor;
}
