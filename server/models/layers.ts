/** The pieces that families share, with the hook points TransformerLens has inside them. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import { WorkbenchError } from "../errors.ts";
import type { Tensors } from "../tensors/engine.ts";
import { int32, type HostTensor } from "../tensors/hostTensor.ts";
import type { Frame, HookSpec, Seen, SiteSpec } from "./family.ts";

/** Residual-stream hooks, alike in every family with one attention and one MLP a block. */
export const blockHooks: readonly HookSpec[] = [
  { name: "hook_resid_pre", axes: ["batch", "pos", "dModel"] },
  { name: "ln1.hook_scale", axes: ["batch", "pos", "one"] },
  { name: "ln1.hook_normalized", axes: ["batch", "pos", "dModel"] },
  { name: "attn.hook_q", axes: ["batch", "pos", "head", "dHead"] },
  { name: "attn.hook_k", axes: ["batch", "pos", "kvHead", "dHead"] },
  { name: "attn.hook_v", axes: ["batch", "pos", "kvHead", "dHead"] },
  { name: "attn.hook_attn_scores", axes: ["batch", "head", "destPos", "srcPos"] },
  { name: "attn.hook_pattern", axes: ["batch", "head", "destPos", "srcPos"] },
  { name: "attn.hook_z", axes: ["batch", "pos", "head", "dHead"] },
  { name: "hook_attn_out", axes: ["batch", "pos", "dModel"] },
  { name: "hook_resid_mid", axes: ["batch", "pos", "dModel"] },
  { name: "ln2.hook_scale", axes: ["batch", "pos", "one"] },
  { name: "ln2.hook_normalized", axes: ["batch", "pos", "dModel"] },
  { name: "mlp.hook_pre", axes: ["batch", "pos", "dMlp"] },
  { name: "mlp.hook_post", axes: ["batch", "pos", "dMlp"] },
  { name: "hook_mlp_out", axes: ["batch", "pos", "dModel"] },
  { name: "hook_resid_post", axes: ["batch", "pos", "dModel"] },
];

export const unembedHooks: readonly HookSpec[] = [
  { name: "ln_final.hook_scale", axes: ["batch", "pos", "one"] },
  { name: "ln_final.hook_normalized", axes: ["batch", "pos", "dModel"] },
];

/** The output head as a site: `[dVocab, dModel]` without bias, beside the prefixed module. */
export const headSite = (dModel: number, dVocab: number): SiteSpec => ({
  name: "unembed",
  kind: "head",
  dIn: dModel,
  dOut: dVocab,
  weight: "W_U",
  bias: null,
  stored: "outIn",
  modulePath: "/lm_head",
});

/** 0, 1, 2, …: `[pos]` int32 */
export const positionIds = (positions: number): HostTensor =>
  int32(
    Int32Array.from({ length: positions }, (_, place) => place),
    [positions],
  );

/** A tensor that the plan, or an operation, promises to be there. @throws "internal" */
export function present(tensor: Tensor | undefined): Tensor {
  if (!tensor) throw new WorkbenchError("internal", "a segment reads a tensor that nobody gave");
  return tensor;
}

/** (x − mean) / √(var + ε) · w + b; hook_normalized is taken before w and b, as TransformerLens 4 does. */
export function layerNorm(frame: Frame, name: string, x: Tensor): Tensor {
  const centred = tf.sub(x, tf.mean(x, -1, true));
  const scale = frame.hook(`${name}.hook_scale`, tf.sqrt(tf.add(tf.mean(tf.square(centred), -1, true), frame.config.normEps)));
  const normalized = frame.hook(`${name}.hook_normalized`, tf.div(centred, scale));
  return tf.add(tf.mul(normalized, frame.vector(`${name}.w`, x.rank)), frame.vector(`${name}.b`, x.rank));
}

/** x / √(mean(x²) + ε) · w; hook_normalized is taken before w. */
export function rmsNorm(frame: Frame, name: string, x: Tensor): Tensor {
  const scale = frame.hook(`${name}.hook_scale`, rms(x, frame.config.normEps));
  return tf.mul(frame.hook(`${name}.hook_normalized`, tf.div(x, scale)), frame.vector(`${name}.w`, x.rank));
}

/** √(mean(x²) + ε) over the last axis, kept as 1. */
export function rms(x: Tensor, eps: number): Tensor {
  return tf.sqrt(tf.add(tf.mean(tf.square(x), -1, true), eps));
}

/** `[batch, pos, heads · dHead]` → `[batch, pos, heads, dHead]` */
export function splitHeads(frame: Frame, x: Tensor, heads: number): Tensor {
  return tf.reshape(x, [frame.batch, frame.positions, heads, frame.config.dHead]);
}

/**
 * Causal attention with its hooks: scores = q·k · scale (masked −∞), pattern = softmax, z = pattern · v.
 * @param q `[batch, pos, nHeads, dHead]` @param k `[batch, pos, nKvHeads, dHead]` @param v like k
 * @returns z, heads joined: `[batch, pos, nHeads · dHead]`
 */
export function attention(frame: Frame, q: Tensor, k: Tensor, v: Tensor): Tensor {
  const { config, batch } = frame;
  const { nHeads, nKvHeads, dHead } = config;
  const seen = frame.seen(k, v);
  const queries = frame.asked(q);
  const heads = (x: Tensor) => tf.transpose(x, [0, 2, 1, 3]); // → [batch, head, pos, dHead]
  const shared = (x: Tensor) => {
    if (nKvHeads === nHeads) return heads(x);
    const group = nHeads / nKvHeads;
    const grouped = tf.tile(tf.expandDims(heads(x), 2), [1, 1, group, 1, 1]);
    return tf.reshape(grouped, [batch, nHeads, sizeAt(x, 1), dHead]);
  };
  const raw = tf.mul(tf.matMul(heads(queries), shared(seen.k), false, true), frame.ofLayer("attnScale"));
  const scores = frame.hook("attn.hook_attn_scores", tf.add(raw, causalMask(seen, frame.ofLayer("slidingWindow"))));
  const pattern = frame.hook("attn.hook_pattern", tf.softmax(scores, -1));
  const z = frame.hook("attn.hook_z", tf.transpose(tf.matMul(pattern, shared(seen.v)), [0, 2, 1, 3]));
  return tf.reshape(z, [batch, sizeAt(queries, 1), nHeads * dHead]);
}

const sizeAt = (x: Tensor, axis: number): number => x.shape[axis] ?? 0;

/** 0 where a key may be seen, −∞ elsewhere: `[destPos, srcPos]`. */
function causalMask({ k, queries }: Seen, window: number | null): Tensor {
  const keys = tf.range(0, sizeAt(k, 1), 1, "float32");
  const distance = tf.sub(tf.expandDims(queries, 1), tf.expandDims(keys, 0)); // dest − src
  const causal = tf.greaterEqual(distance, 0);
  const visible = window === null ? causal : tf.logicalAnd(causal, tf.less(distance, window));
  const shape = [sizeAt(queries, 0), sizeAt(k, 1)];
  return tf.where(visible, tf.zeros(shape), tf.fill(shape, -Infinity));
}

/**
 * Rotates the pairs (i, i + dHead/2) of each head: x · cos + rotateHalf(x) · sin. `[batch, pos, heads, dHead]`
 * @param streams cos and sin, `[pos, dHead]`, or `[batch, pos, dHead]` where the angles of the rows differ
 */
export function rotate(frame: Frame, { cos, sin }: Tensors, x: Tensor): Tensor {
  const half = frame.config.dHead / 2;
  const [batch, positions, heads] = [x.shape[0], x.shape[1]!, x.shape[2]!];
  const first = tf.slice(x, [0, 0, 0, 0], [batch, positions, heads, half]);
  const second = tf.slice(x, [0, 0, 0, half], [batch, positions, heads, half]);
  const rotated = tf.concat([tf.neg(second), first], 3);
  const perPosition = (table: Tensor) => tf.reshape(table, [table.rank === 3 ? batch : 1, positions, 1, 2 * half]);
  return tf.add(tf.mul(x, perPosition(present(cos))), tf.mul(rotated, perPosition(present(sin))));
}

/** Attention scale 1/√dHead in every layer, optionally divided by layer + 1. */
export function attentionScales(nLayers: number, dHead: number, options: { scaled?: boolean; byInverseLayer?: boolean } = {}): number[] {
  const base = options.scaled === false ? 1 : 1 / Math.sqrt(dHead);
  return Array.from({ length: nLayers }, (_, layer) => (options.byInverseLayer ? base / (layer + 1) : base));
}
