/** The tensor names of adapter_model.safetensors, in every layout that PEFT has written for LoRA. */
import { WorkbenchError } from "../errors.ts";
import type { AdapterConfig } from "./adapterConfig.ts";
import type { TensorEntry } from "./safetensors.ts";

export const adapterRoles = ["loraA", "loraB", "embeddingA", "embeddingB", "magnitude", "loraBBias", "bias", "saved", "rows", "own"] as const;
/**
 * `bias`: a bias of the base that was trained; `saved`: a parameter that replaces the base's; `rows`: some rows of one (trainable_token_indices); `own`:
 * a tensor of a method other than LoRA.
 */
export type AdapterRole = (typeof adapterRoles)[number];

export interface AdapterKey {
  /** Path in the base model, "transformer.h.0.attn.c_attn". */
  readonly modulePath: string;
  readonly role: AdapterRole;
  /** Which parameter of the module, for `bias` and `saved`. */
  readonly param?: "weight" | "bias";
  /** The method's name for the tensor ("vera_lambda_b"), for `own`; `modulePath` is "" when all modules share it. */
  readonly own?: string;
  /** For `saved`: named by modules_to_save, so that this module gets a weight of its own; else a copy of the base's parameter, shared as the base shares it. */
  readonly isOwnCopy?: boolean;
  /** Names that a training wrapper put into the key ("_orig_mod"), taken out again. */
  readonly wrappers?: readonly string[];
  /** The adapter's name, where the file still has it. */
  readonly adapterName?: string;
  readonly entry: TensorEntry;
}

/** What torch.compile, FSDP and activation checkpointing put into module paths, anywhere, and DDP in front. */
const wrapperNames = new Set(["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"]);

/** A key as PEFT would have written it, and the wrappers' names that stood in it. */
function unwrapped(name: string): { key: string; wrappers: readonly string[] } {
  const parts = name.split(".");
  const wrappers = parts.filter((part) => wrapperNames.has(part));
  let key = parts.filter((part) => !wrapperNames.has(part)).join(".");
  const takeOff = (front: string): boolean => {
    if (!key.startsWith(front)) return false;
    key = key.slice(front.length);
    return true;
  };
  while (takeOff("module.")) wrappers.push("module");
  takeOff(prefix);
  for (;;) {
    if (takeOff("module.")) wrappers.push("module");
    else if (takeOff(prefix)) wrappers.push("base_model.model");
    else return { key, wrappers };
  }
}

/** PeftModel and LoraModel each wrap the base once. Files written before PEFT 0.2, and by hand, have no prefix. */
const prefix = "base_model.model.";

/** `.default` in `lora_A.default.weight`: an adapter's name has no dot in it. */
const named = "(?:\\.(?!weight$|bias$)(?<adapter>[^.]+))?";
const layouts: readonly { readonly role: AdapterRole; readonly pattern: RegExp }[] = [
  { role: "loraA", pattern: new RegExp(`^(?<path>.+)\\.lora_A${named}\\.weight$`) },
  { role: "loraB", pattern: new RegExp(`^(?<path>.+)\\.lora_B${named}\\.weight$`) },
  { role: "loraBBias", pattern: new RegExp(`^(?<path>.+)\\.lora_B${named}\\.bias$`) },
  { role: "embeddingA", pattern: new RegExp(`^(?<path>.+)\\.lora_embedding_A${named}(?:\\.weight)?$`) },
  { role: "embeddingB", pattern: new RegExp(`^(?<path>.+)\\.lora_embedding_B${named}(?:\\.weight)?$`) },
  // A parameter before PEFT 0.11, a module with a weight after it; the file keeps the old name.
  { role: "magnitude", pattern: new RegExp(`^(?<path>.+)\\.lora_magnitude_vector${named}(?:\\.weight)?$`) },
  { role: "bias", pattern: /^(?<path>.+)\.base_layer\.(?<param>bias)$/ },
  { role: "rows", pattern: new RegExp(`^(?<path>.+)\\.token_adapter\\.trainable_tokens_delta${named}(?:\\.weight)?$`) },
  { role: "saved", pattern: /^(?<path>.+)\.token_adapter\.base_layer\.(?<param>weight)$/ },
  // The embedding itself, saved beside an adapter that targets it.
  { role: "saved", pattern: /^(?<path>.+)\.base_layer\.(?<param>weight)$/ },
];
const savedInWrapper = /^(?<path>.+)\.modules_to_save\.(?<adapter>[^.]+)(?<below>(?:\.[^.]+)*)\.(?<param>weight|bias)$/;
const plain = /^(?<path>.+)\.(?<param>weight|bias)$/;

/** Embeddings and heads, which PEFT saves unasked when the vocabulary was resized. */
const embeddingName = /(^|\.)(embed_tokens|lm_head|wte|embed_in|embed_out|word_embeddings|shared|tok_embeddings)$/;

type NamingConfig = Pick<AdapterConfig, "modulesToSave" | "bias">;

/**
 * @param config with it, a bare `weight` or `bias` must be one that the config lets PEFT save
 * @param ownTensors names of the method's own tensors, with or without an adapter's name and ".weight" after them
 * @throws "adapter.unknownTensor" naming the key
 */
export function parseAdapterKey(entry: TensorEntry, config?: NamingConfig, ownTensors: readonly string[] = []): AdapterKey {
  const { key, wrappers } = unwrapped(entry.name);
  const parsed = parsePlainKey(entry, key, config, ownTensors);
  return wrappers.length === 0 ? parsed : { ...parsed, wrappers };
}

function parsePlainKey(entry: TensorEntry, key: string, config: NamingConfig | undefined, ownTensors: readonly string[]): AdapterKey {
  const own = ownTensor(entry, key, ownTensors);
  if (own) return own;
  for (const { role, pattern } of layouts) {
    const groups = pattern.exec(key)?.groups;
    if (groups !== undefined) return adapterKey(entry, role, groups["path"]!, groups["param"], groups["adapter"]);
  }
  // A leftover of a layout that is not known (lora_E, lora_diag, …) must not pass as a parameter of the base.
  const wrapped = savedInWrapper.exec(key)?.groups;
  if (wrapped !== undefined)
    return { ...adapterKey(entry, "saved", wrapped["path"]! + wrapped["below"]!, wrapped["param"], wrapped["adapter"]), isOwnCopy: true };
  const groups = plain.exec(key)?.groups;
  if (groups === undefined || /\.(lora_[^.]+|original_module|modules_to_save)(\.|$)/.test(key)) throw unknownTensor(entry);
  const path = groups["path"]!;
  const isSaved = config === undefined || isUnderSaved(path, config.modulesToSave) || embeddingName.test(path);
  if (groups["param"] === "bias") {
    const isTrainedBias = config === undefined || config.bias !== "none";
    if (config !== undefined && isUnderSaved(path, config.modulesToSave)) return { ...adapterKey(entry, "saved", path, "bias", undefined), isOwnCopy: true };
    if (isTrainedBias) return adapterKey(entry, "bias", path, "bias", undefined);
  } else if (isSaved) {
    return { ...adapterKey(entry, "saved", path, "weight", undefined), isOwnCopy: config !== undefined && isUnderSaved(path, config.modulesToSave) };
  }
  throw unknownTensor(entry);
}

/**
 * All keys of a file.
 *
 * @param onUnknown collects unknown names instead of throwing
 * @throws "adapter.unknownTensor"; "adapter.malformed" when two tensors have the same place, or belong to several adapters
 */
export function parseAdapterKeys(
  entries: Iterable<TensorEntry>,
  config?: NamingConfig,
  onUnknown?: (entry: TensorEntry) => void,
  ownTensors: readonly string[] = [],
): AdapterKey[] {
  const keys: AdapterKey[] = [];
  const byPlace = new Map<string, AdapterKey>();
  for (const entry of entries) {
    let key: AdapterKey;
    try {
      key = parseAdapterKey(entry, config, ownTensors);
    } catch (error) {
      if (onUnknown === undefined) throw error;
      onUnknown(entry);
      continue;
    }
    const place = `${key.modulePath} ${key.role} ${key.param ?? ""} ${key.own ?? ""}`;
    const other = byPlace.get(place);
    if (other !== undefined) {
      throw new WorkbenchError(
        "adapter.malformed",
        `${entry.file}: "${other.entry.name}" and "${entry.name}" are the same tensor of one module; expected one adapter in the file`,
      );
    }
    byPlace.set(place, key);
    keys.push(key);
  }
  return keys;
}

/** "path.name", "path.name.adapter", "path.name.weight"…; "base_model.name" and a bare name belong to all modules. A name with a dot stands as it is. */
function ownTensor(entry: TensorEntry, key: string, ownTensors: readonly string[]): AdapterKey | null {
  const dotted = ownTensors.find((name) => name.includes(".") && key.endsWith(`.${name}`));
  if (dotted !== undefined) return { modulePath: key.slice(0, -dotted.length - 1), role: "own", own: dotted, entry };
  const parts = key.split(".");
  const at = parts.findLastIndex((part) => ownTensors.includes(part));
  const after = parts.slice(at + 1).filter((part) => part !== "weight");
  if (at < 0 || after.length > 1) return null;
  const path = parts.slice(0, at).join(".");
  const [adapterName] = after;
  return { modulePath: path === "base_model" ? "" : path, role: "own", own: parts[at]!, ...(adapterName === undefined ? {} : { adapterName }), entry };
}

function adapterKey(entry: TensorEntry, role: AdapterRole, modulePath: string, param: string | undefined, adapterName: string | undefined): AdapterKey {
  return {
    modulePath,
    role,
    ...(param === "weight" || param === "bias" ? { param } : {}),
    ...(adapterName === undefined ? {} : { adapterName }),
    entry,
  };
}

/** PEFT wraps every module whose path ends with the name, dot or no dot; its children are saved with it. */
function isUnderSaved(path: string, modulesToSave: readonly string[]): boolean {
  const parts = path.split(".");
  return parts.some((_, i) =>
    modulesToSave.some((name) =>
      parts
        .slice(0, i + 1)
        .join(".")
        .endsWith(name),
    ),
  );
}

function unknownTensor({ file, name }: TensorEntry): WorkbenchError {
  return new WorkbenchError(
    "adapter.unknownTensor",
    `${file}: tensor "${name}" has no known place in a LoRA adapter; expected <module>.lora_A.weight, .lora_B.weight, ` +
      `.lora_B.bias, .lora_embedding_A, .lora_embedding_B, .lora_magnitude_vector, or a parameter that bias or modules_to_save of adapter_config.json ` +
      `lets PEFT save`,
  );
}
