/** What a model family is: its parameters, its adapter sites, its hook points and its forward pass, written once in tfjs. */
import type { Tensor } from "@tensorflow/tfjs-core";
import type { Activation } from "./activations.ts";
import type { RopeConfig } from "./rope.ts";

/** What the forward pass needs to know; every field is read from `config.json`. */
export interface ModelConfig {
  readonly modelType: string;
  readonly nLayers: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly dModel: number;
  readonly dHead: number;
  readonly dMlp: number;
  readonly dVocab: number;
  readonly nCtx: number;
  readonly normEps: number;
  readonly activation: Activation;
  readonly tiedHead: boolean;
  /** Scale of the attention scores of each layer. */
  readonly attnScale: readonly number[];
  /** Keys further back than this are masked, per layer; null = all. */
  readonly slidingWindow: readonly (number | null)[];
  readonly rope: RopeConfig | null;
  readonly bias: { readonly qkv: boolean; readonly o: boolean; readonly mlp: boolean };
  readonly qkNorm: boolean;
}

/** A parameter as the checkpoint stores it. */
export interface ParamSpec {
  /** Name inside its stage, e.g. "attn.W_qkv". */
  readonly name: string;
  /** Key in the checkpoint, without the family's prefix. */
  readonly key: string;
  readonly shape: readonly number[];
}

/** A linear map of the base, where adapters act. */
export interface SiteSpec {
  /** Name inside its block ("attn.q"), or "embed" / "unembed". */
  readonly name: string;
  readonly dIn: number;
  readonly dOut: number;
  readonly weight: string;
  readonly bias: string | null;
  /** "outIn": stored `[dOut, dIn]`; "inOut": stored transposed (GPT-2's Conv1D). */
  readonly stored: "outIn" | "inOut";
  /** Path of the module inside the reference implementation, without the family's prefix. */
  readonly modulePath: string;
}

export const axes = ["batch", "pos", "dModel", "one", "head", "kvHead", "dHead", "dMlp", "destPos", "srcPos"] as const;
export type HookAxis = (typeof axes)[number];
export interface HookSpec {
  /** Name inside its stage: "hook_resid_pre", "attn.hook_z". */
  readonly name: string;
  readonly axes: readonly HookAxis[];
}

/** The three stages a forward pass is made of; a block stage is one layer. */
export const stages = ["embed", "block", "unembed"] as const;
export type Stage = (typeof stages)[number];

/** What a family's forward code sees while a stage is traced. */
export interface Frame {
  readonly config: ModelConfig;
  readonly layer: number;
  readonly batch: number;
  readonly positions: number;
  /** A parameter in its stored layout; one row a batch row when an adapter replaces it differently by row. */
  param(name: string): Tensor;
  /** y = W x + b plus what the adapters of the site add. `[batch, pos, dIn]` → `[batch, pos, dOut]`. */
  linear(site: string, x: Tensor): Tensor;
  /** Rows of an embedding table, adapters included. `[batch, pos]` int32 → `[batch, pos, dModel]`. */
  lookup(site: string, ids: Tensor): Tensor;
  /** A named place: taps it when asked for, replaces it where an intervention says so. */
  hook(name: string, value: Tensor): Tensor;
  /** cos and sin of the rotary angles, `[pos, dHead]` each; only for families with rope. */
  rotary(): { cos: Tensor; sin: Tensor };
}

export interface Family {
  readonly name: string;
  readonly modelTypes: readonly string[];
  /** Prefixes that checkpoints of this family put before every key ("transformer."), most usual first. */
  readonly prefixes: readonly string[];
  /** Checkpoint keys that carry nothing the forward pass needs (buffers). */
  readonly ignoredKeys: readonly RegExp[];
  /** @throws "config.malformed", "config.unsupported" */
  parseConfig(raw: Readonly<Record<string, unknown>>, where: string): ModelConfig;
  params(config: ModelConfig, stage: Stage, layer: number): readonly ParamSpec[];
  sites(config: ModelConfig, stage: Stage, layer: number): readonly SiteSpec[];
  hooks(config: ModelConfig, stage: Stage): readonly HookSpec[];
  /** token ids `[batch, pos]` int32 → residual `[batch, pos, dModel]` */
  embed(frame: Frame, tokens: Tensor, positionIds: Tensor): Tensor;
  /** residual → residual, `[batch, pos, dModel]` */
  block(frame: Frame, resid: Tensor): Tensor;
  /** residual → logits, `[batch, pos, dVocab]` */
  unembed(frame: Frame, resid: Tensor): Tensor;
}

/** Whether two layers run the same program: everything a block's trace reads of its layer. */
export function blockVariant(config: ModelConfig, layer: number): string {
  return `scale=${config.attnScale[layer]!} window=${config.slidingWindow[layer] ?? "all"}`;
}
