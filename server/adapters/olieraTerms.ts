/** OLieRA's arithmetic: the factor exp(Δ), exact or as a Taylor sum, and the term that keeps tasks apart; in tfjs and on the host. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import { productRows, type FactoredMatrix } from "../linalg/factored.ts";
import { asOutIn, identity } from "../linalg/matrices.ts";
import { at } from "../at.ts";

export const orders = ["exact", "first", "second", "third"] as const;
export type Order = (typeof orders)[number];

export const orthogonalities = ["none", "faithful", "centred", "lie", "l1"] as const;
export type Orthogonality = (typeof orthogonalities)[number];

/** exp(δ) − 1, or δ + δ²/2 + … up to the order, entry by entry: what multiplies W to give ΔW. */
export function relativeChange(exponent: Tensor, order: Order): Tensor {
  switch (order) {
    case "exact":
      return tf.expm1(exponent);
    case "first":
      return exponent;
    case "second":
      return tf.mul(exponent, tf.add(tf.mul(exponent, 1 / 2), 1));
    case "third":
      return tf.mul(exponent, tf.add(tf.mul(exponent, tf.add(tf.mul(exponent, 1 / 6), 1 / 2)), 1));
    default:
      return order satisfies never;
  }
}

/** The same of one number. */
export function relativeChangeOf(exponent: number, order: Order): number {
  switch (order) {
    case "exact":
      return Math.expm1(exponent);
    case "first":
      return exponent;
    case "second":
      return exponent * (1 + exponent / 2);
    case "third":
      return exponent * (1 + exponent * (1 / 2 + exponent / 6));
    default:
      return order satisfies never;
  }
}

/**
 * ΔW = W ⊙ (exp(Δ) − 1), `[dOut, dIn]`.
 * @param exponent Δ in factors
 * @param base W, `[dOut, dIn]` or its transpose as `stored` says
 */
export function multiplicativeDelta(exponent: FactoredMatrix, base: Float32Array, stored: "outIn" | "inOut", order: Order): Float32Array {
  const { dOut, dIn } = exponent;
  const w = asOutIn(base, stored, dOut, dIn);
  const delta = new Float32Array(dOut * dIn);
  for (const [o, row] of productRows(exponent)) {
    delta.set(
      row.map((value, i) => at(w, o * dIn + i) * relativeChangeOf(value, order)),
      o * dIn,
    );
  }
  return delta;
}

/** A dense ΔW as a product with the identity on its smaller side, so that its rank is min(dOut, dIn). */
export function asFactors(delta: Float32Array, dOut: number, dIn: number): FactoredMatrix {
  const rank = Math.min(dOut, dIn);
  const eye = Float32Array.from(identity(rank));
  return { left: dIn <= dOut ? delta : eye, right: dIn <= dOut ? eye : delta, dOut, dIn, rank, scale: 1 };
}

/** Smallest factor exp(Δ) of all entries; at or below 0 the update has left the group of matrices without zeros. */
export function smallestFactor(exponent: FactoredMatrix, order: Order): number {
  let least = Infinity;
  for (const [, row] of productRows(exponent)) for (const value of row) least = Math.min(least, 1 + relativeChangeOf(value, order));
  return least;
}

/** s·B·A `[dOut, dIn]`, or its transpose for weights that are stored so. */
export function exponentTensor(a: tf.Tensor, b: tf.Tensor, scale: number, stored: "outIn" | "inOut"): tf.Tensor {
  const scaled = tf.mul(b, scale);
  return stored === "outIn" ? tf.matMul(scaled, a) : tf.matMul(a, scaled, true, true);
}

export interface MultiplicativeTensors extends Pick<FactoredMatrix, "scale"> {
  readonly x: Tensor;
  readonly weight: Tensor;
  readonly stored: "outIn" | "inOut";
  readonly a: Tensor;
  readonly b: Tensor;
  readonly order: Order;
}

/**
 * x (W ⊙ (exp(Δ) − 1))ᵀ with Δ = scale · B·A. To first order also Σ_k b_k ⊙ W(a_k ⊙ x), which needs no `[dOut, dIn]` matrix:
 * rank · rows instead of rank + rows products of the weight's size, so it is taken where that is less.
 * @param x `[rows, dIn]` @param weight W as `stored` says @param a `[rank, dIn]` @param b `[dOut, rank]`
 */
export function multiplicativeProduct({ x, weight, stored, a, b, scale, order }: MultiplicativeTensors): Tensor {
  const dIn = x.shape.at(-1) ?? 1;
  const [rank, rows] = [a.size / dIn, x.size / dIn];
  if (order === "first" && rank * rows < rank + rows) {
    const terms = Array.from({ length: rank }, (_, k) => {
      const inputs = tf.mul(x, tf.slice(a, [k, 0], [1, -1]));
      const column = tf.reshape(tf.slice(b, [0, k], [-1, 1]), [1, -1]);
      return tf.mul(tf.matMul(inputs, weight, false, stored === "outIn"), tf.mul(column, scale));
    });
    return tf.addN(terms);
  }
  const change = tf.mul(weight, relativeChange(exponentTensor(a, b, scale, stored), order));
  return tf.matMul(x, change, false, stored === "outIn");
}

/** Inside the root of the centred norm, whose slope at 0 would be infinite. */
const rootFloor = 1e-12;

/**
 * How much two tasks' updates at one site overlap, a scalar.
 * - faithful: ‖exp(Δ_i) exp(Δ)ᵀ‖_F, as the paper has it: never 0, as all entries are positive; dOut · dIn where both Δ are 0
 * - centred: ‖(exp(Δ_i) − 1)(exp(Δ) − 1)ᵀ‖_F
 * - lie: ‖A_i Aᵀ‖_F², as O-LoRA's paper has it
 * - l1: Σ |A_i Aᵀ|, as O-LoRA's code has it (cmnfriend/O-LoRA, src/uie_trainer_lora.py)
 *
 * @param earlier A_i `[r_i, dIn]` and the exponent Δ_i `[dOut, dIn]`; @param current the same of the task in training
 */
export function overlap(form: Exclude<Orthogonality, "none">, order: Order, earlier: TaskTensors, current: TaskTensors): Tensor {
  switch (form) {
    case "lie":
      return tf.sum(tf.square(tf.matMul(earlier.a, current.a, false, true)));
    case "l1":
      return tf.sum(tf.abs(tf.matMul(earlier.a, current.a, false, true)));
    case "centred":
      return tf.sqrt(tf.add(productEnergy(relativeChange(earlier.exponent(), order), relativeChange(current.exponent(), order)), rootFloor));
    case "faithful":
      return tf.sqrt(productEnergy(tf.add(relativeChange(earlier.exponent(), order), 1), tf.add(relativeChange(current.exponent(), order), 1)));
    default:
      return form satisfies never;
  }
}

export interface TaskTensors {
  readonly a: Tensor;
  exponent(): Tensor;
}

/** ‖X Yᵀ‖_F² of X, Y `[m, n]`; as ⟨XᵀX, YᵀY⟩ where that is the smaller product. */
function productEnergy(x: Tensor, y: Tensor): Tensor {
  const [m, n] = [x.shape[0], at(x.shape, 1)];
  return m <= 2 * n ? tf.sum(tf.square(tf.matMul(x, y, false, true))) : tf.sum(tf.mul(tf.matMul(x, x, true), tf.matMul(y, y, true)));
}
