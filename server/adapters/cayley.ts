/**
 * Skew-symmetric matrices from their upper triangles, and the Cayley map G = (I − K)(I + K)⁻¹ of one, in tfjs operations and on the host.
 *
 * In a program nothing can be inverted, and a Newton series for (I + K)⁻¹ loses κ² digits (κ the largest |eigenvalue| of K). Instead:
 * 1. I − K is normal with eigenvalues 1 ∓ iκ, so its orthogonal polar factor Q has (1 ∓ iκ)/√(1 + κ²), and Q² has (1 ∓ iκ)/(1 ± iκ): G = Q².
 * 2. Q is the limit of X ← ½ X (3 − XᵀX), which ends at an orthogonal matrix whatever rounding did before.
 * 3. The singular values of X₀ = (I − K)/√(1 + b²), b ≥ κ, lie in [1/√(1 + b²), 1]. Each step first stretches that interval, known as numbers,
 *    to where the cubic lifts its lower end most (about 2.6 times); `steps` of them lift any end above 1e-5 to 1 within 1e-7.
 * 4. The derivative needs no inverse either: (I + K)⁻¹ = ½ (I + G), so K̄ = −½ (I + G)ᵀ Ḡ (I + G)ᵀ.
 * @see Higham, "Functions of Matrices", 8.6 (Newton–Schulz for the polar factor); Chen & Chow 2014, "A stable scaling of Newton–Schulz"
 */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import { solve } from "../linalg/solve.ts";

const steps = 17;

/** I `[n, n]`, made of ranges, so that a program does not hold it as numbers. */
export function identity(n: number): Tensor {
  return tf.cast(tf.equal(columnIndex(n), rowIndex(n)), "float32");
}

const columnIndex = (n: number): Tensor => tf.reshape(tf.range(0, n, 1, "int32"), [n, 1]);
const rowIndex = (n: number): Tensor => tf.reshape(tf.range(0, n, 1, "int32"), [1, n]);

/** K `[n, n]` with K = −Kᵀ from its upper triangle `[n (n − 1)/2]`, row after row. */
export function skew(triangle: Tensor, n: number): Tensor {
  const [i, j] = [columnIndex(n), rowIndex(n)];
  const [low, high] = [tf.minimum(i, j), tf.maximum(i, j)];
  // Rows before `low` hold low·n − low (low + 1)/2 numbers; the diagonal's place is any, for its sign is 0.
  const before = tf.sub(tf.mul(low, n), tf.floorDiv(tf.mul(low, tf.add(low, 1)), 2));
  const place = tf.maximum(tf.sub(tf.add(before, tf.sub(high, low)), 1), 0);
  const sign = tf.sign(tf.cast(tf.sub(j, i), "float32"));
  return tf.mul(sign, tf.reshape(tf.gather(triangle, tf.cast(tf.reshape(place, [n * n]), "int32")), [n, n]));
}

/** G `[n, n]` of a skew-symmetric K `[n, n]`; differentiable in K. */
export function cayley(skewSymmetric: Tensor): Tensor {
  const n = skewSymmetric.shape[0];
  const op = tf.customGrad((given, save) => {
    const g = squaredPolar(given as Tensor, n);
    (save as tf.GradSaveFunc)([g]);
    return {
      value: g,
      gradFunc: (dy: Tensor, saved: Tensor[]) => {
        const sum = tf.add(saved[0]!, identity(n));
        return tf.mul(tf.matMul(tf.matMul(sum, dy, true), sum, false, true), -0.5);
      },
    };
  });
  return op(skewSymmetric);
}

function squaredPolar(k: Tensor, n: number): Tensor {
  // Eigenvalues come in pairs ±iκ, so ‖K‖_F² ≥ 2κ²; and κ is at most the largest sum of a row.
  const bound = tf.minimum(tf.sqrt(tf.mul(tf.sum(tf.square(k)), 0.5)), tf.max(tf.sum(tf.abs(k), 1)));
  const top = tf.sqrt(tf.add(tf.square(bound), 1));
  let x: Tensor = tf.div(tf.sub(identity(n), k), top);
  let low: Tensor = tf.div(1, top);
  for (let step = 0; step < steps; step++) {
    const stretch: Tensor = tf.sqrt(tf.div(3, tf.add(tf.add(tf.square(low), low), 1)));
    x = lifted(tf.mul(x, stretch));
    const reached: Tensor = tf.mul(low, stretch);
    low = tf.minimum(tf.mul(tf.mul(reached, tf.sub(3, tf.square(reached))), 0.5), 1);
  }
  return lifted(tf.matMul(x, x));
}

/** ½ X (3 − XᵀX) */
function lifted(x: Tensor): Tensor {
  return tf.sub(tf.mul(x, 1.5), tf.mul(tf.matMul(x, tf.matMul(x, x, true)), 0.5));
}

/** The same K on the host, `[n, n]` row-major. */
export function skewOf(triangle: Float32Array, n: number): Float64Array {
  const k = new Float64Array(n * n);
  for (let i = 0, at = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++, at++) {
      k[i * n + j] = triangle[at]!;
      k[j * n + i] = -triangle[at]!;
    }
  }
  return k;
}

/** G − I = −2 (I + K)⁻¹ K in float64, `[n, n]` row-major: the small difference itself, not two numbers near 1. */
export function cayleyDifference(k: Float64Array, n: number): Float64Array {
  const sum = k.map((value, at) => value + (at % (n + 1) === 0 ? 1 : 0));
  return solve(
    sum,
    k.map((value) => -2 * value),
    n,
  );
}
