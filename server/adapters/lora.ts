/** LoRA and rsLoRA: ΔW = s·B·A with s = α/r, or α/√r. PiSSA and OLoRA load here too, converted by PEFT or raw. */
import type { AdapterConfig } from "../formats/adapterConfig.ts";
import type { TensorEntry } from "../formats/safetensors.ts";
import { floatValues } from "../formats/tensorValues.ts";
import { patternValue } from "../formats/targetMatcher.ts";
import * as tf from "@tensorflow/tfjs-core";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import type { Weight } from "../tensors/engine.ts";
import type { FactoredMatrix } from "../linalg/factored.ts";
import { float32 } from "../tensors/hostTensor.ts";
import { gaussians, uniforms } from "../linalg/random.ts";
import { expectShape, lowRankDelta, lowRankSite, weight } from "./lowRankSite.ts";
import { relativeToBase } from "./baseChange.ts";
import type { AdapterMethod, ParsedSite, SiteAdapter } from "./method.ts";
import { defineTraining, savedKey, type SiteState, type TrainingSite, type TrainingSpec } from "./training.ts";

/** rank, alpha and scaling of one module, after `rank_pattern` and `alpha_pattern`. */
export function loraScaling(config: AdapterConfig, modulePath: string): { rank: number; alpha: number; scaling: number } {
  const rank = patternValue(config.rankPattern, modulePath) ?? config.r;
  const alpha = patternValue(config.alphaPattern, modulePath) ?? config.loraAlpha;
  return { rank, alpha, scaling: config.useRslora ? alpha / Math.sqrt(rank) : alpha / rank };
}

/** The factors of one site, checked against config and base. */
export function loadLowRank(config: AdapterConfig, parsed: ParsedSite): SiteAdapter {
  const { modulePath, keys, site } = parsed;
  const { rank, alpha, scaling } = loraScaling(config, modulePath);
  const a = parsed.isEmbedding ? keys.embeddingA : keys.loraA;
  const b = parsed.isEmbedding ? keys.embeddingB : keys.loraB;
  if (!a || !b)
    throw new WorkbenchError("adapter.malformed", `adapter: module "${modulePath}" has ${a ? "lora_A" : "lora_B"} but no ${a ? "lora_B" : "lora_A"}`);
  const dIn = site?.dIn ?? a.entry.shape[1]!;
  const dOut = site?.dOut ?? b.entry.shape[0]!;
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

export const lora: AdapterMethod = {
  title: "LoRA",
  peftType: "LORA",
  source: "Hu et al. 2021, arXiv 2106.09685; rsLoRA: Kalajdzievski 2023, arXiv 2312.03732",
  exactness: "as in PEFT",
  accepts: (config) => !config.useDora,
  loadSite: loadLowRank,
  delta: ({ gated, strength, weights }) => lowRankDelta(gated, strength, weights),
};

export const rankOption = z.int().min(1).max(4096).describe("Rank of the update");
export const alphaOption = z.number().positive().describe("Scale of the update before it is divided by the rank");
export const loraOptions = z.strictObject({
  rank: rankOption.default(8),
  alpha: alphaOption.default(8),
  init: z.enum(["kaiming", "gaussian"]).default("kaiming").describe("How A starts: uniform in ±1/√dIn, or normal with deviation 1/rank; B starts at zero"),
});
export type LoraOptions = z.infer<typeof loraOptions>;

/** @throws "training.badOptions" naming the site */
export function checkRank(rank: number, { name, dIn, dOut }: Pick<TrainingSite, "name" | "dIn" | "dOut">): void {
  if (rank > Math.min(dIn, dOut))
    throw new WorkbenchError("training.badOptions", `rank is ${rank}; "${name}" is [${dOut}, ${dIn}], so expected at most ${Math.min(dIn, dOut)}`);
}

/** A ~ U(±1/√dIn) (kaiming_uniform with a = √5) or N(0, 1/r²); B = 0. */
export const startLora: TrainingSpec<LoraOptions>["start"] = ({ name, dIn, dOut }, { options: { rank, init }, random }) => {
  const stream = random("loraA", name);
  const a = init === "gaussian" ? gaussians(rank * dIn, 1 / rank, stream) : uniforms(rank * dIn, 1 / Math.sqrt(dIn), stream);
  return { trained: { loraA: float32(a, [rank, dIn]), loraB: float32(new Float32Array(dOut * rank), [dOut, rank]) }, frozen: {} };
};

/** s · (x Aᵀ) Bᵀ: `[rows, dIn]` → `[rows, dOut]` */
export function lowRankProduct(x: tf.Tensor, a: tf.Tensor, b: tf.Tensor, scaling: number): tf.Tensor {
  // The scale on the thin product: rows · rank numbers, not rows · dOut.
  return tf.matMul(tf.mul(tf.matMul(x, a, false, true), scaling), b, false, true);
}

/** s·B·A of a site that holds `loraA` and `loraB`. */
export function loraFactors({ site: { dIn, dOut }, trained }: SiteState, scale: number): FactoredMatrix {
  const [a, b] = [trained["loraA"]!, trained["loraB"]!];
  return { left: b.data, right: a.data, dOut, dIn, rank: a.shape[0]!, scale };
}

/** lora_A and lora_B of every site, under PEFT's keys. */
export function loraTensors(sites: readonly SiteState[]): Map<string, SiteState["trained"][string]> {
  return new Map(
    sites.flatMap(({ site, trained }) => [
      [savedKey(site, "lora_A.weight"), trained["loraA"]!],
      [savedKey(site, "lora_B.weight"), trained["loraB"]!],
    ]),
  );
}

const scalings = { lora: ({ rank, alpha }: LoraOptions) => alpha / rank, rslora: ({ rank, alpha }: LoraOptions) => alpha / Math.sqrt(rank) };

function loraSpec(rule: keyof typeof scalings, about: Pick<TrainingSpec<LoraOptions>, "title" | "summary" | "source">): TrainingSpec<LoraOptions> {
  const scalingOf = scalings[rule];
  return {
    ...about,
    exactness: "as in PEFT",
    isReconstructed: false,
    options: loraOptions,
    parameterCount(site, { rank }) {
      checkRank(rank, site);
      return rank * (site.dIn + site.dOut);
    },
    start: startLora,
    rules: () => ({ loraA: { decays: true }, loraB: { decays: true } }),
    delta: ({ x, trained, options: chosen }) => lowRankProduct(x, trained["loraA"]!, trained["loraB"]!, scalingOf(chosen)),
    deltaWeight: (state, chosen) => loraFactors(state, scalingOf(chosen)),
    save: (sites, { rank, alpha }) => ({
      config: { peft_type: "LORA", r: rank, lora_alpha: alpha, use_rslora: rule === "rslora" },
      tensors: loraTensors(sites),
    }),
  };
}

export const loraTraining = defineTraining(
  loraSpec("lora", { title: "LoRA", summary: "A low-rank update B·A beside each weight, scaled by α/r.", source: "Hu et al. 2021, arXiv 2106.09685" }),
);
export const rsloraTraining = defineTraining(
  loraSpec("rslora", {
    title: "rsLoRA",
    summary: "LoRA scaled by α/√r, so that the update does not shrink as the rank grows.",
    source: "Kalajdzievski 2023, arXiv 2312.03732",
  }),
);
