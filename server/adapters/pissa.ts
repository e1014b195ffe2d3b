/** PiSSA: LoRA that starts at the leading singular directions of W. W itself stays, and what the start held is taken off again. */
import * as tf from "@tensorflow/tfjs-core";
import type { Weight } from "../tensors/engine.ts";
import { sumOf, type FactoredMatrix } from "../linalg/factored.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import { alphaOption, checkRank, loraRules, lowRankProduct, rankOption, type Factors } from "./trainedFactors.ts";
import { principalFactors } from "./baseChange.ts";
import { weight } from "./lowRankSite.ts";
import { defineTraining, savedKey, type None, type SiteState } from "./method.ts";
import * as z from "zod";

const options = z.strictObject({
  rank: rankOption.default(8).describe("Number of leading singular directions of W that are trained"),
  alpha: alphaOption.default(8),
});
type PissaOptions = z.infer<typeof options>;

interface PissaTensors {
  readonly trained: Factors<FloatTensor>;
  readonly frozen: { startA: Weight; startB: Weight };
  readonly memory: None;
}

const startAccuracy = 1e-6;

const scalingOf = ({ rank, alpha }: PissaOptions): number => alpha / rank;

/** [A; A₀] `[2·rank, dIn]` and [B, −B₀] `[dOut, 2·rank]`: B·A − B₀·A₀ as one product. */
function converted({ site: { dIn, dOut }, trained, frozen }: SiteState<PissaTensors>): { a: FloatTensor; b: FloatTensor } {
  const [a, b] = [trained.loraA, trained.loraB];
  const [a0, b0] = [frozen.startA.data(), frozen.startB.data()];
  const shape = { dOut, dIn, rank: a.data.length / dIn };
  const { left, right, rank } = sumOf([
    { ...shape, left: b.data, right: a.data, scale: 1 },
    { ...shape, left: b0, right: a0, scale: -1 },
  ]);
  return { a: float32(right, [rank, dIn]), b: float32(left, [dOut, rank]) };
}

export const pissaTraining = defineTraining<PissaOptions, PissaTensors>({
  title: "PiSSA",
  summary: "LoRA that starts at the leading singular directions of each weight, so that the first steps already move what matters most in it.",
  source: "Meng, Wang & Zhang 2024, arXiv 2404.02948",
  exactness:
    "as in PEFT with the exact decomposition; W stays and s·(B·A − B₀·A₀) is added, which is the same function, and is what PEFT saves when it converts",
  isReconstructed: false,
  options,
  parameterCount(site, { rank }) {
    checkRank(rank, site);
    return rank * (site.dIn + site.dOut);
  },
  start(site, { options: chosen, runKey }) {
    const { rank } = chosen;
    // The start belongs to no result: any directions near the leading ones do, and of a large flat spectrum these are found in seconds.
    const { a, b } = principalFactors(site, rank, scalingOf(chosen), startAccuracy);
    const [shapeA, shapeB] = [
      [rank, site.dIn],
      [site.dOut, rank],
    ] as const;
    return {
      trained: { loraA: float32(a, shapeA), loraB: float32(b, shapeB) },
      frozen: { startA: weight(`${runKey}:${site.name}:startA`, shapeA, a.slice()), startB: weight(`${runKey}:${site.name}:startB`, shapeB, b.slice()) },
      memory: {},
    };
  },
  rules: () => loraRules,
  // What the start held belongs to the base, so it sees the inputs without dropout.
  delta: ({ x, xClean, trained, frozen, options: chosen }) =>
    tf.sub(lowRankProduct(x, trained.loraA, trained.loraB, scalingOf(chosen)), lowRankProduct(xClean, frozen.startA, frozen.startB, scalingOf(chosen))),
  deltaWeight(state, chosen): FactoredMatrix {
    const { dIn, dOut } = state.site;
    const { a, b } = converted(state);
    return { left: b.data, right: a.data, dOut, dIn, rank: 2 * chosen.rank, scale: scalingOf(chosen) };
  },
  /** The LoRA of twice the rank that PEFT's `path_initial_model_for_weight_conversion` writes; α doubles with it, so that the scale stays. */
  save: (sites, { rank, alpha }) => ({
    config: { peft_type: "LORA", r: 2 * rank, lora_alpha: 2 * alpha, init_lora_weights: true },
    tensors: new Map(
      sites.flatMap((state) => {
        const { a, b } = converted(state);
        return [
          [savedKey(state.site, "lora_A.weight"), a],
          [savedKey(state.site, "lora_B.weight"), b],
        ] as const;
      }),
    ),
  }),
});
