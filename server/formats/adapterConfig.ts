/** PEFT's adapter_config.json: on-disk spellings become one record, and what would change the forward pass unseen is refused by name. */
import { join } from "node:path";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { didYouMean } from "../nearNames.ts";
import { readJson } from "./json.ts";
import { quoted } from "../quoted.ts";

export type InitLoraWeights = boolean | string;

export interface AdapterConfig {
  readonly dir: string;
  /** `peft_type`, e.g. "LORA". */
  readonly peftType: string;
  readonly taskType: string | null;
  readonly baseModelNameOrPath: string | null;
  readonly peftVersion: string | null;
  readonly r: number;
  readonly loraAlpha: number;
  readonly useRslora: boolean;
  readonly useDora: boolean;
  readonly loraBias: boolean;
  readonly fanInFanOut: boolean;
  /** Patterns in the file's order: the first that matches a module wins. */
  readonly rankPattern: ReadonlyMap<string, number>;
  readonly alphaPattern: ReadonlyMap<string, number>;
  /** Names, one pattern of Python's re, "all-linear", or null. */
  readonly targetModules: readonly string[] | string | null;
  readonly excludeModules: readonly string[] | string;
  readonly layersToTransform: number | readonly number[] | null;
  readonly layersPattern: readonly string[];
  readonly bias: "none" | "all" | "lora_only";
  /** `modules_to_save`, and the heads that PEFT adds to it by itself for a classification task. */
  readonly modulesToSave: readonly string[];
  readonly initLoraWeights: InitLoraWeights;
  /** What a reader of results must know about this adapter's config. */
  readonly notes: readonly string[];
  /** `trainable_token_indices` of a module. */
  trainableTokens(modulePath: string): readonly number[];
  /** The file as it is, for the method's own fields. */
  readonly raw: Readonly<Record<string, unknown>>;
}

/** By `peft_type`: fields of adapter_config.json that this method reads itself, from `raw`. */
export type OwnFields = Readonly<Record<string, readonly string[]>>;

/** Methods that this project reads; the table of adapter methods passes a longer list. */
const knownMethods: OwnFields = { LORA: [] };

const names = z.array(z.string());
const nameOrNames = z.union([z.string(), names]);
const absentAs = <T extends z.ZodType, D extends z.output<T>>(schema: T, value: D) => schema.nullish().transform((found) => found ?? value);

/** The fields that are read, as they are spelled on disk. */
const onDisk = z.looseObject({
  peft_type: z.string(),
  task_type: z.string().nullish(),
  base_model_name_or_path: z.string().nullish(),
  peft_version: z.string().nullish(),
  r: absentAs(z.int().positive(), 8),
  lora_alpha: absentAs(z.number(), 8),
  use_rslora: absentAs(z.boolean(), false),
  use_dora: absentAs(z.boolean(), false),
  lora_bias: absentAs(z.boolean(), false),
  fan_in_fan_out: absentAs(z.boolean(), false),
  rank_pattern: absentAs(z.record(z.string(), z.int().positive()), {}),
  alpha_pattern: absentAs(z.record(z.string(), z.number()), {}),
  target_modules: nameOrNames.nullish(),
  exclude_modules: absentAs(nameOrNames, []),
  layers_to_transform: z.union([z.int(), z.array(z.int())]).nullish(),
  layers_pattern: absentAs(nameOrNames, []),
  bias: absentAs(z.enum(["none", "all", "lora_only"]), "none"),
  modules_to_save: absentAs(names, []),
  init_lora_weights: absentAs(z.union([z.boolean(), z.string()]), true),
  trainable_token_indices: z.union([z.array(z.int().min(0)), z.record(z.string(), z.array(z.int().min(0)))]).nullish(),
});

/** Fields with no say in the forward pass of a saved adapter: training, initialisation, bookkeeping. */
const withoutEffect = new Set([
  "auto_mapping",
  "revision",
  "inference_mode",
  "lora_dropout",
  "megatron_core",
  "runtime_config",
  "qalora_group_size",
  "eva_config",
  "corda_config",
  "lora_ga_config",
  "loftq_config",
  "modules_to_tie",
  "target_modules_to_tie",
]);

/** Fields that change what the adapter computes, with what they do. Neutral values (null, false, empty) pass. */
const unsupported: Readonly<Record<string, string>> = {
  layer_replication: "builds a deeper model out of repeated layers",
  target_parameters: "adapts bare parameters instead of modules",
  use_qalora: "pools the inputs of quantised layers",
  use_bdlora: "makes the factors block-diagonal",
  arrow_config: "routes every token among several adapters",
  alora_invocation_tokens: "acts only after an invocation sequence",
  velora_config: "is trained through compressed activations and has further tensors",
  kasa_config: "truncates the base weight and has a diagonal between A and B",
  monteclora_config: "samples its weights",
  megatron_config: "splits layers with megatron",
  ensure_weight_tying: "ties adapters of the embedding and the head",
  enable_lora: "adapts parts of a merged projection (PEFT before 0.3)",
};

/** Modules that PEFT saves for a task without being asked; the config on disk may not name them. */
const headsOfTask: Readonly<Record<string, readonly string[]>> = {
  SEQ_CLS: ["classifier", "score"],
  TOKEN_CLS: ["classifier", "score"],
  QUESTION_ANS: ["qa_outputs"],
};

const convertFirst = "load it where it was trained and save it with path_initial_model_for_weight_conversion";
/** Ways to begin that change the base by something that neither the base nor the file holds, by the beginning of their names. */
const lostStarts: Readonly<Record<string, string>> = {
  loftq: "replaces the base by a quantised one; expected an adapter of an unquantised base",
  corda: `took a part out of the base that depends on the calibration data; ${convertFirst}`,
  lora_ga: `took a part out of the base that depends on the first gradients; ${convertFirst}`,
};

/**
 * @param methods the values of `peft_type` that can be opened, with the fields each method reads itself
 * @throws "file.notFound"; "adapter.malformed"; "adapter.unknownMethod" for another `peft_type`; "adapter.unsupported" naming the field
 * @see peft tuners/lora/config.py, LoraConfig
 */
export function readAdapterConfig(dir: string, methods: OwnFields = knownMethods): AdapterConfig {
  const file = join(dir, "adapter_config.json");
  return parseAdapterConfig(readJson(file, { code: "adapter.malformed" }), dir, file, methods);
}

/** As `readAdapterConfig`, for JSON that is in memory. */
export function parseAdapterConfig(raw: unknown, dir: string, where: string, methods: OwnFields = knownMethods): AdapterConfig {
  // The method first: another method's config need not look like LoRA's.
  const fields = typeof raw === "object" && raw !== null ? Object.fromEntries(Object.entries(raw)) : {};
  const peftType: unknown = fields["peft_type"];
  if (typeof peftType === "string" && !Object.hasOwn(methods, peftType)) {
    throw new WorkbenchError("adapter.unknownMethod", `${where}: peft_type "${peftType}" is not supported; ${didYouMean(peftType, Object.keys(methods))}`);
  }
  const own = new Set(typeof peftType === "string" ? methods[peftType] : []);
  const parsed = onDisk.safeParse(own.size === 0 ? raw : Object.fromEntries(Object.entries(fields).filter(([field]) => !own.has(field))));
  if (!parsed.success) throw new WorkbenchError("adapter.malformed", `${where}: ${z.prettifyError(parsed.error)}; expected a config that PEFT saved`);
  const disk = parsed.data;
  refuseUnsupported(disk, where);
  checkConsistency(disk, where);
  return {
    dir,
    peftType: disk.peft_type,
    taskType: disk.task_type ?? null,
    baseModelNameOrPath: disk.base_model_name_or_path || null,
    peftVersion: disk.peft_version ?? null,
    r: disk.r,
    loraAlpha: disk.lora_alpha,
    useRslora: disk.use_rslora,
    useDora: disk.use_dora,
    loraBias: disk.lora_bias,
    fanInFanOut: disk.fan_in_fan_out,
    rankPattern: new Map(Object.entries(disk.rank_pattern)),
    alphaPattern: new Map(Object.entries(disk.alpha_pattern)),
    targetModules: disk.target_modules ?? null,
    excludeModules: disk.exclude_modules,
    layersToTransform: disk.layers_to_transform ?? null,
    layersPattern: listOf(disk.layers_pattern),
    bias: disk.bias,
    modulesToSave: [...new Set([...disk.modules_to_save, ...(headsOfTask[disk.task_type ?? ""] ?? [])])],
    initLoraWeights: disk.init_lora_weights,
    notes: Object.entries(disk).flatMap(([field, value]) =>
      isDescription(field, value) ? [`adapter_config.json has ${quoted(field)}, ${quoted(value)}, which PEFT does not know; it is not used`] : [],
    ),
    trainableTokens: (modulePath) => tokensOf(disk.trainable_token_indices, modulePath, where),
    raw: fields,
  };
}

type OnDisk = z.output<typeof onDisk>;

function refuseUnsupported(disk: OnDisk, where: string): void {
  for (const [field, value] of Object.entries(disk)) {
    if (Object.hasOwn(onDisk.shape, field) || withoutEffect.has(field) || isNeutral(value) || isDescription(field, value)) continue;
    const found = `${where}: "${field}" is ${quoted(value)}`;
    if (Object.hasOwn(unsupported, field)) throw new WorkbenchError("adapter.unsupported", `${found}, which ${unsupported[field]}; expected it unset`);
    throw new WorkbenchError(
      "adapter.unsupported",
      `${found}, a field that is not known here, so it may change what the adapter does; ${didYouMean(field, Object.keys(onDisk.shape))}`,
    );
  }
  const init = typeof disk.init_lora_weights === "string" ? disk.init_lora_weights.toLowerCase() : "";
  const changes = Object.entries(lostStarts).find(([name]) => init.startsWith(name))?.[1];
  if (changes !== undefined)
    throw new WorkbenchError("adapter.unsupported", `${where}: "init_lora_weights" is ${quoted(disk.init_lora_weights)}, which ${changes}`);
  if (disk.use_dora && /^(pissa|olora)/.test(init))
    throw new WorkbenchError(
      "adapter.unsupported",
      `${where}: "use_dora" with "init_lora_weights" ${quoted(disk.init_lora_weights)}, whose start changed the base; expected one of them`,
    );
}

/** "unsloth_version": a note of who wrote the file, in words; a setting would be a number, a flag or a structure. */
function isDescription(field: string, value: unknown): boolean {
  return (
    typeof value === "string" &&
    !Object.hasOwn(onDisk.shape, field) &&
    !Object.hasOwn(unsupported, field) &&
    !withoutEffect.has(field) &&
    /(version|name|author|description|comment|license|date|url|hash|commit|framework|library|trained_(by|with)|created)/i.test(field)
  );
}

/** Indices for the module: one list is for the input embedding. */
function tokensOf(indices: OnDisk["trainable_token_indices"], modulePath: string, where: string): readonly number[] {
  if (Array.isArray(indices)) return indices;
  const found = Object.entries(indices ?? {}).find(([name]) => modulePath === name || modulePath.endsWith(`.${name}`));
  if (!found) throw new WorkbenchError("adapter.malformed", `${where}: the file has rows for "${modulePath}", which trainable_token_indices does not name`);
  return found[1];
}

/** What PEFT itself refuses. */
function checkConsistency(disk: OnDisk, where: string): void {
  if (typeof disk.target_modules === "string" && (disk.layers_to_transform ?? null) !== null) {
    throw new WorkbenchError(
      "adapter.malformed",
      `${where}: "layers_to_transform" is set and "target_modules" is a pattern; expected a list of target modules`,
    );
  }
  if (disk.layers_pattern.length > 0 && (disk.layers_to_transform ?? null) === null) {
    throw new WorkbenchError("adapter.malformed", `${where}: "layers_pattern" is set without "layers_to_transform"; expected both`);
  }
  if (disk.lora_bias && disk.use_dora)
    throw new WorkbenchError("adapter.malformed", `${where}: "lora_bias" and "use_dora" are both true; expected one of them`);
}

function isNeutral(value: unknown): boolean {
  if (value === null || value === false || value === undefined) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

function listOf(found: string | readonly string[]): readonly string[] {
  return typeof found === "string" ? (found === "" ? [] : [found]) : found;
}
