/**
 * DoRA: W' = m ⊙ (W + s·B·A) / ‖W + s·B·A‖, the norm over each output row; strength interpolates from W to W'. At an embedding W is the table
 * turned, `[dModel, dVocab]`, as in PEFT's DoraEmbeddingLayer: m has an entry a feature, and its norm runs over the vocabulary. A tied head
 * keeps the base's table.
 */
import * as tf from "@tensorflow/tfjs-core";
import { WorkbenchError } from "../errors.ts";
import { floatValues } from "../formats/tensorValues.ts";
import type { Weight } from "../tensors/engine.ts";
import { productRows, denseProduct, type FactoredMatrix } from "../linalg/factored.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import * as z from "zod";
import { openLowRank } from "./lora.ts";
import { checkRank, loraFactors, loraOptions, loraRules, loraTensors, lowRankProduct, startLora, type Factors, type LoraOptions } from "./trainedFactors.ts";
import { expectShape, lowRankDelta, weight } from "./lowRankSite.ts";
import { defineMethod, defineTraining, savedKey, type DeltaContext, type None, type SiteState } from "./method.ts";
import { at, named } from "../at.ts";
import { asOutIn } from "../linalg/matrices.ts";
import { addTimes, norm, rowOf, squares } from "../linalg/vectors.ts";

/**
 * Norm of each row of W + s·B·A, without forming it: ‖w‖² + 2 w·(sBA) + ‖sBA‖².
 * @param base W, `[dOut, dIn]` or its transpose as `stored` says
 * @returns `[dOut]`
 */
export function adaptedRowNorms(base: Float32Array, stored: "outIn" | "inOut", factors: FactoredMatrix): Float32Array {
  const { dOut, dIn } = factors;
  const w = asOutIn(base, stored, dOut, dIn);
  const norms = new Float32Array(dOut);
  for (const [o, row] of productRows(factors)) {
    addTimes(row, 1, rowOf(w, o, dIn));
    norms[o] = norm(row);
  }
  return norms;
}

interface DoraTensors {
  readonly trained: Factors<FloatTensor> & { magnitude: FloatTensor };
  readonly frozen: { rowSquares: Weight };
  readonly memory: None;
}

const scalingOf = ({ rank, alpha }: LoraOptions): number => alpha / rank;

/** ‖w‖² of each row of W, `[dOut]`, summed in float64. */
function rowSquares(base: Float32Array, stored: "outIn" | "inOut", dOut: number, dIn: number): Float64Array {
  const w = asOutIn(base, stored, dOut, dIn);
  return Float64Array.from({ length: dOut }, (_, o) => squares(w.subarray(o * dIn, (o + 1) * dIn)));
}

/**
 * ‖W + s·B·A‖ of each output row, `[dOut]`, without forming the sum: ‖w‖² + 2s Σ(W Aᵀ ⊙ B) + s² Σ(B A Aᵀ ⊙ B).
 * No gradient passes through it.
 * @see Liu et al. 2024, arXiv 2402.09353, section 4.3
 */
function detachedRowNorms({ site, options, weight: base, trained, frozen }: DeltaContext<LoraOptions, DoraTensors>): tf.Tensor {
  const scaling = scalingOf(options);
  const norms = tf.customGrad((...given) => {
    const [a, b] = given as [tf.Tensor, tf.Tensor];
    const cross = tf.matMul(base, a, site.stored === "inOut", true);
    const square = tf.matMul(b, tf.matMul(a, a, false, true));
    const added = tf.mul(tf.add(tf.mul(cross, 2 * scaling), tf.mul(square, scaling * scaling)), b);
    return { value: tf.sqrt(tf.add(frozen.rowSquares, tf.sum(added, 1))), gradFunc: () => [tf.zerosLike(a), tf.zerosLike(b)] };
  });
  return norms(trained.loraA, trained.loraB);
}

/** c = m / ‖W + s·B·A‖ of each row, `[dOut]`. */
function rowScales(state: SiteState<DoraTensors>, options: LoraOptions): Float32Array {
  const { stored, baseWeight } = state.site;
  const norms = adaptedRowNorms(baseWeight.data(), stored, loraFactors(state, scalingOf(options)));
  return state.trained.magnitude.data.map((m, row) => m / at(norms, row));
}

const doraTraining = defineTraining<LoraOptions, DoraTensors>({
  title: "DoRA",
  summary: "LoRA for the direction of each output row, and a magnitude of its own for its length.",
  source: "Liu et al. 2024, arXiv 2402.09353",
  exactness: "as in PEFT: the row norms are constants in the gradient",
  isReconstructed: false,
  options: loraOptions,
  parameterCount(site, { rank }) {
    checkRank(rank, site);
    return rank * (site.dIn + site.dOut) + site.dOut;
  },
  /** LoRA's start, and m = ‖row of W‖. */
  start(site, context) {
    const { dIn, dOut, stored, baseWeight } = site;
    const squares = rowSquares(baseWeight.data(), stored, dOut, dIn);
    return {
      trained: { ...startLora(site, context).trained, magnitude: float32(Float32Array.from(squares, Math.sqrt), [dOut]) },
      frozen: { rowSquares: weight(`${context.runKey}:${site.name}:rowSquares`, [dOut], Float32Array.from(squares)) },
      memory: {},
    };
  },
  rules: () => ({ ...loraRules, magnitude: { decays: true } }),
  /** (c − 1) ⊙ W x + c ⊙ s·B·A x with c = m / ‖W + s·B·A‖; with dropout both x are the dropped ones, as in PEFT. */
  delta(context) {
    const { site, options, x, xClean, base, weight: w, trained } = context;
    const ratio = tf.div(trained.magnitude, detachedRowNorms(context));
    const ofBase = x === xClean ? base : tf.matMul(x, w, false, site.stored === "outIn");
    const low = lowRankProduct(x, trained.loraA, trained.loraB, scalingOf(options));
    return tf.add(tf.mul(tf.sub(ratio, 1), ofBase), tf.mul(ratio, low));
  },
  deltaWeight: (state, options) => loraFactors(state, scalingOf(options)),
  beyondLowRank: "each output row is rescaled to its magnitude m",
  rowScales,
  /** c ⊙ (W + s·B·A) − W */
  denseDelta(state, options) {
    const { dIn, dOut, stored, baseWeight } = state.site;
    const base = asOutIn(baseWeight.data(), stored, dOut, dIn);
    const ratios = rowScales(state, options);
    return denseProduct(loraFactors(state, scalingOf(options))).map((added, i) => {
      const ratio = at(ratios, Math.floor(i / dIn));
      return (ratio - 1) * at(base, i) + ratio * added;
    });
  },
  save: (sites, { rank, alpha }) => ({
    config: { peft_type: "LORA", r: rank, lora_alpha: alpha, use_dora: true },
    tensors: new Map([...loraTensors(sites), ...sites.map(({ site, trained }) => [savedKey(site, "lora_magnitude_vector"), trained.magnitude] as const)]),
  }),
});

export const dora = defineMethod({
  title: "DoRA",
  peftType: "LORA",
  source: "Liu et al. 2024, arXiv 2402.09353",
  exactness: "as in PEFT; at part strength the row norms stay those of full strength",
  fields: z.object({}),
  accepts: (config) => config.useDora,
  open(config, _, parsed) {
    const low = openLowRank(config, parsed);
    const magnitude = parsed.keys.magnitude;
    if (!magnitude) throw new WorkbenchError("adapter.malformed", `adapter: DoRA module "${parsed.modulePath}" has no lora_magnitude_vector`);
    expectShape(
      `lora_magnitude_vector of "${parsed.modulePath}"`,
      magnitude.entry.shape.length === 2 ? [Math.max(...magnitude.entry.shape)] : magnitude.entry.shape,
      [low.dOut],
      "dOut",
    );
    const site = parsed.site;
    let cached: Readonly<Record<string, Weight>> | null = null;
    return {
      ...low,
      beyondLowRank: "each output row is rescaled to its magnitude m",
      weights() {
        if (cached) return cached;
        if (!site) throw new WorkbenchError("adapter.wrongBase", `adapter: DoRA module "${parsed.modulePath}" needs its base weight to run`);
        const norms = adaptedRowNorms(site.baseWeight.data(), site.stored, low.factors);
        const ratio = floatValues(magnitude.entry).map((m, row) => m / at(norms, row));
        cached = { ...low.weights(), ratio: weight(`${magnitude.entry.id}:ratio`, [low.dOut], ratio) };
        return cached;
      },
    };
  },
  /** strength·(c − 1) ⊙ W x + c ⊙ Δ x, with c = m / ‖W + sBA‖. */
  delta({ base, gated, strength, weights }) {
    const { ratio } = named("a DoRA site", weights, ["ratio"]);
    const rescaled = tf.mul(tf.mul(base, tf.sub(ratio, 1)), strength);
    return tf.add(rescaled, tf.mul(lowRankDelta({ gated, strength, weights }), ratio));
  },
  trainings: { dora: doraTraining },
});
