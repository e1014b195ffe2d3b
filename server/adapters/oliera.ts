/** OLieRA: a multiplicative update, W ⊙ exp(B·A) entry by entry, whose exponents add over tasks; with a term that keeps tasks apart. */
import * as tf from "@tensorflow/tfjs-core";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { floatValues } from "../formats/tensorValues.ts";
import type { Weight } from "../tensors/engine.ts";
import { sumOf, type FactoredMatrix } from "../linalg/factored.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import { uniforms } from "../linalg/random.ts";
import { alphaOption, checkRank, rankOption } from "./lora.ts";
import { expectShape, lowRankDelta, lowRankSite } from "./lowRankSite.ts";
import type { AdapterMethod } from "./method.ts";
import { checkEarlierSites, earlierTasks, olieraConfig, olieraFields } from "./olieraFiles.ts";
import { multiplicativeDelta, orders, orthogonalities, overlap, relativeChange, smallestFactor, type TaskTensors } from "./olieraTerms.ts";
import { defineTraining, savedKey, type DeltaContext, type Gauge, type PenaltySite, type SiteState } from "./training.ts";

const about = {
  title: "OLieRA",
  source: "Cao & Wu 2025, arXiv 2509.06100; O-LoRA: Wang et al. 2023, arXiv 2310.14152",
  exactness:
    "reconstructed from a digest of the paper: the update, its Taylor orders and the orthogonality term are the paper's formulas; rank, scale, start (as O-LoRA), the strength of the term and its two other forms are ours",
};

/** `[n, n]`, ones on the diagonal. */
function identity(n: number): Float32Array {
  const eye = new Float32Array(n * n);
  for (let i = 0; i < n; i++) eye[i * n + i] = 1;
  return eye;
}

/** A dense ΔW as a product with the identity on its smaller side, so that its rank is min(dOut, dIn). */
function denseFactors(delta: Float32Array, dOut: number, dIn: number): FactoredMatrix {
  const rank = Math.min(dOut, dIn);
  const eye = identity(rank);
  return { left: dIn <= dOut ? delta : eye, right: dIn <= dOut ? eye : delta, dOut, dIn, rank, scale: 1 };
}

export const oliera: AdapterMethod = {
  ...about,
  peftType: "OLIERA",
  ownFields: olieraFields,
  accepts: () => true,
  loadSite(config, parsed) {
    const { modulePath, keys, site } = parsed;
    if (!site)
      throw new WorkbenchError(
        "adapter.wrongBase",
        `adapter: OLieRA multiplies the base weight of "${modulePath}", so it opens only on its base; expected a model`,
      );
    const { oliera_order: order, oliera_ranks: ranks } = olieraConfig(config.raw, config.dir);
    const rank = (ranks ?? [config.r]).reduce((sum, value) => sum + value, 0);
    const [a, b] = [keys.loraA?.entry, keys.loraB?.entry];
    if (!a || !b) throw new WorkbenchError("adapter.malformed", `adapter: module "${modulePath}" has no ${a ? "lora_B" : "lora_A"}`);
    expectShape(`lora_A of "${modulePath}"`, a.shape, [rank, site.dIn], "rank of all tasks × dIn");
    expectShape(`lora_B of "${modulePath}"`, b.shape, [site.dOut, rank], "dOut × rank of all tasks");
    const exponent: FactoredMatrix = { left: floatValues(b), right: floatValues(a), dOut: site.dOut, dIn: site.dIn, rank, scale: config.loraAlpha / config.r };
    const delta = multiplicativeDelta(exponent, site.baseWeight.data(), site.stored, order);
    return lowRankSite(parsed, denseFactors(delta, site.dOut, site.dIn), { key: `${a.id}:${site.baseWeight.key}`, alpha: config.loraAlpha });
  },
  delta: ({ gated, strength, weights }) => lowRankDelta(gated, strength, weights),
};

const options = z.strictObject({
  rank: rankOption.default(8).describe("Rank of the exponent B·A; the update itself is of full rank"),
  alpha: alphaOption.default(8).describe("Scale of the exponent before it is divided by the rank; the paper has none, which is alpha = rank"),
  order: z.enum(orders).default("exact").describe("exp exactly, or its Taylor sum to this order"),
  orthogonality: z
    .enum(orthogonalities)
    .default("lie")
    .describe(
      "How overlap with earlier tasks is counted: faithful is the paper's ‖exp(Δi) exp(Δ)ᵀ‖, which is never 0 and pulls all of Δ down; centred is ‖(exp(Δi) − 1)(exp(Δ) − 1)ᵀ‖; lie is ‖Ai Aᵀ‖²",
    ),
  lambda: z.number().min(0).default(0.5).describe("Strength of the orthogonality term; 0.5 is O-LoRA's"),
  earlier: z
    .array(z.string())
    .default([])
    .describe("Folders of OLieRA adapters of earlier tasks: part of the model from the start, frozen; a folder holds all tasks up to its own"),
});
type OlieraOptions = z.infer<typeof options>;

const scaling = ({ rank, alpha }: OlieraOptions): number => alpha / rank;
const names = (task: number) => ({ a: `earlierA${task}`, b: `earlierB${task}` });

/** Ranks of the earlier tasks at a site, oldest first. */
function earlierRanks({ frozen }: Pick<SiteState, "frozen">): number[] {
  const ranks: number[] = [];
  for (let task = 0; frozen[names(task).a]; task++) ranks.push(frozen[names(task).a]!.shape[0]!);
  return ranks;
}

export const olieraTraining = defineTraining<OlieraOptions>({
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
    const { name, dIn, dOut } = site;
    const { rank } = chosen;
    const trained = {
      loraA: float32(uniforms(rank * dIn, 1 / Math.sqrt(dIn), random("loraA", name)), [rank, dIn]),
      loraB: float32(new Float32Array(dOut * rank), [dOut, rank]),
    };
    const frozen: Record<string, Weight> = {};
    earlierTasks(chosen.earlier, site, { scale: scaling(chosen), order: chosen.order, runKey }).forEach(({ a, b }, task) => {
      frozen[names(task).a] = a;
      frozen[names(task).b] = b;
    });
    return { trained, frozen };
  },
  rules: () => ({ loraA: { decays: true }, loraB: { decays: true } }),
  delta,
  penalty,
  deltaWeight(state, chosen) {
    const { dOut, dIn } = state.site;
    return denseFactors(denseDelta(state, chosen), dOut, dIn);
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
      oliera_ranks: [...(sites[0] ? earlierRanks(sites[0]) : []), chosen.rank],
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
function exponent(state: SiteState, chosen: OlieraOptions): FactoredMatrix {
  const {
    site: { dIn, dOut },
    trained,
    frozen,
  } = state;
  const scale = scaling(chosen);
  const earlier = earlierRanks(state).map((rank, task): FactoredMatrix => ({
    left: frozen[names(task).b]!.data(),
    right: frozen[names(task).a]!.data(),
    dOut,
    dIn,
    rank,
    scale,
  }));
  return sumOf([...earlier, { left: trained["loraB"]!.data, right: trained["loraA"]!.data, dOut, dIn, rank: chosen.rank, scale }]);
}

function denseDelta(state: SiteState, chosen: OlieraOptions): Float32Array {
  return multiplicativeDelta(exponent(state, chosen), state.site.baseWeight.data(), state.site.stored, chosen.order);
}

function rmsExponent(state: SiteState, chosen: OlieraOptions): number {
  const { left, right, dOut, dIn, rank, scale } = exponent(state, chosen);
  // ‖B·A‖_F² = tr(BᵀB · A Aᵀ): rank² products of columns and rows.
  let trace = 0;
  for (let k = 0; k < rank; k++) {
    for (let l = 0; l < rank; l++) {
      let [columns, rows] = [0, 0];
      for (let o = 0; o < dOut; o++) columns += left[o * rank + k]! * left[o * rank + l]!;
      for (let i = 0; i < dIn; i++) rows += right[k * dIn + i]! * right[l * dIn + i]!;
      trace += columns * rows;
    }
  }
  return Math.abs(scale) * Math.sqrt(Math.max(0, trace) / (dOut * dIn));
}

function factorGauge(chosen: OlieraOptions): Gauge {
  return {
    id: "factor",
    label: "Smallest factor on a weight (0 or less: its sign is lost)",
    unit: "",
    length: 1,
    values: (state) => Float32Array.of(smallestFactor(exponent(state, chosen), chosen.order)),
  };
}

/** s·B·A `[dOut, dIn]`, or its transpose for weights that are stored so. */
function exponentTensor(a: tf.Tensor, b: tf.Tensor, scale: number, stored: "outIn" | "inOut"): tf.Tensor {
  const scaled = tf.mul(b, scale);
  return stored === "outIn" ? tf.matMul(scaled, a) : tf.matMul(a, scaled, true, true);
}

/**
 * x (W ⊙ (exp(Δ) − 1))ᵀ, Δ of all tasks. To first order also Σ_k b_k ⊙ W(a_k ⊙ x), which needs no `[dOut, dIn]` matrix:
 * rank · rows instead of rank + rows products of the weight's size, so it is taken where that is less.
 */
function delta({ site: { stored }, x, weight, trained, frozen, options: chosen }: DeltaContext<OlieraOptions>): tf.Tensor {
  const scale = scaling(chosen);
  const earlier = Object.keys(frozen).length / 2;
  const parts = [
    ...Array.from({ length: earlier }, (_, task) => ({ a: frozen[names(task).a]!, b: frozen[names(task).b]! })),
    { a: trained["loraA"]!, b: trained["loraB"]! },
  ];
  const [a, b] = [
    tf.concat(
      parts.map((part) => part.a),
      0,
    ),
    tf.concat(
      parts.map((part) => part.b),
      1,
    ),
  ];
  const [rank, rows] = [a.shape[0], x.shape[0]];
  if (chosen.order === "first" && rank * rows < rank + rows) {
    const terms = Array.from({ length: rank }, (_, k) => {
      const inputs = tf.mul(x, tf.slice(a, [k, 0], [1, a.shape[1]!]));
      const column = tf.reshape(tf.slice(b, [0, k], [b.shape[0], 1]), [1, b.shape[0]]);
      return tf.mul(tf.matMul(inputs, weight, false, stored === "outIn"), tf.mul(column, scale));
    });
    return tf.addN(terms);
  }
  const change = tf.mul(weight, relativeChange(exponentTensor(a, b, scale, stored), chosen.order));
  return tf.matMul(x, change, false, stored === "outIn");
}

/** λ Σ over sites and earlier tasks of their overlap with this one. */
function penalty(sites: readonly PenaltySite[], chosen: OlieraOptions): tf.Tensor {
  const { orthogonality: form, order, lambda } = chosen;
  checkEarlierSites(
    chosen.earlier,
    sites.map(({ site }) => site),
  );
  if (form === "none" || chosen.earlier.length === 0) return tf.zeros([]);
  const scale = scaling(chosen);
  const task = (a: tf.Tensor, b: tf.Tensor): TaskTensors => ({ a, exponent: () => exponentTensor(a, b, scale, "outIn") });
  const terms = sites.flatMap(({ trained, frozen }) => {
    const current = task(trained["loraA"]!, trained["loraB"]!);
    return Array.from({ length: Object.keys(frozen).length / 2 }, (_, i) => overlap(form, order, task(frozen[names(i).a]!, frozen[names(i).b]!), current));
  });
  return tf.mul(tf.addN(terms), lambda);
}
