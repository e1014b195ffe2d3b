/** Any adapter as a folder that PEFT loads as LoRA: at every site the nearest one, with what it leaves out. */
import { WorkbenchError } from "../errors.ts";
import { parseAdapterKeys } from "../formats/adapterKeys.ts";
import { openAdapterCheckpoint } from "../formats/checkpoint.ts";
import { floatValues } from "../formats/tensorValues.ts";
import type { LoadedModel } from "../models/loadModel.ts";
import { modelSites } from "../models/modelSites.ts";
import type { Engine } from "../tensors/engine.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import { baseWeight, type LoadedAdapter } from "./loadAdapter.ts";
import { nearestLora, type NearestLora, type SiteBase } from "./nearestLora.ts";
import { savedKey, type SavedAdapter } from "./method.ts";

export interface ExportedSite {
  /** "blocks.0.attn.qkv"; the module path when no base is open. */
  readonly site: string;
  readonly modulePath: string;
  readonly rank: number;
  /** ‖ΔW − B·A‖ / ‖ΔW‖ (Frobenius). */
  readonly residual: number;
}

export interface ExportOptions {
  readonly model: LoadedModel | null;
  /** Largest rank of a site; null as in `NearestRequest`. */
  readonly rank: number | null;
  readonly engine: () => Promise<Engine>;
  readonly signal: AbortSignal;
  readonly onSite?: (done: number, total: number) => void;
}

/**
 * Scale is 1 everywhere (alpha equals rank), so B·A is ΔW; parameters that replace the base's are passed on.
 * @throws "adapter.wrongBase" when the method needs its base and there is none; "adapter.unsupported" as `nearestLora`; "job.cancelled"
 */
export async function exportLora(
  adapter: LoadedAdapter,
  { model, rank, engine, signal, onSite }: ExportOptions,
): Promise<SavedAdapter & { readonly sites: readonly ExportedSite[] }> {
  const { config, method } = adapter;
  const keys = parseAdapterKeys(openAdapterCheckpoint(adapter.path).entries.values(), config, undefined, method.tensors);
  const embeddings = new Set(keys.filter(({ role }) => role === "embeddingA").map(({ modulePath }) => modulePath));
  const bases = new Map(
    model
      ? modelSites(model.family, model.config).map((site): [string, SiteBase] => [site.fullName, { weight: baseWeight(model, site), stored: site.stored }])
      : [],
  );

  const found: { readonly modulePath: string; readonly site: string; readonly nearest: NearestLora }[] = [];
  for (const site of adapter.sites.values()) {
    if (signal.aborted) throw new WorkbenchError("job.cancelled", "cancelled");
    found.push({
      modulePath: site.modulePath,
      site: site.site,
      nearest: await nearestLora({ method, site, base: bases.get(site.site) ?? null, rank, engine }),
    });
    onSite?.(found.length, adapter.sites.size);
  }

  const hasBias = found.some(({ nearest }) => nearest.bias !== null);
  const tensors = new Map<string, FloatTensor>();
  for (const {
    modulePath,
    nearest: {
      factors: { left, right, dOut, dIn, rank: kept },
      bias,
    },
  } of found) {
    const [a, b] = embeddings.has(modulePath) ? ["lora_embedding_A", "lora_embedding_B"] : ["lora_A.weight", "lora_B.weight"];
    tensors.set(savedKey({ modulePath }, a), float32(right, [kept, dIn]));
    tensors.set(savedKey({ modulePath }, b), float32(left, [dOut, kept]));
    // PEFT gives every B a bias, or none.
    if (hasBias && !embeddings.has(modulePath)) tensors.set(savedKey({ modulePath }, "lora_B.bias"), float32(bias ?? new Float32Array(dOut), [dOut]));
  }
  for (const { role, entry } of keys) if (role === "saved" || role === "bias") tensors.set(entry.name, float32(floatValues(entry).slice(), entry.shape));

  const largest = found.reduce((most, { nearest }) => Math.max(most, nearest.factors.rank), 1);
  const pattern = Object.fromEntries(
    found.filter(({ nearest }) => nearest.factors.rank !== largest).map(({ modulePath, nearest }) => [modulePath, nearest.factors.rank]),
  );
  return {
    config: {
      peft_type: "LORA",
      task_type: config.taskType,
      base_model_name_or_path: config.baseModelNameOrPath ?? model?.path ?? null,
      r: largest,
      lora_alpha: largest,
      rank_pattern: pattern,
      alpha_pattern: pattern,
      target_modules: config.targetModules ?? found.map(({ modulePath }) => modulePath),
      exclude_modules: config.excludeModules.length > 0 ? config.excludeModules : null,
      layers_to_transform: config.layersToTransform,
      layers_pattern: config.layersPattern.length > 0 ? config.layersPattern : null,
      fan_in_fan_out: config.fanInFanOut,
      lora_bias: hasBias,
      bias: config.bias,
      modules_to_save: config.raw["modules_to_save"] ?? null,
      inference_mode: true,
    },
    tensors,
    sites: found.map(({ site, modulePath, nearest }) => ({ site, modulePath, rank: nearest.factors.rank, residual: nearest.residual })),
  };
}
