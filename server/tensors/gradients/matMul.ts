/** Derivatives of matrix products. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import { at } from "../../at.ts";
import { type Gradients, keeps, single, sumToShape } from "./gradient.ts";

function batchSize(x: Tensor): number {
  return x.shape.slice(0, -2).reduce((product, dim) => product * dim, 1);
}

function rows(x: Tensor): Tensor {
  return tf.reshape(x, [-1, at(x.shape, -1)]);
}

export const matMulGradients: Gradients = {
  // C = op(A) op(B), so op(A)' = dC op(B)ᵀ and op(B)' = op(A)ᵀ dC; a transposed operand takes the transpose.
  BatchMatMul: keeps(["a", "b"])((dy, { a, b }, { transposeA, transposeB }: tf.BatchMatMulAttrs) => ({
    a: () => sumToShape(transposeA ? tf.matMul(b, dy, transposeB, true) : tf.matMul(dy, b, false, !transposeB), a.shape),
    b: () => {
      // A linear layer: one weight for all rows. One product over all rows, instead of one per batch entry and a sum.
      if (batchSize(b) === 1 && batchSize(a) > 1 && !transposeA) {
        const product = transposeB ? tf.matMul(rows(dy), rows(a), true, false) : tf.matMul(rows(a), rows(dy), true, false);
        return tf.reshape(product, b.shape);
      }
      return sumToShape(transposeB ? tf.matMul(dy, a, true, transposeA) : tf.matMul(a, dy, !transposeA, false), b.shape);
    },
  })),
  // Exchange the operand's subscripts with the result's. Needs each of its subscripts to appear elsewhere.
  Einsum: {
    saveAllInputs: true,
    gradFunc: (dy, saved, { equation }: tf.EinsumAttrs) => {
      const [left = "", output = ""] = equation.replaceAll(" ", "").split("->");
      const terms = left.split(",");
      return Object.fromEntries(
        saved.map((operand, i) => [
          i,
          () => {
            const others = saved.filter((_, j) => j !== i);
            const otherTerms = terms.filter((_, j) => j !== i);
            const known = new Set([output, ...otherTerms].join(""));
            const term = [...at(terms, i)];
            const reduced = term.filter((subscript) => known.has(subscript)).join("");
            const part = tf.einsum(`${[output, ...otherTerms].join(",")}->${reduced}`, single(dy), ...others);
            const shape = term.map((subscript, axis) => (known.has(subscript) ? at(operand.shape, axis) : 1));
            return tf.broadcastTo(tf.reshape(part, shape), operand.shape);
          },
        ]),
      );
    },
  },
};
