/** Activation functions with gradients of their own: fewer passes over memory, and less kept for the way back, than the tape's. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";

/**
 * x σ(a x + b x³) and its derivative σ + y (1 − σ)(a + 3 b x²), y the value; kept for the way back: x and σ.
 * SiLU is (1, 0). GELU's tanh form is ½x (1 + tanh u) = x σ(2u) with u = √(2/π)(x + 0.044715 x³).
 */
function gatedBySigmoid(x: Tensor, a: number, b: number): Tensor {
  const op = tf.customGrad((given, save) => {
    const input = given as Tensor;
    const inner = b === 0 ? scaled(input, a) : tf.mul(input, tf.add(tf.mul(tf.square(input), b), a));
    const gate = tf.sigmoid(inner);
    (save as tf.GradSaveFunc)([input, gate]);
    return {
      value: tf.mul(input, gate),
      gradFunc: (dy: Tensor, saved: Tensor[]) => {
        const [kept, sigma] = saved as [Tensor, Tensor];
        const rest = tf.mul(tf.mul(kept, sigma), tf.sub(1, sigma));
        const slope = b === 0 ? scaled(rest, a) : tf.mul(rest, tf.add(tf.mul(tf.square(kept), 3 * b), a));
        return tf.mul(dy, tf.add(sigma, slope));
      },
    };
  });
  return op(x);
}

const scaled = (x: Tensor, factor: number): Tensor => (factor === 1 ? x : tf.mul(x, factor));

const geluSlope = 2 * Math.sqrt(2 / Math.PI);

/** ½x (1 + tanh(√(2/π)(x + 0.044715 x³))) */
export const geluTanh = (x: Tensor): Tensor => gatedBySigmoid(x, geluSlope, 0.044715 * geluSlope);

/** x σ(x) */
export const silu = (x: Tensor): Tensor => gatedBySigmoid(x, 1, 0);
