/** Gates of structure-learnable adapters: from a free number to a share in [0, 1], and what they add to the loss; in tfjs and on the host. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";

export const regularisers = ["mean", "sum", "entropy", "hardConcrete"] as const;
export type Regulariser = (typeof regularisers)[number];

/** A free number at or below which the gate is exactly 0, with a gradient of exactly 0: it stays closed. */
export const closed = -200;

/** σ(α), exactly 0 for closed gates: engines clip the argument of their sigmoid, and would leave 1e-8. */
function openShare(alpha: Tensor): Tensor {
  return tf.mul(tf.sigmoid(alpha), tf.cast(tf.greater(alpha, closed), "float32"));
}

/** The interval that a hard-concrete gate is stretched to before it is clipped, and its temperature. @see Louizos et al. 2018, section 4 */
const stretch = { low: -0.1, high: 1.1, temperature: 2 / 3 };
/** log P(gate ≠ 0) odds are α minus this. */
const zeroOdds = stretch.temperature * Math.log(-stretch.low / stretch.high);

/** σ(α); for hard-concrete gates their noise-free value clip(σ(α)·1.2 − 0.1). */
export function gateOf(alpha: Tensor, regulariser: Regulariser): Tensor {
  const share = openShare(alpha);
  return regulariser === "hardConcrete" ? tf.clipByValue(tf.add(tf.mul(share, stretch.high - stretch.low), stretch.low), 0, 1) : share;
}

/** The same, `[n]` → `[n]` */
export function gateValues(alpha: Float32Array, regulariser: Regulariser): Float32Array {
  return alpha.map((value) => {
    const share = value > closed ? 1 / (1 + Math.exp(-value)) : 0;
    return regulariser === "hardConcrete" ? Math.min(1, Math.max(0, share * (stretch.high - stretch.low) + stretch.low)) : share;
  });
}

/**
 * R of all gates: mean or sum of σ(α), Σ σ(1 − σ), or Σ P(gate ≠ 0) = Σ σ(α − τ log(−γ/ζ)).
 * @param alphas one `[tasks]` a site
 * @see Louizos, Welling & Kingma 2018, arXiv 1712.01312, equation 12, for the last
 */
export function gatePenalty(alphas: readonly Tensor[], regulariser: Regulariser): Tensor {
  const all = tf.concat(
    alphas.map((alpha) => tf.reshape(alpha, [-1])),
    0,
  );
  switch (regulariser) {
    case "mean":
      return tf.mean(openShare(all));
    case "sum":
      return tf.sum(openShare(all));
    case "entropy": {
      const share = openShare(all);
      return tf.sum(tf.mul(share, tf.sub(1, share)));
    }
    case "hardConcrete":
      return tf.sum(tf.sigmoid(tf.sub(all, zeroOdds)));
    default:
      return regulariser satisfies never;
  }
}

/** Softmax of one row of β. `[modules]` */
export function mixValues(beta: Float32Array): Float32Array {
  const top = beta.reduce((most, value) => Math.max(most, value), -Infinity);
  const weights = beta.map((value) => Math.exp(value - top));
  const total = weights.reduce((sum, value) => sum + value, 0);
  return weights.map((value) => value / total);
}
