/** DoRA: W' = m ⊙ (W + s·B·A) / ‖W + s·B·A‖, the norm over each output row; strength interpolates from W to W'. */
import * as tf from "@tensorflow/tfjs-core";
import { WorkbenchError } from "../errors.ts";
import { floatValues } from "../formats/tensorValues.ts";
import { loadLowRank } from "./lora.ts";
import { expectShape, lowRankDelta, weight } from "./lowRankSite.ts";
import type { AdapterMethod } from "./method.ts";
import type { Weight } from "../tensors/engine.ts";
import type { FactoredMatrix } from "../tensors/factored.ts";

/**
 * Norm of each row of W + s·B·A, without forming it: ‖w‖² + 2 w·(sBA) + ‖sBA‖².
 * @param base W, `[dOut, dIn]` or its transpose as `stored` says
 * @returns `[dOut]`
 */
export function adaptedRowNorms(base: Float32Array, stored: "outIn" | "inOut", factors: FactoredMatrix): Float32Array {
  const { dOut, dIn, rank, left, right, scale } = factors;
  const norms = new Float32Array(dOut);
  const row = new Float64Array(dIn);
  for (let o = 0; o < dOut; o++) {
    if (stored === "outIn") for (let i = 0; i < dIn; i++) row[i] = base[o * dIn + i]!;
    else for (let i = 0; i < dIn; i++) row[i] = base[i * dOut + o]!;
    for (let k = 0; k < rank; k++) {
      const b = scale * left[o * rank + k]!;
      for (let i = 0; i < dIn; i++) row[i]! += b * right[k * dIn + i]!;
    }
    let sum = 0;
    for (let i = 0; i < dIn; i++) sum += row[i]! * row[i]!;
    norms[o] = Math.sqrt(sum);
  }
  return norms;
}

export const dora: AdapterMethod = {
  title: "DoRA",
  peftType: "LORA",
  source: "Liu et al. 2024, arXiv 2402.09353",
  exactness: "as in PEFT; at part strength the row norms stay those of full strength",
  accepts: (config) => config.useDora,
  loadSite(config, parsed) {
    const low = loadLowRank(config, parsed);
    const magnitude = parsed.keys.magnitude;
    if (!magnitude) throw new WorkbenchError("adapter.malformed", `adapter: DoRA module "${parsed.modulePath}" has no lora_magnitude_vector`);
    expectShape(`lora_magnitude_vector of "${parsed.modulePath}"`, magnitude.entry.shape.length === 2 ? [Math.max(...magnitude.entry.shape)] : magnitude.entry.shape, [low.dOut], "dOut");
    if (parsed.isEmbedding) throw new WorkbenchError("adapter.unsupported", `adapter: DoRA on the embedding "${parsed.modulePath}" is not supported`);
    const site = parsed.site;
    let cached: Readonly<Record<string, Weight>> | null = null;
    return {
      ...low,
      beyondLowRank: "each output row is rescaled to its magnitude m",
      weights() {
        if (cached) return cached;
        if (!site) throw new WorkbenchError("adapter.wrongBase", `adapter: DoRA module "${parsed.modulePath}" needs its base weight to run`);
        const norms = adaptedRowNorms(site.baseWeight.data(), site.stored, low.factors);
        const ratio = floatValues(magnitude.entry).map((m, row) => m / norms[row]!);
        cached = { ...low.weights(), ratio: weight(`${magnitude.entry.file}:${magnitude.entry.begin}:ratio`, [low.dOut], ratio) };
        return cached;
      },
    };
  },
  /** strength·(c − 1) ⊙ W x + c ⊙ Δ x, with c = m / ‖W + sBA‖. */
  delta({ base, gated, strength, weights }) {
    const ratio = weights["ratio"]!;
    const rescaled = tf.mul(tf.mul(base, tf.sub(ratio, 1)), strength);
    return tf.add(rescaled, tf.mul(lowRankDelta(gated, strength, weights), ratio));
  },
};
