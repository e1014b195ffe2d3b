/** Derivatives of matrix products. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import { type Gradients, single, sumToShape } from "./gradient.ts";

function batchSize(x: Tensor): number {
  return x.shape.slice(0, -2).reduce((product, dim) => product * dim, 1);
}

function rows(x: Tensor): Tensor {
  return tf.reshape(x, [-1, x.shape[x.rank - 1]!]);
}

export const matMulGradients: Gradients = {
  // C = op(A) op(B), so op(A)' = dC op(B)ᵀ and op(B)' = op(A)ᵀ dC; a transposed operand takes the transpose.
  BatchMatMul: {
    inputsToSave: ["a", "b"],
    gradFunc: (dyOrList, [a, b], attrs) => {
      const dy = single(dyOrList);
      const { transposeA, transposeB } = attrs as unknown as { transposeA: boolean; transposeB: boolean };
      return {
        a: () => sumToShape(transposeA ? tf.matMul(b!, dy, transposeB, true) : tf.matMul(dy, b!, false, !transposeB), a!.shape),
        b: () => {
          // A linear layer: one weight for all rows. One product over all rows, instead of one per batch entry and a sum.
          if (batchSize(b!) === 1 && batchSize(a!) > 1 && !transposeA) {
            const product = transposeB ? tf.matMul(rows(dy), rows(a!), true, false) : tf.matMul(rows(a!), rows(dy), true, false);
            return tf.reshape(product, b!.shape);
          }
          return sumToShape(transposeB ? tf.matMul(dy, a!, true, transposeA) : tf.matMul(a!, dy, !transposeA, false), b!.shape);
        },
      };
    },
  },
  // Exchange the operand's subscripts with the result's. Needs each of its subscripts to appear elsewhere.
  Einsum: {
    saveAllInputs: true,
    gradFunc: (dy, saved, attrs) => {
      const { equation } = attrs as unknown as { equation: string };
      const [left, output] = equation.replaceAll(" ", "").split("->") as [string, string];
      const terms = left.split(",");
      return Object.fromEntries(
        saved.map((operand, i) => [
          i,
          () => {
            const others = saved.filter((_, j) => j !== i);
            const otherTerms = terms.filter((_, j) => j !== i);
            const known = new Set([output, ...otherTerms].join(""));
            const term = [...terms[i]!];
            const reduced = term.filter((subscript) => known.has(subscript)).join("");
            const part = tf.einsum(`${[output, ...otherTerms].join(",")}->${reduced}`, single(dy), ...others);
            const shape = term.map((subscript, axis) => (known.has(subscript) ? operand.shape[axis]! : 1));
            return tf.broadcastTo(tf.reshape(part, shape), operand.shape);
          },
        ]),
      );
    },
  },
};
