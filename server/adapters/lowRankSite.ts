/** A site whose whole update is a product of two thin factors: what most methods' files become when they are opened. */
import * as tf from "@tensorflow/tfjs-core";
import { WorkbenchError } from "../errors.ts";
import type { Weight } from "../tensors/engine.ts";
import { factoredSvd, type FactoredMatrix } from "../linalg/factored.ts";
import type { ParsedSite, SiteAdapter } from "./method.ts";

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
      cached ??= singularFactors(`${key}:${factors.scale}`, factors);
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

export function weight(key: string, shape: readonly number[], values: Float32Array): Weight {
  return { key, shape, data: () => values };
}

/**
 * @param words what each dimension is, "rank × dIn"
 * @throws "adapter.shapeMismatch" when it is for other dimensions; "adapter.malformed" when only the rank differs from adapter_config.json's, or it is no matrix
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
        `${what} is [${found.join(", ")}], of rank ${found[at]}; adapter_config.json gives this module rank ${expected[at]} (r, rank_pattern): the config and the tensors are not of one training`,
      );
    }
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
