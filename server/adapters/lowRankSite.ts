/** A site whose whole update is a product of two thin factors: what most methods' files become when they are opened. */
import * as tf from "@tensorflow/tfjs-core";
import { WorkbenchError } from "../errors.ts";
import type { Weight } from "../tensors/engine.ts";
import type { TensorEntry } from "../formats/safetensors.ts";
import { factoredSvd, type FactoredMatrix } from "../linalg/factored.ts";
import type { DeltaInputs, ParsedSite, SiteAdapter } from "./method.ts";
import { at, named } from "../at.ts";
import { scaledColumns } from "../linalg/matrices.ts";

/**
 * @param key identifies the numbers: the file and the place of a tensor in it
 * @param alpha as in the config; only shown
 */
export function lowRankSite(parsed: ParsedSite, factors: FactoredMatrix, { key, alpha }: { key: string; alpha: number }): SiteAdapter {
  const { modulePath, site } = parsed;
  let cached: Readonly<Record<string, Weight>> | null = null;
  return {
    site: site?.fullName ?? modulePath,
    layer: site?.layer ?? Number(/\.(\d+)\./.exec(modulePath)?.[1] ?? 0),
    modulePath,
    dIn: factors.dIn,
    dOut: factors.dOut,
    rank: factors.rank,
    alpha,
    scaling: factors.scale,
    factors,
    loraA: weight(key, [factors.rank, factors.dIn], factors.right),
    beyondLowRank: null,
    weights() {
      if (cached) return cached;
      if (![factors.left, factors.right].every((values) => values.every(Number.isFinite)))
        throw new WorkbenchError(
          "adapter.malformed",
          `the adapter's "${modulePath}" holds NaN or infinity, so nothing can be computed with it; its weight-only views show the other sites`,
        );
      cached = singularFactors(`${key}:${factors.scale}`, factors);
      return cached;
    },
  };
}

/** `read` = Vᵀ and `write` = U Σ of s·B·A. */
function singularFactors(key: string, factors: FactoredMatrix): Record<string, Weight> {
  const { u, s, vt } = factoredSvd(factors);
  const rank = factors.rank;
  // A rank above min(dIn, dOut) has fewer singular components; the rest are zero.
  const read = new Float32Array(rank * factors.dIn);
  read.set(vt);
  const write = new Float32Array(factors.dOut * rank);
  const scaled = scaledColumns(u, s);
  for (let row = 0; row < factors.dOut; row++) write.set(scaled.subarray(row * s.length, (row + 1) * s.length), row * rank);
  return { read: weight(`${key}:read`, [rank, factors.dIn], read), write: weight(`${key}:write`, [factors.dOut, rank], write) };
}

/** A module's tensors by their names in the file, LoRA's own included. @throws "adapter.malformed" naming the one that is missing */
export function tensorsOf({ modulePath, keys, own }: ParsedSite, method: string): (name: string) => TensorEntry {
  const held = { lora_A: keys.loraA, lora_B: keys.loraB, ...own };
  return (name) => {
    const found = Object.entries(held).find(([key]) => key === name)?.[1];
    if (found) return found.entry;
    const names = Object.entries(held).flatMap(([key, value]) => (value ? [key] : []));
    throw new WorkbenchError(
      "adapter.malformed",
      `adapter: ${method} module "${modulePath}" has no ${name}; it has ${names.join(", ") || "none of the method's tensors"}`,
    );
  };
}

/** Sizes of the base's weight; without a base those that A and B have. */
export function sizesOf({ site }: ParsedSite, a: TensorEntry, b: TensorEntry): { dIn: number; dOut: number } {
  return { dIn: site?.dIn ?? a.shape[1] ?? 0, dOut: site?.dOut ?? b.shape[0] ?? 0 };
}

export function weight(key: string, shape: readonly number[], values: Float32Array): Weight {
  return { key, shape, data: () => values };
}

/**
 * @param words what each dimension is, "rank × dIn"
 * @throws "adapter.shapeMismatch" when it is for other dimensions; "adapter.malformed" when only the rank differs from adapter_config.json's, or it is
 * no matrix
 */
export function expectShape(what: string, found: readonly number[], expected: readonly number[], words: string): void {
  const names = words.split(" × ");
  if (found.length !== expected.length) {
    const convolution = found.length > 2 ? " (a convolution's, which is not supported)" : "";
    throw new WorkbenchError("adapter.malformed", `${what} is [${found.join(", ")}]${convolution}; expected [${expected.join(", ")}] (${words})`);
  }
  const differing = expected.flatMap((dim, i) => (dim === found[i] ? [] : [i]));
  if (differing.length > 0) {
    if (differing.every((i) => names[i] === "rank")) {
      const [at = 0] = differing;
      throw new WorkbenchError(
        "adapter.malformed",
        `${what} is [${found.join(", ")}], of rank ${found[at]}; adapter_config.json gives this module rank ${expected[at]} (r, ` +
          `rank_pattern): the config and the tensors are not of one training`,
      );
    }
    throw new WorkbenchError("adapter.shapeMismatch", `${what} is [${found.join(", ")}]; expected [${expected.join(", ")}] (${words})`);
  }
}

/** gated · (U Σ)ᵀ, plus B's bias where there is one. */
export function lowRankDelta({ gated, strength, weights }: Pick<DeltaInputs, "gated" | "strength" | "weights">): tf.Tensor {
  const rank = at(gated.shape, -1);
  const { write } = named("a low-rank site", weights, ["write"]);
  const product = tf.reshape(tf.matMul(tf.reshape(gated, [-1, rank]), write, false, true), [...gated.shape.slice(0, -1), write.shape[0]]);
  const bias = weights["bias"];
  return bias ? tf.add(product, tf.mul(strength, bias)) : product;
}
