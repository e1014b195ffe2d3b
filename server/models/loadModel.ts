/** Opens a `save_pretrained` folder: checks every tensor against the family before anything is computed. */
import { basename } from "node:path";
import { WorkbenchError } from "../errors.ts";
import { openCheckpoint, type Checkpoint } from "../formats/checkpoint.ts";
import { readModelConfig } from "../formats/modelConfig.ts";
import type { TensorEntry } from "../formats/safetensors.ts";
import { floatValues, tensorBytes } from "../formats/tensorValues.ts";
import { didYouMean } from "../nearNames.ts";
import { namedShort, quoted } from "../quoted.ts";
import { sameShape } from "../tensors/signature.ts";
import { halfDtypes, type Weight } from "../tensors/engine.ts";
import { sizeOf } from "../tensors/hostTensor.ts";
import type { Family, ModelConfig, ParamSpec, Segment } from "./family.ts";
import { configNotes } from "./configNotes.ts";
import { families, familyOf } from "./registry.ts";

export interface LoadedModel {
  readonly path: string;
  readonly name: string;
  readonly family: Family;
  readonly config: ModelConfig;
  /** The forward pass in its order. */
  readonly plan: readonly Segment[];
  readonly checkpoint: Checkpoint;
  readonly dtype: string;
  readonly parameters: number;
  /** What a reader must know: how the files were read where they disagree, and what of them is not used. */
  readonly notes: readonly string[];
  /** The parameters of a segment, by name. @throws "internal" when there is no such segment */
  weights(segment: string): Readonly<Record<string, Weight>>;
}

/**
 * @param known the table of families
 * @throws "config.malformed", "config.unsupported", "model.unknownFamily", "checkpoint.missingTensor",
 *   "checkpoint.shapeMismatch", and what opening the files throws
 */
export function loadModel(path: string, known = families): LoadedModel {
  const { raw, modelType } = readModelConfig(path);
  const family = familyOf(modelType, `${path}/config.json`, known);
  const asked = family.parseConfig(raw, `${path}/config.json`);
  const checkpoint = openCheckpoint(path);
  const prefix = findPrefix(family, family.plan(asked), checkpoint, path);
  const { config, entries, note } = headAsStored(family.plan(asked), asked, prefix, checkpoint.entries, path);
  const plan = family.plan(config);
  const keyOf = (spec: ParamSpec) => (spec.key.startsWith("/") ? spec.key.slice(1) : prefix + spec.key);

  const used = new Map<string, TensorEntry>();
  for (const spec of plan.flatMap(({ params }) => params)) {
    const key = keyOf(spec);
    const entry = entries.get(key);
    if (!entry) throw missingTensor(key, entries, raw, path);
    if (!sameShape(entry.shape, spec.shape)) {
      throw new WorkbenchError("checkpoint.shapeMismatch", `${path}: "${key}" is [${entry.shape.join(", ")}]; config.json says [${spec.shape.join(", ")}]`);
    }
    used.set(key, entry);
  }
  const unused = [...checkpoint.entries.keys()].filter((key) => !used.has(key));
  refuseUnknown(family, config, prefix, unused, path);
  const heads = unused.filter(isTaskHead);
  const notes = [
    ...configNotes(raw, modelType, `${path}/config.json`),
    ...(note === null ? [] : [note]),
    ...(heads.length === 0 ? [] : [`${heads.map(namedShort).join(", ")}: a head for another task; it is not used, these are the language model's numbers`]),
  ];

  const weightOf = (spec: ParamSpec): Weight => entryWeight(used.get(keyOf(spec))!);
  const weights = new Map(plan.map(({ id, params }) => [id, Object.fromEntries(params.map((spec) => [spec.name, weightOf(spec)]))]));
  return {
    path,
    name: basename(path),
    family,
    config,
    plan,
    checkpoint,
    dtype: [...new Set([...used.values()].map((entry) => entry.dtype))].join(" + "),
    parameters: [...used.values()].reduce((sum, entry) => sum + sizeOf(entry.shape), 0),
    notes,
    weights(segment) {
      const found = weights.get(segment);
      if (!found) throw new WorkbenchError("internal", `${family.name} has no segment "${segment}"; ${didYouMean(segment, weights.keys())}`);
      return found;
    },
  };
}

/** A checkpoint tensor as a weight, in place in the mapped file; half precision can be had as bits or converted. */
export function entryWeight(entry: TensorEntry): Weight {
  const weight = { key: entry.id, shape: entry.shape, data: () => floatValues(entry) };
  const half = halfDtypes.find((dtype) => dtype === entry.dtype);
  // Two-byte values must lie on an even address to be viewed in place.
  if (half === undefined || entry.begin % 2 !== 0) return weight;
  return { ...weight, half: { dtype: half, bits: () => bitsOf(tensorBytes(entry)) } };
}

function bitsOf(bytes: Uint8Array<ArrayBuffer>): Uint16Array {
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
}

/** The key under which a checkpoint has a head of its own. */
const headKey = "lm_head.weight";

/**
 * A tied head as the files have it: one that differs from the embedding is a head of its own, whatever config.json says, as transformers 5 reads it;
 * one that is there without the embedding is both.
 */
function headAsStored(
  plan: readonly Segment[],
  config: ModelConfig,
  prefix: string,
  entries: ReadonlyMap<string, TensorEntry>,
  path: string,
): { config: ModelConfig; entries: ReadonlyMap<string, TensorEntry>; note: string | null } {
  const head = entries.get(headKey);
  const [spec] = plan[0]?.params ?? [];
  if (!config.tiedHead || !head || !spec) return { config, entries, note: null };
  const embedding = entries.get(prefix + spec.key);
  if (!embedding) return { config, entries: new Map([...entries, [prefix + spec.key, head]]), note: null };
  const isEqual = embedding.dtype === head.dtype && sameShape(embedding.shape, head.shape) && Buffer.compare(tensorBytes(embedding), tensorBytes(head)) === 0;
  if (isEqual) return { config, entries, note: null };
  const note =
    `${path}: config.json says that head and embedding are tied, but "${headKey}" differs from "${prefix}${spec.key}"; each ` +
    `is used as it is in the file, as transformers 5 does`;
  return { config: { ...config, tiedHead: false }, entries, note };
}

function missingTensor(key: string, entries: ReadonlyMap<string, TensorEntry>, raw: Readonly<Record<string, unknown>>, path: string): WorkbenchError {
  const heads = [...entries.keys()].filter(isTaskHead);
  if (key === headKey && heads.length > 0) {
    const architecture = Array.isArray(raw["architectures"]) ? ` (${raw["architectures"].map((name) => quoted(name)).join(", ")})` : "";
    return new WorkbenchError(
      "checkpoint.missingTensor",
      `${path} is a classifier or reward model${architecture}: it has ${heads.map(namedShort).join(", ")} and no "${headKey}"; expected a language model. ` +
        "Open the base that it was trained from, with the adapter beside it",
    );
  }
  return new WorkbenchError("checkpoint.missingTensor", `${path}: tensor "${key}" is missing; ${didYouMean(key, entries.keys())}`);
}

function findPrefix(family: Family, plan: readonly Segment[], checkpoint: Checkpoint, path: string): string {
  // By a block's parameters too: a tied checkpoint may have no embedding but only a head.
  const keys = plan.slice(0, 2).flatMap(({ params }) => params.slice(0, 1).map(({ key }) => key));
  const prefix = family.prefixes.find((candidate) => keys.some((key) => checkpoint.entries.has(candidate + key)));
  if (prefix === undefined) {
    const first = keys[0] ?? "";
    const tried = family.prefixes.map((candidate) => `"${candidate}${first}"`).join(" or ");
    throw new WorkbenchError("checkpoint.missingTensor", `${path}: found no ${tried}; ${didYouMean(first, checkpoint.entries.keys())}`);
  }
  return prefix;
}

/** Heads that sequence classifiers, reward models and value models put on a language model. */
function isTaskHead(key: string): boolean {
  return /^(score|classifier|v_head|value_head|reward_head|regression_head|qa_outputs)\b/.test(key);
}

/** A tensor nobody reads is a sign of another architecture; only known buffers, a tied copy of the head and task heads may stay. */
function refuseUnknown(family: Family, config: ModelConfig, prefix: string, unused: readonly string[], path: string): void {
  const unknown = unused.filter((key) => {
    if ((key === headKey && config.tiedHead) || isTaskHead(key)) return false;
    const bare = key.startsWith(prefix) ? key.slice(prefix.length) : key;
    return !family.ignoredKeys.some((pattern) => pattern.test(bare));
  });
  if (unknown.length > 0) {
    throw new WorkbenchError(
      "config.unsupported",
      `${path}: ${unknown.length} tensors are not part of ${family.name} as config.json describes it: ` +
        `${unknown.slice(0, 4).map(namedShort).join(", ")}${unknown.length > 4 ? ", …" : ""}`,
    );
  }
}
