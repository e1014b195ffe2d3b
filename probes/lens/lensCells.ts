/** One cell of the lens: what the model would say from one layer's residual, or what the adapters change of it. */
import { logSumExp } from "../../server/runs/metrics.ts";

export interface LensCell {
  /** Its colour: the probability of the top token, or the KL of adapted from base in nats. */
  readonly value: number;
  /** The k tokens that have most of it, and how much. */
  readonly ids: readonly number[];
  readonly values: readonly number[];
}

/** The likeliest tokens. @param logits `[dVocab]` */
export function predictionCell(logits: Float32Array, k: number): LensCell {
  const logZ = logSumExp(logits);
  const ids = topIndices(logits, k);
  const values = ids.map((id) => Math.exp((logits[id] ?? NaN) - logZ));
  return { value: values[0] ?? NaN, ids, values };
}

/** KL(adapted ‖ base) = Σ p log(p / q), and the tokens with the largest terms, those that gain most. */
export function changeCell(base: Float32Array, adapted: Float32Array, k: number): LensCell {
  const [logZBase, logZAdapted] = [logSumExp(base), logSumExp(adapted)];
  const terms = new Float32Array(adapted.length);
  let kl = 0;
  for (let i = 0; i < adapted.length; i++) {
    const logP = adapted[i]! - logZAdapted;
    terms[i] = Math.exp(logP) * (logP - (base[i]! - logZBase));
    kl += terms[i]!;
  }
  const ids = topIndices(terms, k);
  return { value: Math.max(0, kl), ids, values: ids.map((id) => terms[id] ?? NaN) };
}

/** Indices of the k largest values, largest first. */
function topIndices(values: Float32Array, k: number): number[] {
  const best: number[] = [];
  for (let i = 0; i < values.length; i++) {
    if (best.length === k && values[i]! <= values[best[k - 1]!]!) continue;
    let at = best.length;
    while (at > 0 && values[best[at - 1]!]! < values[i]!) at--;
    best.splice(at, 0, i);
    if (best.length > k) best.pop();
  }
  return best;
}
