/** The frozen part of TeRA: sizes of the modes, random core and factors from a seed, and products with them mode by mode. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import type { Weight } from "../tensors/engine.ts";
import { sizeOf } from "../tensors/hostTensor.ts";
import { LruCache } from "../tensors/lruCache.ts";
import { gaussians, randomStream } from "../linalg/random.ts";
import { at } from "../at.ts";
import { dotAt } from "../linalg/vectors.ts";

export const readings = ["diagonalFactors", "gains", "modeDiagonals"] as const;
export type Reading = (typeof readings)[number];

export interface Network {
  readonly reading: Reading;
  readonly dOut: number;
  readonly dIn: number;
  /** I₁ … I_P with product dOut, and their ranks. */
  readonly outModes: readonly number[];
  readonly outRanks: readonly number[];
  /** I_{P+1} … I_N with product dIn, and their ranks. */
  readonly inModes: readonly number[];
  readonly inRanks: readonly number[];
}

/** The frozen part: core and factors, output modes first. */
export type NetworkTensors<Value> = { core: Value } & Record<`out${number}` | `in${number}`, Value>;

/** Those of a side's factors that there are, in the order of its modes. */
export function factorsOfSide<Value>(held: NetworkTensors<Value>, side: "out" | "in"): Value[] {
  const found: Value[] = [];
  for (let at = 1; ; at++) {
    const factor = held[`${side}${at}`];
    if (factor === undefined) return found;
    found.push(factor);
  }
}

/** Factors of `size`, ascending, at most `most` of them, none 1 unless size is: those with the smallest sum, and the more of them at a tie. */
export function modesOf(size: number, most: number): readonly number[] {
  const sum = (modes: readonly number[]) => modes.reduce((total, mode) => total + mode, 0);
  const search = (rest: number, least: number, left: number): readonly number[] => {
    let best: readonly number[] = [rest];
    if (left === 1) return best;
    for (let mode = least; mode * mode <= rest; mode++) {
      if (rest % mode !== 0) continue;
      const found = [mode, ...search(rest / mode, mode, left - 1)];
      if (sum(found) <= sum(best)) best = found;
    }
    return best;
  };
  return search(size, 2, most);
}

/** Random numbers of cores, so that looks at ΔW while training do not draw them again. */
const drawn = new LruCache<Float32Array>(64, 512 * 2 ** 20, () => undefined);

/**
 * Core `[∏ outRanks, ∏ inRanks]` of N(0, 1/dIn) and factors Aᵢ `[Iᵢ, rᵢ]` of N(0, 1/rᵢ): with every diagonal 1 each entry of ΔW has variance
 * 1/dIn whatever the ranks, so ΔW x is about as large as x. Without factors the core alone has it.
 * Functions of seed, reading and sizes alone: weights of one shape share them, and a file needs only the seed.
 * @param seed read when numbers are asked for, not before: a restored run brings its own
 */
export function networkWeights({ reading, dIn, outModes, outRanks, inModes, inRanks }: Network, seed: () => number): NetworkTensors<Weight> {
  const about = `${outModes.join("x")}:${outRanks.join("x")}|${inModes.join("x")}:${inRanks.join("x")}`;
  const weight = (name: string, shape: readonly number[], std: number): Weight => {
    const keyNow = () => `tera:${seed()}:${about}:${name}`;
    return {
      get key() {
        return keyNow();
      },
      shape,
      data() {
        const found = drawn.get(keyNow());
        if (found) return found;
        const values = gaussians(sizeOf(shape), std, randomStream(seed(), "tera", name, about));
        drawn.set(keyNow(), values, values.byteLength);
        return values;
      },
    };
  };
  const factors = (side: "out" | "in", modes: readonly number[], ranks: readonly number[]): Record<`${typeof side}${number}`, Weight> =>
    reading === "gains"
      ? {}
      : Object.fromEntries(modes.map((mode, i) => [`${side}${i + 1}`, weight(`${side}${i + 1}`, [mode, ranks[i] ?? mode], 1 / Math.sqrt(ranks[i] ?? mode))]));
  return {
    ...factors("out", outModes, outRanks),
    ...factors("in", inModes, inRanks),
    core: weight("core", [sizeOf(outRanks), sizeOf(inRanks)], 1 / Math.sqrt(dIn)),
  };
}

/** x `[rows, ∏ I]` → x (A₁ ⊗ … ⊗ A_N) `[rows, ∏ r]`, one small product a mode: from the last mode on, each result goes to the front. */
export function projectModes(x: Tensor, modes: readonly number[], factors: readonly Tensor[]): Tensor {
  return contract(x, modes, factors, false);
}

/** z `[rows, ∏ r]` → z (A₁ ⊗ … ⊗ A_N)ᵀ `[rows, ∏ I]` */
export function expandModes(z: Tensor, ranks: readonly number[], factors: readonly Tensor[]): Tensor {
  return contract(z, ranks, factors, true);
}

function contract(x: Tensor, sizes: readonly number[], factors: readonly Tensor[], isTransposed: boolean): Tensor {
  const rows = x.shape[0];
  let y = x;
  for (let i = sizes.length - 1; i >= 0; i--) {
    const size = at(sizes, i);
    const others = y.size / rows / size;
    const product = tf.matMul(tf.reshape(y, [rows * others, size]), at(factors, i), false, isTransposed);
    const made = product.size / (rows * others);
    y = tf.reshape(tf.transpose(tf.reshape(product, [rows, others, made]), [0, 2, 1]), [rows, made * others]);
  }
  return y;
}

/** The same as `expandModes` on the host, in float64: z `[rows, ∏ r]` → `[rows, ∏ I]` with Aᵢ `[Iᵢ, rᵢ]`. */
export function expandRows(z: Float64Array, rows: number, ranks: readonly number[], modes: readonly number[], factors: readonly Float32Array[]): Float64Array {
  let y = z;
  for (let i = ranks.length - 1; i >= 0; i--) {
    const [rank, mode, factor] = [at(ranks, i), at(modes, i), new Float64Array(at(factors, i))];
    const others = y.length / rows / rank;
    const next = new Float64Array(rows * others * mode);
    for (let row = 0; row < rows; row++)
      for (let o = 0; o < others; o++)
        for (let m = 0; m < mode; m++) next[(row * mode + m) * others + o] = dotAt(y, (row * others + o) * rank, factor, m * rank, rank);
    y = next;
  }
  return y;
}

/** d₁ ⊗ … ⊗ d_N, the first slowest. */
export function outerProduct(vectors: readonly Float32Array[]): Float64Array {
  return vectors.reduce((total, vector) => Float64Array.from([...total].flatMap((value) => Array.from(vector, (each) => value * each))), Float64Array.of(1));
}
