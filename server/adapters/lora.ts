/** LoRA and rsLoRA: ΔW = s·B·A with s = α/r, or α/√r. PiSSA and OLoRA are LoRA from another start: their files are LoRA's, converted by PEFT or raw. */
import type { AdapterConfig } from "../formats/adapterConfig.ts";
import type { TensorEntry } from "../formats/safetensors.ts";
import { floatValues } from "../formats/tensorValues.ts";
import { patternValue } from "../formats/targetMatcher.ts";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import type { Weight } from "../tensors/engine.ts";
import {
  checkRank,
  loraFactors,
  loraOptions,
  loraRules,
  loraTensors,
  lowRankProduct,
  startLora,
  type LoraOptions,
  type LoraTensors,
} from "./trainedFactors.ts";
import { expectShape, lowRankDelta, lowRankSite, weight } from "./lowRankSite.ts";
import { defineMethod, defineTraining, type ParsedSite, type SiteAdapter, type TrainingMethod } from "./method.ts";
import { relativeToBase } from "./baseChange.ts";
import { pissaTraining } from "./pissa.ts";

/** rank, alpha and scaling of one module, after `rank_pattern` and `alpha_pattern`. */
export function loraScaling(config: AdapterConfig, modulePath: string): { rank: number; alpha: number; scaling: number } {
  const rank = patternValue(config.rankPattern, modulePath) ?? config.r;
  const alpha = patternValue(config.alphaPattern, modulePath) ?? config.loraAlpha;
  return { rank, alpha, scaling: config.useRslora ? alpha / Math.sqrt(rank) : alpha / rank };
}

/** The factors of one site, checked against config and base. */
export function openLowRank(config: AdapterConfig, parsed: ParsedSite): SiteAdapter {
  const { modulePath, keys, site } = parsed;
  const { rank, alpha, scaling } = loraScaling(config, modulePath);
  const a = parsed.isEmbedding ? keys.embeddingA : keys.loraA;
  const b = parsed.isEmbedding ? keys.embeddingB : keys.loraB;
  if (!a || !b)
    throw new WorkbenchError("adapter.malformed", `adapter: module "${modulePath}" has ${a ? "lora_A" : "lora_B"} but no ${a ? "lora_B" : "lora_A"}`);
  const { dIn, dOut } = site ?? { dIn: a.entry.shape[1] ?? 0, dOut: b.entry.shape[0] ?? 0 };
  expectShape(`lora_A of "${modulePath}"`, a.entry.shape, [rank, dIn], "rank × dIn");
  expectShape(`lora_B of "${modulePath}"`, b.entry.shape, [dOut, rank], "dOut × rank");

  const factors = relativeToBase(config, parsed.isEmbedding ? null : site, {
    left: floatValues(b.entry),
    right: floatValues(a.entry),
    dOut,
    dIn,
    rank,
    scale: scaling,
  });
  // What the start took out of the base depends on the base.
  const key = factors.rank === rank || !site ? a.entry.id : `${a.entry.id}:${site.baseWeight.key}`;
  const low = lowRankSite(parsed, factors, { key, alpha });
  const bias = keys.loraBBias?.entry;
  if (!bias) return low;
  return { ...low, beyondLowRank: "bias on B", weights: () => ({ ...low.weights(), ...biasOf(bias, dOut, scaling) }) };
}

function biasOf(entry: TensorEntry, dOut: number, scaling: number): Record<string, Weight> {
  expectShape("lora_B bias", entry.shape, [dOut], "dOut");
  return {
    bias: weight(
      `${entry.id}:scaled`,
      [dOut],
      floatValues(entry).map((value) => value * scaling),
    ),
  };
}

const scalings = { lora: ({ rank, alpha }: LoraOptions) => alpha / rank, rslora: ({ rank, alpha }: LoraOptions) => alpha / Math.sqrt(rank) };

function training(rule: keyof typeof scalings, about: { title: string; summary: string; source: string }): TrainingMethod {
  const scalingOf = scalings[rule];
  return defineTraining<LoraOptions, LoraTensors>({
    ...about,
    exactness: "as in PEFT",
    isReconstructed: false,
    options: loraOptions,
    parameterCount(site, { rank }) {
      checkRank(rank, site);
      return rank * (site.dIn + site.dOut);
    },
    start: startLora,
    rules: () => loraRules,
    delta: ({ x, trained: { loraA, loraB }, options: chosen }) => lowRankProduct(x, loraA, loraB, scalingOf(chosen)),
    deltaWeight: (state, chosen) => loraFactors(state, scalingOf(chosen)),
    save: (sites, { rank, alpha }) => ({
      config: { peft_type: "LORA", r: rank, lora_alpha: alpha, use_rslora: rule === "rslora" },
      tensors: loraTensors(sites),
    }),
  });
}

export const lora = defineMethod({
  title: "LoRA",
  peftType: "LORA",
  source: "Hu et al. 2021, arXiv 2106.09685; rsLoRA: Kalajdzievski 2023, arXiv 2312.03732",
  exactness: "as in PEFT",
  fields: z.object({}),
  accepts: (config) => !config.useDora,
  open: (config, _, parsed) => openLowRank(config, parsed),
  delta: lowRankDelta,
  trainings: {
    lora: training("lora", { title: "LoRA", summary: "A low-rank update B·A beside each weight, scaled by α/r.", source: "Hu et al. 2021, arXiv 2106.09685" }),
    rslora: training("rslora", {
      title: "rsLoRA",
      summary: "LoRA scaled by α/√r, so that the update does not shrink as the rank grows.",
      source: "Kalajdzievski 2023, arXiv 2312.03732",
    }),
    pissa: pissaTraining,
  },
});
