/** What a model family is: its config, and its forward pass as a plan of segments, written once in tfjs. */
import type { Tensor } from "@tensorflow/tfjs-core";
import type { Tensors } from "../tensors/engine.ts";
import type { HostTensor } from "../tensors/hostTensor.ts";
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
  /** Whether head and embedding are one matrix in effect: false where the file has a head of its own that differs, whatever config.json says. */
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
  /** Name inside its segment, e.g. "attn.W_qkv". */
  readonly name: string;
  /** Key in the checkpoint, without the family's prefix; "/" before it where the reference has it beside the prefixed module. */
  readonly key: string;
  readonly shape: readonly number[];
}

/** What an adapter may stand on: a linear map inside the model, the embedding table, or the output head. */
export const siteKinds = ["linear", "embedding", "head"] as const;
export type SiteKind = (typeof siteKinds)[number];

/** A linear map of the base, where adapters act. */
export interface SiteSpec {
  /** Name inside its segment ("attn.q"), or "embed" / "unembed". */
  readonly name: string;
  readonly kind: SiteKind;
  readonly dIn: number;
  readonly dOut: number;
  readonly weight: string;
  readonly bias: string | null;
  /** "outIn": stored `[dOut, dIn]`; "inOut": stored transposed (GPT-2's Conv1D). */
  readonly stored: "outIn" | "inOut";
  /** Path of the module inside the reference implementation, without the family's prefix. */
  readonly modulePath: string;
  /** Where its inputs lie when that is not the segment's own positions: keys and values of cross-attention are made of the other stack's. */
  readonly along?: "crossPos";
}

/** Position axes are as long as the segment's stack; "crossPos" as the stack that it `crosses` to. */
export const positionAxes = ["pos", "destPos", "srcPos", "crossPos"] as const;
export const axes = ["batch", ...positionAxes, "dModel", "one", "head", "kvHead", "dHead", "dMlp"] as const;
export type HookAxis = (typeof axes)[number];
export interface HookSpec {
  /** Name inside its segment: "hook_resid_pre", "attn.hook_z". */
  readonly name: string;
  readonly axes: readonly HookAxis[];
}

/** A tensor that goes from segment to segment ("resid", "encoded"), comes from outside ("tokens") or follows from the lengths ("cos"). */
export type StreamName = string;

/** What a segment's code sees while it is traced; all it may depend on comes through here. */
export interface Frame {
  /** What is read of it is part of the program's key, so that models that differ there never share a program. */
  readonly config: ModelConfig;
  readonly batch: number;
  /** Of the segment's own stack. */
  readonly positions: number;
  /** This layer's entry of a field with one a layer. */
  ofLayer<Field extends LayerField>(field: Field): ModelConfig[Field][number];
  /** A parameter that acts on the last axis of a tensor with batch first; where an adapter replaces it, one row a batch row. */
  vector(name: string, rank: number): Tensor;
  /** Rows of a table that every batch row reads alike: ids `[pos]` int32 → `[batch, pos, d]`. */
  table(name: string, ids: Tensor): Tensor;
  /** y = W x + b plus what the adapters of the site add. `[batch, pos, dIn]` → `[batch, pos, dOut]`. */
  linear(site: string, x: Tensor): Tensor;
  /** Rows of an embedding table, adapters included. `[batch, pos]` int32 → `[batch, pos, dModel]`. */
  lookup(site: string, ids: Tensor): Tensor;
  /** A named place: taps it when asked for, replaces it where an intervention says so. */
  hook(name: string, value: Tensor): Tensor;
  /** What the queries of these positions look at: their own keys and values, after those of the positions that this run leaves out. */
  seen(k: Tensor, v: Tensor): Seen;
  /** `[batch, pos, …]` → `[batch, 1, …]` where one position's output is wanted and no other's; elsewhere as it is. */
  asked(x: Tensor): Tensor;
}

/** Keys and values of attention: `[batch, pos, kvHeads, dHead]` each. */
export interface Seen {
  readonly k: Tensor;
  readonly v: Tensor;
  /** Places of the queries among the keys, `[queries]` float32. */
  readonly queries: Tensor;
}

/** Fields of the config with one value a layer. */
export type LayerField = { [Field in keyof ModelConfig]: ModelConfig[Field] extends readonly unknown[] ? Field : never }[keyof ModelConfig];

/** A part of the forward pass that is run as one program: an embedding, one layer, a head. */
export interface Segment {
  /** "embed", "blocks.3", "encoder.0", "unembed" */
  readonly id: string;
  /** What its hooks and sites have before their names: "blocks.3.", or nothing. */
  readonly scope: string;
  /** Null outside the layers of a stack. */
  readonly layer: number | null;
  readonly stack: string;
  /** The other stack that its "crossPos" axes count. */
  readonly crosses?: string;
  readonly reads: readonly StreamName[];
  readonly writes: StreamName;
  readonly params: readonly ParamSpec[];
  readonly sites: readonly SiteSpec[];
  readonly hooks: readonly HookSpec[];
  /** Whether it acts on each position by itself, so that it can run on those alone whose output is wanted. */
  readonly isPositionwise?: boolean;
  /**
   * Whether it knows other positions only by `frame.seen`, and takes queries and residual through `frame.asked`: it can then go on after
   * a prompt's beginning that ran before, and give one position alone.
   */
  readonly resumes?: boolean;
  /**
   * Segments with the same function share programs, so it is one function for all layers, and what differs between them it asks of the frame.
   * Every parameter, site and hook named in it is one of the segment's own.
   */
  readonly run: (frame: Frame, streams: Tensors) => Tensor;
}

/** How long the prompts of a forward pass are. */
export interface Extent {
  /** Places of each stack, padding included. */
  readonly positions: Readonly<Record<string, number>>;
  /** Tokens without padding, one a row, or one for all rows: what rope with a length of its own goes by. */
  readonly lengths: readonly number[];
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
  /** The forward pass in its order; the last segment writes the logits `[batch, pos, dVocab]`. */
  plan(config: ModelConfig): readonly Segment[];
  /** Streams that come from outside and the stack whose length each sets; `{ tokens: "decoder" }` when left out. */
  readonly inputs?: Readonly<Record<StreamName, string>>;
  /** Streams that follow from the lengths of the prompts: position ids, rotary angles. */
  tables(config: ModelConfig, extent: Extent): Readonly<Record<StreamName, HostTensor>>;
}
