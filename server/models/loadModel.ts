/** Opens a `save_pretrained` folder: checks every tensor against the family before anything is computed. */
import { basename } from "node:path";
import { WorkbenchError } from "../errors.ts";
import { openCheckpoint, type Checkpoint } from "../formats/checkpoint.ts";
import { readModelConfig } from "../formats/modelConfig.ts";
import type { TensorEntry } from "../formats/safetensors.ts";
import { floatValues, tensorBytes } from "../formats/tensorValues.ts";
import { didYouMean } from "../nearNames.ts";
import { sameShape } from "../tensors/signature.ts";
import { halfDtypes, type Weight } from "../tensors/engine.ts";
import { sizeOf } from "../tensors/hostTensor.ts";
import type { Family, ModelConfig, ParamSpec, Segment } from "./family.ts";
import { familyOf } from "./registry.ts";

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
  /** Checkpoint tensors the forward pass does not use, and why that is right. */
  readonly unused: readonly string[];
  /** The parameters of a segment, by name. @throws "internal" when there is no such segment */
  weights(segment: string): Readonly<Record<string, Weight>>;
}

/**
 * @throws "config.malformed", "config.unsupported", "model.unknownFamily", "checkpoint.missingTensor",
 *   "checkpoint.shapeMismatch", and what opening the files throws
 */
export function loadModel(path: string): LoadedModel {
  const { raw, modelType } = readModelConfig(path);
  const family = familyOf(modelType, `${path}/config.json`);
  const config = family.parseConfig(raw, `${path}/config.json`);
  const checkpoint = openCheckpoint(path);
  const plan = family.plan(config);
  const prefix = findPrefix(family, plan, checkpoint, path);
  const keyOf = (spec: ParamSpec) => (spec.key.startsWith("/") ? spec.key.slice(1) : prefix + spec.key);

  const used = new Map<string, TensorEntry>();
  for (const spec of plan.flatMap(({ params }) => params)) {
    const key = keyOf(spec);
    const entry = checkpoint.entries.get(key);
    if (!entry) throw new WorkbenchError("checkpoint.missingTensor", `${path}: tensor "${key}" is missing; ${didYouMean(key, checkpoint.entries.keys())}`);
    if (!sameShape(entry.shape, spec.shape)) {
      throw new WorkbenchError("checkpoint.shapeMismatch", `${path}: "${key}" is [${entry.shape.join(", ")}]; config.json says [${spec.shape.join(", ")}]`);
    }
    used.set(key, entry);
  }
  const unused = [...checkpoint.entries.keys()].filter((key) => !used.has(key));
  refuseUnknown(family, config, prefix, unused, path);

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
    unused,
    weights(segment) {
      const found = weights.get(segment);
      if (!found) throw new WorkbenchError("internal", `${family.name} has no segment "${segment}"; ${didYouMean(segment, weights.keys())}`);
      return found;
    },
  };
}

/** A checkpoint tensor as a weight, in place in the mapped file; half precision can be had as bits or converted. */
export function entryWeight(entry: TensorEntry): Weight {
  const weight = { key: `${entry.file}:${entry.begin}`, shape: entry.shape, data: () => floatValues(entry) };
  const half = halfDtypes.find((dtype) => dtype === entry.dtype);
  // Two-byte values must lie on an even address to be viewed in place.
  if (half === undefined || entry.begin % 2 !== 0) return weight;
  return { ...weight, half: { dtype: half, bits: () => bitsOf(tensorBytes(entry)) } };
}

function bitsOf(bytes: Uint8Array<ArrayBuffer>): Uint16Array {
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
}

function findPrefix(family: Family, plan: readonly Segment[], checkpoint: Checkpoint, path: string): string {
  const first = plan.flatMap(({ params }) => params)[0]!;
  const prefix = family.prefixes.find((candidate) => checkpoint.entries.has(candidate + first.key));
  if (prefix === undefined) {
    const tried = family.prefixes.map((candidate) => `"${candidate}${first.key}"`).join(" or ");
    throw new WorkbenchError("checkpoint.missingTensor", `${path}: found no ${tried}; ${didYouMean(first.key, checkpoint.entries.keys())}`);
  }
  return prefix;
}

/** A tensor nobody reads is a sign of another architecture; only known buffers, a tied copy of the head and task heads may stay. */
function refuseUnknown(family: Family, config: ModelConfig, prefix: string, unused: readonly string[], path: string): void {
  const unknown = unused.filter((key) => {
    if (key === "lm_head.weight" && config.tiedHead) return false;
    if (key === "score.weight" || key === "classifier.weight" || key === "classifier.bias") return false;
    const bare = key.startsWith(prefix) ? key.slice(prefix.length) : key;
    return !family.ignoredKeys.some((pattern) => pattern.test(bare));
  });
  if (unknown.length > 0) {
    throw new WorkbenchError(
      "config.unsupported",
      `${path}: ${unknown.length} tensors are not part of ${family.name} as config.json describes it: ${unknown.slice(0, 4).join(", ")}${unknown.length > 4 ? ", …" : ""}`,
    );
  }
}
