/** OLieRA: a multiplicative update, W ⊙ exp(B·A) entry by entry, whose exponents add over tasks; with a term that keeps tasks apart. */
import * as tf from "@tensorflow/tfjs-core";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { floatValues } from "../formats/tensorValues.ts";
import type { Weight } from "../tensors/engine.ts";
import { frobeniusNorm, sumOf, type FactoredMatrix } from "../linalg/factored.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import { alphaOption, checkRank, loraRules, loraFactors, rankOption, startLora, type Factors } from "./trainedFactors.ts";
import { expectShape, lowRankDelta, lowRankSite, tensorsOf } from "./lowRankSite.ts";
import { checkEarlierSites, earlierFactors, earlierTasks, olieraFields, olieraIdleFields, type EarlierTensors } from "./olieraFiles.ts";
import {
  asFactors,
  exponentTensor,
  multiplicativeDelta,
  multiplicativeProduct,
  orders,
  orthogonalities,
  overlap,
  smallestFactor,
  type TaskTensors,
} from "./olieraTerms.ts";
import { defineMethod, defineTraining, savedKey, type DeltaContext, type Gauge, type None, type PenaltySite, type SiteState } from "./method.ts";

const about = {
  title: "OLieRA",
  source: "Cao & Wu 2025, arXiv 2509.06100; O-LoRA: Wang et al. 2023, arXiv 2310.14152",
  exactness:
    "reconstructed from a digest of the paper: the update, its Taylor orders and the orthogonality term are the paper's " +
    "formulas; rank, scale, start (as O-LoRA) and the strength of the term are ours, and so are two of its other forms (the " +
    "third is that of O-LoRA's code). To first order and for one task it is HiRA",
};

interface OlieraTensors {
  readonly trained: Factors<FloatTensor>;
  readonly frozen: EarlierTensors<Weight>;
  readonly memory: None;
}

const options = z.strictObject({
  rank: rankOption.default(8).describe("Rank of the exponent B·A; the update itself is of full rank"),
  alpha: alphaOption.default(8).describe("Scale of the exponent before it is divided by the rank; the paper has none, which is alpha = rank"),
  order: z.enum(orders).default("exact").describe("exp exactly, or its Taylor sum to this order"),
  orthogonality: z
    .enum(orthogonalities)
    .default("lie")
    .describe(
      "How overlap with earlier tasks is counted: faithful is the paper's ‖exp(Δi) exp(Δ)ᵀ‖, which is never 0 and pulls all of " +
        "Δ down; centred is ‖(exp(Δi) − 1)(exp(Δ) − 1)ᵀ‖; lie is ‖Ai Aᵀ‖², as in O-LoRA's paper; l1 is Σ |Ai Aᵀ|, as in O-LoRA's code",
    ),
  lambda: z
    .number()
    .min(0)
    .default(0.5)
    .describe("Strength of the orthogonality term; O-LoRA's code uses 0.5 on the sum of absolute values (l1), which is 20 to 80 times lie at the start"),
  earlier: z
    .array(z.string().meta({ path: "adapter" }))
    .default([])
    .describe("Folders of OLieRA adapters of earlier tasks: part of the model from the start, frozen; a folder holds all tasks up to its own"),
});
type OlieraOptions = z.infer<typeof options>;

const scaling = ({ rank, alpha }: OlieraOptions): number => alpha / rank;
const olieraTraining = defineTraining<OlieraOptions, OlieraTensors>({
  ...about,
  summary: "Multiplies every weight by exp of a low-rank matrix: no weight changes its sign, and the exponents of tasks add.",
  isReconstructed: true,
  options,
  parameterCount(site, { rank }) {
    checkRank(rank, site);
    return rank * (site.dIn + site.dOut);
  },
  /** A ~ U(±1/√dIn), B = 0: the factor is exp(0) = 1; earlier tasks' factors frozen, scaled to this task's α/r. */
  start(site, { options: chosen, random, runKey }) {
    const frozen: OlieraTensors["frozen"] = {};
    earlierTasks(chosen.earlier, site, { scale: scaling(chosen), order: chosen.order, runKey }).forEach(({ a, b }, task) => {
      frozen[`earlierA${task}`] = a;
      frozen[`earlierB${task}`] = b;
    });
    const { trained, memory } = startLora(site, { options: { rank: chosen.rank }, random });
    return { trained, frozen, memory };
  },
  rules: () => loraRules,
  delta,
  penalty,
  deltaWeight(state, chosen) {
    const { dOut, dIn } = state.site;
    return asFactors(denseDelta(state, chosen), dOut, dIn);
  },
  denseDelta,
  gauges: (chosen) => [
    { id: "exponent", label: "Root mean square of the exponent", unit: "", length: 1, values: (state) => Float32Array.of(rmsExponent(state, chosen)) },
    ...(chosen.order === "first" || chosen.order === "third" ? [factorGauge(chosen)] : []),
  ],
  save(sites, chosen) {
    const config = {
      peft_type: "OLIERA",
      r: chosen.rank,
      lora_alpha: chosen.alpha,
      oliera_order: chosen.order,
      oliera_ranks: [...sites.slice(0, 1).flatMap(({ frozen }) => earlierFactors(frozen).map(({ a }) => a.shape[0] ?? 0)), chosen.rank],
      oliera_orthogonality: chosen.orthogonality,
      oliera_lambda: chosen.lambda,
    };
    const tensors = sites.flatMap((state): [string, FloatTensor][] => {
      const { left, right, dOut, dIn, rank } = exponent(state, chosen);
      return [
        [savedKey(state.site, "lora_A.weight"), float32(right, [rank, dIn])],
        [savedKey(state.site, "lora_B.weight"), float32(left, [dOut, rank])],
      ];
    });
    return { config, tensors: new Map(tensors) };
  },
});

/** Δ of all tasks: s · [B_1 … B_t] [A_1; …; A_t]. */
function exponent(state: SiteState<OlieraTensors>, chosen: OlieraOptions): FactoredMatrix {
  const { dIn, dOut } = state.site;
  const scale = scaling(chosen);
  const earlier = earlierFactors(state.frozen).map(({ a, b }): FactoredMatrix => ({
    left: b.data(),
    right: a.data(),
    dOut,
    dIn,
    rank: a.shape[0] ?? 0,
    scale,
  }));
  return sumOf([...earlier, loraFactors(state, scale)]);
}

function denseDelta(state: SiteState<OlieraTensors>, chosen: OlieraOptions): Float32Array {
  return multiplicativeDelta(exponent(state, chosen), state.site.baseWeight.data(), state.site.stored, chosen.order);
}

function rmsExponent(state: SiteState<OlieraTensors>, chosen: OlieraOptions): number {
  const factors = exponent(state, chosen);
  return frobeniusNorm(factors) / Math.sqrt(factors.dOut * factors.dIn);
}

function factorGauge(chosen: OlieraOptions): Gauge<OlieraTensors> {
  return {
    id: "factor",
    label: "Smallest factor on a weight (0 or less: its sign is lost)",
    unit: "",
    length: 1,
    values: (state) => Float32Array.of(smallestFactor(exponent(state, chosen), chosen.order)),
  };
}

/** x (W ⊙ (exp(Δ) − 1))ᵀ, Δ of all tasks. */
function delta({ site: { stored }, x, weight, trained, frozen, options: chosen }: DeltaContext<OlieraOptions, OlieraTensors>): tf.Tensor {
  const parts = [...earlierFactors(frozen), { a: trained.loraA, b: trained.loraB }];
  const side = (name: "a" | "b") =>
    tf.concat(
      parts.map((part) => part[name]),
      name === "a" ? 0 : 1,
    );
  return multiplicativeProduct({ x, weight, stored, a: side("a"), b: side("b"), scale: scaling(chosen), order: chosen.order });
}

/** λ Σ over sites and earlier tasks of their overlap with this one. */
function penalty(sites: readonly PenaltySite<OlieraTensors>[], chosen: OlieraOptions): tf.Tensor {
  const { orthogonality: form, order, lambda } = chosen;
  checkEarlierSites(
    chosen.earlier,
    sites.map(({ site }) => site),
  );
  if (form === "none" || chosen.earlier.length === 0) return tf.zeros([]);
  const scale = scaling(chosen);
  const task = (a: tf.Tensor, b: tf.Tensor): TaskTensors => ({ a, exponent: () => exponentTensor(a, b, scale, "outIn") });
  const terms = sites.flatMap(({ trained, frozen }) => {
    const current = task(trained.loraA, trained.loraB);
    return earlierFactors(frozen).map(({ a, b }) => overlap(form, order, task(a, b), current));
  });
  return tf.mul(tf.addN(terms), lambda);
}

export const oliera = defineMethod({
  ...about,
  peftType: "OLIERA",
  fields: olieraFields,
  idleFields: olieraIdleFields,
  open(config, { oliera_order: order, oliera_ranks: ranks }, parsed) {
    const { modulePath, site } = parsed;
    if (!site)
      throw new WorkbenchError(
        "adapter.wrongBase",
        `adapter: OLieRA multiplies the base weight of "${modulePath}", so it opens only on its base; expected a model`,
      );
    const rank = (ranks ?? [config.r]).reduce((sum, value) => sum + value, 0);
    const take = tensorsOf(parsed, "OLieRA");
    const [a, b] = [take("lora_A"), take("lora_B")];
    expectShape(`lora_A of "${modulePath}"`, a.shape, [rank, site.dIn], "rank of all tasks × dIn");
    expectShape(`lora_B of "${modulePath}"`, b.shape, [site.dOut, rank], "dOut × rank of all tasks");
    const exponent: FactoredMatrix = { left: floatValues(b), right: floatValues(a), dOut: site.dOut, dIn: site.dIn, rank, scale: config.loraAlpha / config.r };
    const delta = multiplicativeDelta(exponent, site.baseWeight.data(), site.stored, order);
    return lowRankSite(parsed, asFactors(delta, site.dOut, site.dIn), { key: `${a.id}:${site.baseWeight.key}`, alpha: config.loraAlpha });
  },
  delta: lowRankDelta,
  trainings: { oliera: olieraTraining },
});
