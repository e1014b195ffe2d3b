/** The leading singular directions of a large dense weight, by randomised subspace iteration on an engine. */
import * as tf from "@tensorflow/tfjs-core";
import type { Engine, Weight } from "./engine.ts";
import { float32 } from "./hostTensor.ts";
import { symmetricEigen } from "./jacobi.ts";

export interface LeadingDirections {
  /** Estimates from below; the last ones of a flat spectrum are the least exact. */
  readonly values: Float64Array;
  /** `[k, dOut]`, rows orthonormal */
  readonly left: Float32Array;
  /** `[k, dIn]`, rows orthonormal */
  readonly right: Float32Array;
}

const oversampling = 8;
const iterations = 6;

/**
 * Q ← orth(WᵀW Q) a few times, then the small problem (W Q)ᵀ(W Q).
 * @param weight `[dOut, dIn]`, or transposed when `stored` is "inOut"
 * @param k how many directions; at most min(dOut, dIn)
 * @see Halko, Martinsson & Tropp 2011, "Finding structure with randomness", algorithm 4.4
 */
export async function leadingDirections(engine: Engine, weight: Weight, stored: "outIn" | "inOut", k: number, random: () => number): Promise<LeadingDirections> {
  const [rows, cols] = [weight.shape[0]!, weight.shape[1]!];
  const [dOut, dIn] = stored === "outIn" ? [rows, cols] : [cols, rows];
  const width = Math.min(k + oversampling, dOut, dIn);
  const program = await engine.compile(
    `subspace ${stored}`,
    (inputs, weights) => {
      const image = tf.matMul(weights["w"]!, inputs["q"]!, stored === "inOut", false);
      return { image, back: tf.matMul(weights["w"]!, image, stored === "outIn", false) };
    },
    { inputs: { q: { shape: [dIn, width], dtype: "float32" } }, weights: { w: weight.shape } },
  );
  let q = orthonormal(Float32Array.from({ length: dIn * width }, () => random() - 0.5), dIn, width);
  let image: Float32Array = new Float32Array(0);
  for (let step = 0; step <= iterations; step++) {
    const out = await program.run({ q: float32(q, [dIn, width]) }, { w: weight });
    image = Float32Array.from(out["image"]!.data);
    if (step < iterations) q = orthonormal(Float32Array.from(out["back"]!.data), dIn, width);
  }
  const { values, vectors } = symmetricEigen(gram(image, dOut, width), width);
  const count = Math.min(k, width);
  const sizes = values.slice(0, count).map((value) => Math.sqrt(Math.max(0, value)));
  return { values: sizes, left: combine(image, dOut, width, vectors, count, (j) => (sizes[j]! > 0 ? 1 / sizes[j]! : 0)), right: combine(q, dIn, width, vectors, count, () => 1) };
}

/**
 * Share of ‖M‖² (rows weighted by σ²) that lies in the span of given orthonormal directions; a random direction has k / d.
 * @param vectors `[r, d]`, unit rows @param sigma `[r]` @param basis `[k, d]`, orthonormal rows
 * @returns between 0 and 1
 */
export function sharedEnergy(vectors: Float32Array, sigma: Float64Array, basis: Float32Array, d: number): number {
  let inside = 0;
  let total = 0;
  for (let row = 0; row < sigma.length; row++) {
    const weight = sigma[row]! ** 2;
    total += weight;
    for (let b = 0; b < basis.length / d; b++) {
      let dot = 0;
      for (let i = 0; i < d; i++) dot += vectors[row * d + i]! * basis[b * d + i]!;
      inside += weight * dot * dot;
    }
  }
  return total > 0 ? inside / total : NaN;
}

/** XᵀX of `[rows, n]`, float64. */
function gram(x: Float32Array, rows: number, n: number): Float64Array {
  const g = new Float64Array(n * n);
  for (let r = 0; r < rows; r++) {
    for (let j = 0; j < n; j++) {
      const value = x[r * n + j]!;
      for (let k = 0; k < n; k++) g[j * n + k]! += value * x[r * n + k]!;
    }
  }
  return g;
}

/** Columns of `[rows, n]` made orthonormal by two passes of Gram–Schmidt ("twice is enough"). */
function orthonormal(x: Float32Array, rows: number, n: number): Float32Array {
  for (let j = 0; j < n; j++) {
    for (let pass = 0; pass < 2; pass++) {
      for (let k = 0; k < j; k++) {
        let dot = 0;
        for (let r = 0; r < rows; r++) dot += x[r * n + j]! * x[r * n + k]!;
        for (let r = 0; r < rows; r++) x[r * n + j]! -= dot * x[r * n + k]!;
      }
      let sum = 0;
      for (let r = 0; r < rows; r++) sum += x[r * n + j]! ** 2;
      const inverse = sum > 0 ? 1 / Math.sqrt(sum) : 0;
      for (let r = 0; r < rows; r++) x[r * n + j]! *= inverse;
    }
  }
  return x;
}

/** Rows j of the result: Σ_i x[:, i] · vectors[i, j] · scale(j), `[count, rows]`. */
function combine(x: Float32Array, rows: number, n: number, vectors: Float64Array, count: number, scale: (j: number) => number): Float32Array {
  const out = new Float32Array(count * rows);
  for (let j = 0; j < count; j++) {
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let i = 0; i < n; i++) sum += x[r * n + i]! * vectors[i * n + j]!;
      out[j * rows + r] = sum * scale(j);
    }
  }
  return out;
}
