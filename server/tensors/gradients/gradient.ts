/** What an entry of the gradient tables is. */
import * as tf from "@tensorflow/tfjs-core";
import type { GradConfig, Tensor } from "@tensorflow/tfjs-core";
import { at, named } from "../../at.ts";

type Operands = Record<string, () => Tensor>;

/** `attributes` are what tfjs hands the kernel: each rule says which of tfjs's types that is. */
export interface Gradient extends Omit<GradConfig, "kernelName" | "gradFunc"> {
  readonly gradFunc: (dy: Tensor | Tensor[], saved: Tensor[], attributes: never) => Operands;
}
export type Gradients = Readonly<Record<string, Gradient>>;

/**
 * `keeps(["a"], ["y"])((dy, { a, y }, attributes: tf.XAttrs) => ({ a: () => … }))`: a rule and what it reads of the way forward.
 * @param operands kept, by tfjs's names @param results kept, by names of our own; null for one that is not
 */
export function keeps<Operand extends string = never, Result extends string = never>(operands: readonly Operand[], results: readonly (Result | null)[] = []) {
  const names = [...operands, ...results.filter((name) => name !== null)];
  return (rule: (dy: Tensor, kept: Readonly<Record<Operand | Result, Tensor>>, attributes: never) => Operands): Gradient => ({
    inputsToSave: [...operands],
    outputsToSave: results.map((name) => name !== null),
    gradFunc: (dy, saved, attributes: never) =>
      rule(single(dy), named("a derivative", Object.fromEntries(names.map((name, i) => [name, at(saved, i)])), names), attributes),
  });
}

/** Sums `dy` over the axes along which an operand of `shape` was broadcast. */
export function sumToShape(dy: Tensor, shape: readonly number[]): Tensor {
  const axes = tf.broadcast_util.getReductionAxes([...shape], dy.shape);
  return tf.reshape(axes.length > 0 ? tf.sum(dy, axes) : dy, [...shape]);
}

/** tfjs hands over one dy, or a list when the kernel had several results. */
export function several(dy: Tensor | Tensor[]): Tensor[] {
  return Array.isArray(dy) ? dy : [dy];
}
export function single(dy: Tensor | Tensor[]): Tensor {
  return Array.isArray(dy) ? at(dy, 0) : dy;
}

export function floatZeros(like: Tensor): Tensor {
  return tf.zeros(like.shape, "float32");
}
