/** Cross entropy from hidden states to a vocabulary, without ever holding the logits of all rows. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";

/** Logits of this many numbers at once, 104 MB: every chunk packs the whole unembedding anew for its products, so they are not small. */
const defaultChunk = 26_000_000;

export interface EntropyContext {
  /** Hidden states that predict, `[n, d]`. */
  readonly hidden: Tensor;
  /** Unembedding `[vocabulary, d]`. */
  readonly table: Tensor;
  /** `[n]` int32 */
  readonly targets: Tensor;
  /** Weight of each row in the loss, `[n]`. */
  readonly scale: Tensor;
  /** Share of the target spread evenly over the vocabulary. */
  readonly smoothing: number;
}

/**
 * Σ_i scale_i · (lse(logits_i) − (1 − ε) logits_i[target_i] − ε mean(logits_i)), a scalar; differentiable in `hidden` only.
 *
 * Row by row the gradient is scale_i · (softmax_i · W − (1 − ε) W[target_i] − ε mean(W)): products with W, no one-hot.
 * @param chunkNumbers most numbers of logits at once
 */
export function frozenCrossEntropy(context: EntropyContext, chunkNumbers: number = defaultChunk): Tensor {
  const { table, targets, scale, smoothing } = context;
  const [rows, d] = [context.hidden.shape[0], context.hidden.shape[1]!];
  const op = tf.customGrad((given, save) => {
    const hidden = given as Tensor;
    const mean = smoothing > 0 ? tf.mean(table, 0, true) : null;
    const losses: Tensor[] = [];
    const gradients: Tensor[] = [];
    for (const [from, size] of chunks(rows, table.shape[0], chunkNumbers)) {
      const h: Tensor = tf.slice(hidden, [from, 0], [size, d]);
      const weight = tf.slice(scale, [from], [size]);
      const { probabilities, lse } = softmaxRows(tf.matMul(h, table, false, true));
      let goal: Tensor = tf.gather(table, tf.slice(targets, [from], [size]));
      if (mean) goal = tf.add(tf.mul(goal, 1 - smoothing), tf.mul(mean, smoothing));
      losses.push(tf.sum(tf.mul(weight, tf.sub(lse, tf.sum(tf.mul(h, goal), 1)))));
      gradients.push(tf.mul(tf.sub(tf.matMul(probabilities, table), goal), tf.expandDims(weight, 1)));
    }
    (save as tf.GradSaveFunc)([gradients.length === 1 ? gradients[0]! : tf.concat(gradients, 0)]);
    return { value: tf.addN(losses), gradFunc: (dy: Tensor, saved: Tensor[]) => tf.mul(saved[0]!, dy) };
  });
  return op(context.hidden);
}

/** The same sum, differentiable in `hidden` and `table`. */
export function crossEntropy({ hidden, table, targets, scale, smoothing }: EntropyContext): Tensor {
  return logitsCrossEntropy(tf.matMul(hidden, table, false, true), targets, scale, smoothing);
}

/** The same sum from logits `[n, classes]`. */
export function logitsCrossEntropy(logits: Tensor, targets: Tensor, scale: Tensor, smoothing: number): Tensor {
  const n = logits.shape[0];
  const logProbs = tf.logSoftmax(logits);
  const chosen = tf.reshape(tf.gather(logProbs, tf.reshape(targets, [n, 1]), 1, 1), [n]);
  const goal = smoothing > 0 ? tf.add(tf.mul(chosen, 1 - smoothing), tf.mul(tf.mean(logProbs, 1), smoothing)) : chosen;
  return tf.neg(tf.sum(tf.mul(goal, scale)));
}

/** Of each row: −log p(target), and whether the target is the likeliest. `[n]` each */
export function targetScores({ hidden, table, targets }: Pick<EntropyContext, "hidden" | "table" | "targets">): { nll: Tensor; correct: Tensor } {
  const [rows, d] = [hidden.shape[0], hidden.shape[1]!];
  const parts = chunks(rows, table.shape[0], defaultChunk).map(([from, size]) => {
    const logits = tf.matMul(tf.slice(hidden, [from, 0], [size, d]), table, false, true);
    return logitScores(logits, tf.slice(targets, [from], [size]));
  });
  return {
    nll: tf.concat(
      parts.map(({ nll }) => nll),
      0,
    ),
    correct: tf.concat(
      parts.map(({ correct }) => correct),
      0,
    ),
  };
}

/** As `targetScores`, from logits `[n, classes]`. */
export function logitScores(logits: Tensor, targets: Tensor): { nll: Tensor; correct: Tensor } {
  const n = logits.shape[0];
  const chosen = tf.reshape(tf.gather(tf.logSoftmax(logits), tf.reshape(targets, [n, 1]), 1, 1), [n]);
  return { nll: tf.neg(chosen), correct: tf.cast(tf.equal(tf.argMax(logits, 1), targets), "float32") };
}

/** softmax of each row, and log Σ exp: with the largest logit m and probability p, lse = m − log p. */
function softmaxRows(logits: Tensor): { probabilities: Tensor; lse: Tensor } {
  const probabilities: Tensor = tf.softmax(logits);
  return { probabilities, lse: tf.sub(tf.max(logits, 1), tf.log(tf.max(probabilities, 1))) };
}

/** [start, size] of runs of rows whose logits fit into a chunk. */
function chunks(rows: number, vocabulary: number, chunkNumbers: number): [from: number, size: number][] {
  const most = Math.max(1, Math.floor(chunkNumbers / vocabulary));
  const size = Math.ceil(rows / Math.ceil(rows / most));
  return Array.from({ length: Math.ceil(rows / size) }, (_, i) => [i * size, Math.min(size, rows - i * size)]);
}
