/** LoRA and rsLoRA: ΔW = s·B·A with s = α/r, or α/√r. PiSSA and OLoRA load here once PEFT has converted them; raw ones changed their base and carry a warning. */
import * as tf from "@tensorflow/tfjs-core";
import type { AdapterConfig } from "../formats/adapterConfig.ts";
import type { TensorEntry } from "../formats/safetensors.ts";
import { floatValues } from "../formats/tensorValues.ts";
import { patternValue } from "../formats/targetMatcher.ts";
import { WorkbenchError } from "../errors.ts";
import type { Weight } from "../tensors/engine.ts";
import { factoredSvd, type FactoredMatrix } from "../tensors/factored.ts";
import type { AdapterMethod, ParsedSite, SiteAdapter } from "./method.ts";

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
  if (!a || !b) throw new WorkbenchError("adapter.malformed", `adapter: module "${modulePath}" has ${a ? "lora_A" : "lora_B"} but no ${a ? "lora_B" : "lora_A"}`);
  const dIn = site?.dIn ?? a.entry.shape[1]!;
  const dOut = site?.dOut ?? b.entry.shape[0]!;
  expectShape(`lora_A of "${modulePath}"`, a.entry.shape, [rank, dIn], "rank × dIn");
  expectShape(`lora_B of "${modulePath}"`, b.entry.shape, [dOut, rank], "dOut × rank");

  const factors: FactoredMatrix = { left: floatValues(b.entry), right: floatValues(a.entry), dOut, dIn, rank, scale: scaling };
  let cached: Readonly<Record<string, Weight>> | null = null;
  return {
    site: site?.fullName ?? modulePath,
    layer: site?.layer ?? Number(/\.(\d+)\./.exec(modulePath)?.[1] ?? 0),
    modulePath,
    dIn,
    dOut,
    rank,
    alpha,
    scaling,
    factors,
    loraA: weight(`${a.entry.file}:${a.entry.begin}`, [rank, dIn], factors.right),
    beyondLowRank: keys.loraBBias ? "bias on B" : null,
    weights() {
      cached ??= { ...singularFactors(`${a.entry.file}:${a.entry.begin}:${scaling}`, factors), ...biasOf(keys.loraBBias?.entry, dOut, scaling) };
      return cached;
    },
  };
}

/** `read` = Vᵀ and `write` = U Σ of s·B·A. */
function singularFactors(key: string, factors: FactoredMatrix): Record<string, Weight> {
  const { u, s, vt } = factoredSvd(factors);
  const rank = factors.rank;
  const found = s.length;
  // A rank above min(dIn, dOut) has fewer singular components; the rest are zero.
  const read = new Float32Array(rank * factors.dIn);
  read.set(vt);
  const write = new Float32Array(factors.dOut * rank);
  for (let row = 0; row < factors.dOut; row++) {
    for (let k = 0; k < found; k++) write[row * rank + k] = u[row * found + k]! * s[k]!;
  }
  return { read: weight(`${key}:read`, [rank, factors.dIn], read), write: weight(`${key}:write`, [factors.dOut, rank], write) };
}

function biasOf(entry: TensorEntry | undefined, dOut: number, scaling: number): Record<string, Weight> {
  if (!entry) return {};
  expectShape("lora_B bias", entry.shape, [dOut], "dOut");
  return { bias: weight(`${entry.file}:${entry.begin}:scaled`, [dOut], floatValues(entry).map((value) => value * scaling)) };
}

export function weight(key: string, shape: readonly number[], values: Float32Array): Weight {
  return { key, shape, data: () => values };
}

/** @throws "adapter.shapeMismatch" */
export function expectShape(what: string, found: readonly number[], expected: readonly number[], words: string): void {
  if (found.length !== expected.length || found.some((dim, i) => dim !== expected[i])) {
    throw new WorkbenchError("adapter.shapeMismatch", `${what} is [${found.join(", ")}]; expected [${expected.join(", ")}] (${words})`);
  }
}

/** gated · (U Σ)ᵀ, plus B's bias where there is one. */
export function lowRankDelta(gated: tf.Tensor, strength: tf.Tensor, weights: Record<string, tf.Tensor>): tf.Tensor {
  const [batch, positions, rank] = gated.shape;
  const write = weights["write"]!;
  const product = tf.reshape(tf.matMul(tf.reshape(gated, [batch * positions!, rank!]), write, false, true), [batch, positions!, write.shape[0]]);
  const bias = weights["bias"];
  return bias ? tf.add(product, tf.mul(strength, bias)) : product;
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
