/**
 * The derivative of every operation a program may use; importing this file registers them with tfjs's tape.
 *
 * Why not tfjs's own table: its files resolve only inside a bundler, and some entries are wrong or narrow
 * (a matMul whose batch is broadcast, cumsum along an inner axis, prod along two axes, tile above rank 4).
 * Each entry is dx = f(dy), the product of dy with the Jacobian, in tfjs operations, so it can be traced like anything else.
 */
import * as tf from "@tensorflow/tfjs-core";
import { matMulGradients } from "./gradients/matMul.ts";
import { elementwiseGradients } from "./gradients/elementwise.ts";
import { reduceGradients } from "./gradients/reduce.ts";
import { shapeGradients } from "./gradients/shape.ts";
import { indexingGradients } from "./gradients/indexing.ts";

const table = Object.entries({ ...elementwiseGradients, ...matMulGradients, ...reduceGradients, ...shapeGradients, ...indexingGradients }).map(
  ([kernelName, gradient]): tf.GradConfig => ({
    ...gradient,
    kernelName,
    gradFunc: (dy, saved, attributes) => gradient.gradFunc(dy, saved, attributes as never),
  }),
);

/** Again, too, after anything that loads the package @tensorflow/tfjs: that registers its own table over this one. */
export function registerGradients(): void {
  table.forEach(tf.registerGradient);
}

registerGradients();
