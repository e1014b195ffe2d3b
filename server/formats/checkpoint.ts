/** A folder of weights: one safetensors file, shards with an index, or an adapter. Pickles are never opened. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import type { SafetensorsDtype } from "./dtypeDecoding.ts";
import { readJson } from "./json.ts";
import { readHeader, type TensorEntry } from "./safetensors.ts";
import { namedShort } from "../quoted.ts";

export interface Checkpoint {
  readonly dir: string;
  /** The safetensors files, in the order they were read. */
  readonly files: readonly string[];
  readonly entries: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  /** Bytes of all tensors, as stored. */
  readonly bytes: number;
  readonly dtypes: Readonly<Partial<Record<SafetensorsDtype, { readonly tensors: number; readonly bytes: number }>>>;
}

const indexName = "model.safetensors.index.json";
/** In the order transformers and PEFT look for them. */
const weightNames = ["model.safetensors", indexName] as const;
export const adapterWeightsName = "adapter_model.safetensors";
const pickleName = /\.(bin|pt|pth|ckpt|pkl)(\.index\.json)?$/;
/** An index names every tensor; the largest published models have some hundred thousand. */
const maxIndexBytes = 64 * 2 ** 20;

/**
 * Reads and checks every header; no tensor is loaded.
 *
 * @param dirOrFile a folder from `save_pretrained`, a `.safetensors` file, or an index of shards
 * @throws "file.notFound"; "file.unreadable" for pickles; "safetensors.malformed"; "checkpoint.missingShard"; "checkpoint.missingTensor";
 * "config.unsupported" for quantised weights
 */
export function openCheckpoint(dirOrFile: string): Checkpoint {
  const file = weightsFile(dirOrFile);
  const dir = dirname(file);
  refuseQuantizedConfig(dir);
  const checkpoint = file.endsWith(".index.json") ? openShards(file) : assembled(dir, [file], readHeader(file));
  refuseQuantizedTensors(checkpoint);
  return checkpoint;
}

/**
 * The tensors of an adapter, whatever else lies in its folder: a base's config.json, its weights, an optimizer's state.
 *
 * @throws "file.notFound" naming what is missing; "file.unreadable" where there is only a pickle; "safetensors.malformed"; "config.unsupported" for
 * quantised tensors
 */
export function openAdapterCheckpoint(dir: string): Checkpoint {
  const file = join(dir, adapterWeightsName);
  if (!existsSync(file)) {
    const pickled = join(dir, "adapter_model.bin");
    if (existsSync(pickled)) throw pickle(pickled);
    const others = readdirSync(dir).filter((name) => name.endsWith(".safetensors"));
    const beside = others.length === 0 ? "" : `; beside it: ${others.slice(0, 4).map(namedShort).join(", ")}`;
    throw new WorkbenchError("file.notFound", `${file} is missing; expected the weights that belong to adapter_config.json${beside}`);
  }
  const checkpoint = assembled(dir, [file], readHeader(file));
  refuseQuantizedTensors(checkpoint);
  return checkpoint;
}

function weightsFile(dirOrFile: string): string {
  const stat = statSync(dirOrFile, { throwIfNoEntry: false });
  if (stat === undefined)
    throw new WorkbenchError("file.notFound", `${dirOrFile} does not exist; expected a folder with ${weightNames.join(", ")}, or such a file`);
  if (!stat.isDirectory()) {
    if (pickleName.test(dirOrFile)) throw pickle(dirOrFile);
    return dirOrFile;
  }
  const found = weightNames.find((name) => existsSync(join(dirOrFile, name)));
  if (found !== undefined) return join(dirOrFile, found);
  const names = readdirSync(dirOrFile);
  const pickled = names.find((name) => pickleName.test(name) && /^(pytorch_model|model)\b/.test(name));
  if (pickled !== undefined) throw pickle(join(dirOrFile, pickled));
  if (names.includes(adapterWeightsName))
    throw new WorkbenchError(
      "file.notFound",
      `${dirOrFile} is an adapter's folder (${adapterWeightsName}); expected a model's: open the base, and this as its adapter`,
    );
  throw new WorkbenchError("file.notFound", `${dirOrFile} holds ${names.length} files and no weights; expected ${weightNames.join(" or ")}`);
}

function pickle(file: string): WorkbenchError {
  const what = basename(file).startsWith("adapter_model") ? "PeftModel.from_pretrained(base, folder)" : "AutoModel.from_pretrained(folder)";
  return new WorkbenchError(
    "file.unreadable",
    `${file} is a pickle, which can run any code when it is opened, so it is never opened; expected safetensors. Convert it ` +
      `where you trust it: ${what}.save_pretrained(new_folder), which writes safetensors`,
  );
}

const shardIndex = z.object({ metadata: z.record(z.string(), z.unknown()).optional(), weight_map: z.record(z.string(), z.string()) });

function openShards(indexFile: string): Checkpoint {
  const parsed = shardIndex.safeParse(readJson(indexFile, { maxBytes: maxIndexBytes }));
  if (!parsed.success)
    throw new WorkbenchError("config.malformed", `${indexFile}: ${z.prettifyError(parsed.error)}; expected { "weight_map": { tensor: file } }`);
  const dir = dirname(indexFile);
  const shardOf = new Map(Object.entries(parsed.data.weight_map));
  const shards = [...new Set(shardOf.values())].toSorted();
  for (const shard of shards) {
    // A shard lies beside its index: a path in it could name any file of the machine.
    if (/[\\/\0]/.test(shard) || shard === "" || shard === "..")
      throw new WorkbenchError("file.outsideRoots", `${indexFile}: shard "${shard}" is a path; expected the name of a file beside the index`);
    if (!shard.endsWith(".safetensors"))
      throw pickleName.test(shard)
        ? pickle(join(dir, shard))
        : new WorkbenchError("config.malformed", `${indexFile}: shard "${shard}"; expected a .safetensors file`);
  }
  const missing = shards.filter((shard) => !existsSync(join(dir, shard)));
  if (missing.length > 0) {
    throw new WorkbenchError(
      "checkpoint.missingShard",
      `${dir}: ${missing.length} of ${shards.length} shards are missing: ${missing.join(", ")}; expected every file that ${basename(indexFile)} names`,
    );
  }

  const entries = new Map<string, TensorEntry>();
  const metadata: Record<string, string> = {};
  for (const shard of shards) {
    const header = readHeader(join(dir, shard));
    Object.assign(metadata, header.metadata);
    for (const [name, entry] of header.entries) {
      const owner = shardOf.get(name);
      if (owner !== undefined && owner !== shard) continue;
      if (owner === undefined && entries.has(name)) {
        throw new WorkbenchError(
          "config.malformed",
          `${dir}: tensor "${name}" is in ${basename(entries.get(name)!.file)} and in ${shard}; expected ${basename(indexFile)} to say which`,
        );
      }
      entries.set(name, entry);
    }
  }
  for (const [name, shard] of shardOf) {
    if (!entries.has(name))
      throw new WorkbenchError("checkpoint.missingTensor", `${indexFile}: tensor "${name}" is not in ${shard}, where the index says it is`);
  }
  return assembled(
    dir,
    shards.map((shard) => join(dir, shard)),
    { entries, metadata },
  );
}

function assembled(
  dir: string,
  files: readonly string[],
  { entries, metadata }: { entries: ReadonlyMap<string, TensorEntry>; metadata: Record<string, string> },
): Checkpoint {
  const dtypes: Partial<Record<SafetensorsDtype, { tensors: number; bytes: number }>> = {};
  let bytes = 0;
  for (const { dtype, begin, end } of entries.values()) {
    const summary = (dtypes[dtype] ??= { tensors: 0, bytes: 0 });
    summary.tensors += 1;
    summary.bytes += end - begin;
    bytes += end - begin;
  }
  return { dir, files, entries, metadata, bytes, dtypes };
}

function refuseQuantizedConfig(dir: string): void {
  const file = join(dir, "config.json");
  if (!existsSync(file)) return;
  const raw = readJson(file);
  const quantization: unknown = typeof raw === "object" && raw !== null && "quantization_config" in raw ? raw.quantization_config : undefined;
  if (quantization === undefined || quantization === null) return;
  const method = typeof quantization === "object" && "quant_method" in quantization ? String(quantization.quant_method) : "unnamed";
  throw quantized(`${file} has a quantization_config (${method})`);
}

/** Tensors beside the weight that bitsandbytes, GPTQ, AWQ, AQLM, HQQ and fp8 checkpoints carry. */
const quantizationTensor =
  /\.(qweight|qzeros|g_idx|SCB|absmax|nested_absmax|quant_map|nested_quant_map|quant_state\..+|weight_format|weight_scale|weight_scale_inv|weight_scale_2|input_scale|weight_packed|codebooks|W_q)$/;

function refuseQuantizedTensors({ entries }: Checkpoint): void {
  for (const { name, dtype, file } of entries.values()) {
    const isPacked = name.endsWith(".weight") && !/^(F16|BF16|F32|F64)$/.test(dtype);
    if (isPacked || quantizationTensor.test(name)) throw quantized(`${file}: tensor "${name}" is ${dtype}`);
  }
}

function quantized(found: string): WorkbenchError {
  return new WorkbenchError(
    "config.unsupported",
    `${found}: quantised weights are not supported; expected F32, F16 or BF16. Save it again in one of these (a model: load ` +
      `it, model.dequantize(), save_pretrained)`,
  );
}
