/** What a forward pass of a training run is given, as inputs of its program: the names that tensors have there, put on and taken off. */
import type { Tensor } from "@tensorflow/tfjs-core";
import type { Batch } from "../data/example.ts";
import type { RandomStream } from "../linalg/random.ts";
import { inputsOf } from "../models/plan.ts";
import type { BatchEdit } from "../runs/worlds.ts";
import type { Tensors } from "../tensors/engine.ts";
import { float32, int32, type FloatTensor, type HostTensor } from "../tensors/hostTensor.ts";
import type { Adaptation } from "./adaptation.ts";
import type { ForwardTensors } from "./adaptedForward.ts";

export type TokenBatch = Pick<Batch, "rows" | "positions" | "tokens" | "tasks">;

/** What differs from the run as it is, row by row. */
export interface RowChanges {
  /** By site: what the adapter's term is multiplied by, `[rows, 1]`. */
  readonly gates?: Readonly<Record<string, FloatTensor>>;
  readonly edits?: readonly BatchEdit[];
}

type Inputs = Readonly<Record<string, HostTensor>>;

/** Tokens, what follows from their lengths, and tasks. @param lengths tokens without padding, of each row or of all */
export function batchInputs(
  { model, tasks: { length: tasks } }: Adaptation,
  { rows, positions, tokens, tasks: of }: TokenBatch,
  lengths: readonly number[],
): Inputs {
  const { family, config } = model;
  const stacks = Object.values(inputsOf(family));
  const extent = { positions: Object.fromEntries(stacks.map((stack) => [stack, positions])), lengths };
  return {
    ...prefixed("stream:", { tokens: int32(tokens, [rows, positions]), ...family.tables(config, extent) }),
    ...(tasks > 1 ? { tasks: oneHot(of, tasks) } : {}),
  };
}

/**
 * Masks of each site's inputs, none where p is 0. Exactly round(p · size) of them dropped would be another law; each is dropped with probability p.
 * @param rows batch · positions
 */
export function dropoutInputs({ sites }: Adaptation, rows: number, p: number, random: RandomStream): Inputs {
  if (p === 0) return {};
  const kept = 1 / (1 - p);
  const mask = (size: number) => Float32Array.from({ length: size }, () => (random.uniform() < p ? 0 : kept));
  return prefixed("dropout:", Object.fromEntries(sites.map(({ site: { name, dIn } }) => [name, float32(mask(rows * dIn), [rows, dIn])])));
}

export function changeInputs({ gates = {}, edits = [] }: RowChanges): Inputs {
  const by = (part: "mask" | "value") => prefixed(`${part}:`, Object.fromEntries(edits.map((edit) => [edit.hook, edit[part]])));
  return { ...prefixed("gate:", gates), ...by("mask"), ...by("value") };
}

/** @param weights as `forwardWeights` names them @param trained by key */
export function forwardTensors(inputs: Tensors, weights: Tensors, trained: Tensors): ForwardTensors {
  const { tasks } = inputs;
  return {
    streams: named("stream:", inputs),
    trained,
    weights,
    dropout: named("dropout:", inputs),
    gates: named("gate:", inputs),
    ...(tasks ? { tasks } : {}),
  };
}

export function editTensors(inputs: Tensors): ReadonlyMap<string, { readonly mask: Tensor; readonly value: Tensor }> {
  const values = named("value:", inputs);
  return new Map(
    Object.entries(named("mask:", inputs)).flatMap(([hook, mask]) => {
      const value = values[hook];
      return value ? [[hook, { mask, value }]] : [];
    }),
  );
}

/** Tensors under a prefix, by what follows it. */
function named(prefix: string, tensors: Tensors): Tensors {
  return Object.fromEntries(Object.entries(tensors).flatMap(([name, tensor]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), tensor]] : [])));
}

const prefixed = <T>(prefix: string, record: Readonly<Record<string, T>>): Record<string, T> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [prefix + key, value]));

function oneHot(indices: Int32Array, classes: number): FloatTensor {
  const data = new Float32Array(indices.length * classes);
  indices.forEach((index, row) => (data[row * classes + index] = 1));
  return float32(data, [indices.length, classes]);
}
