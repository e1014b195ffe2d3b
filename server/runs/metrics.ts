/** What a patched run is measured by, at the answer position; in float64, from float32 logits. */
import { at } from "../at.ts";

/** log Σ exp(logits), stable. */
export function logSumExp(logits: Float32Array): number {
  let max = -Infinity;
  for (const value of logits) if (value > max) max = value;
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - max);
  return max + Math.log(sum);
}

/** logit(answer) − logit(counter-answer). */
export function logitDiff(logits: Float32Array, answer: number, counterAnswer: number): number {
  return at(logits, answer) - at(logits, counterAnswer);
}

/** log p(answer), nats, ≤ 0. */
export function logProb(logits: Float32Array, answer: number): number {
  return at(logits, answer) - logSumExp(logits);
}

/** KL(p ‖ q) = Σ p (log p − log q), nats, ≥ 0; both given as logits `[dVocab]`. */
export function klDivergence(p: Float32Array, q: Float32Array): number {
  const logZp = logSumExp(p);
  const logZq = logSumExp(q);
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    const logP = p[i]! - logZp;
    const weight = Math.exp(logP);
    if (weight > 0) sum += weight * (logP - (q[i]! - logZq));
  }
  return Math.max(0, sum);
}

/**
 * (patched − into) / (from − into): 0 = nothing carried over, 1 = the source's behaviour restored.
 * NaN when both runs agree to within 1e-6, where a ratio means nothing.
 */
export function normalized(patched: number, into: number, from: number): number {
  return Math.abs(from - into) < 1e-6 ? NaN : (patched - into) / (from - into);
}
