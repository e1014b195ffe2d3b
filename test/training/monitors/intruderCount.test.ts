/** Intruders by a rank-r update, held against a fresh decomposition of W + ΔW. */
import { describe, expect, it } from "vitest";
import { gaussians, randomStream } from "../../../server/linalg/random.ts";
import { svd, type Svd } from "../../../server/linalg/svd.ts";
import { countIntruders, intruderRule, type BaseDirections, type DeltaComponents } from "../../../server/training/monitors/intruderCount.ts";
import type { WeightProducts } from "../../../server/training/monitors/weightProducts.ts";

interface Case {
  readonly dOut: number;
  readonly dIn: number;
  /** Column-major `[dOut, dIn]`. */
  readonly w: Float64Array;
  readonly base: Svd;
}

/** W with singular values that fall as a trained weight's do. */
function weight(dOut: number, dIn: number, seed: number): Case {
  const n = Math.min(dOut, dIn);
  const { u, v } = svd(Float64Array.from(gaussians(dOut * dIn, 1, randomStream(seed, "w"))), dOut, dIn);
  const w = new Float64Array(dOut * dIn);
  for (let k = 0; k < n; k++) {
    const value = 10 / (1 + k) ** 0.6;
    for (let i = 0; i < dIn; i++) for (let o = 0; o < dOut; o++) w[i * dOut + o]! += value * u[k * dOut + o]! * v[k * dIn + i]!;
  }
  return { dOut, dIn, w, base: svd(w, dOut, dIn) };
}

const rows = (vectors: Float64Array, length: number, count: number) => Array.from({ length: count }, (_, k) => vectors.slice(k * length, (k + 1) * length));

function directions({ dOut, dIn, base }: Case, count: number): BaseDirections {
  return { values: base.s.subarray(0, count), left: rows(base.u, dOut, count), right: rows(base.v, dIn, count), isAll: count === base.s.length };
}

function products({ dOut, dIn, w }: Case): WeightProducts {
  return {
    times: (xs) =>
      Promise.resolve(xs.map((x) => Float64Array.from({ length: dOut }, (_, o) => x.reduce((sum, value, i) => sum + w[i * dOut + o]! * value, 0)))),
    timesTransposed: (ys) =>
      Promise.resolve(ys.map((y) => Float64Array.from({ length: dIn }, (_, i) => y.reduce((sum, value, o) => sum + w[i * dOut + o]! * value, 0)))),
  };
}

/** ΔW whose components have given values and random directions, or W's own where `along` says so. */
function delta({ dOut, dIn, base }: Case, values: readonly number[], seed: number, along: readonly (number | null)[] = []): DeltaComponents {
  const rank = values.length;
  const orthonormal = (length: number, label: string) => svd(Float64Array.from(gaussians(length * rank, 1, randomStream(seed, label))), length, rank).u;
  const [u, v] = [orthonormal(dOut, "u"), orthonormal(dIn, "v")];
  const place = (k: number, vectors: Float64Array, own: Float64Array, length: number) => {
    const chosen = along[k];
    return chosen === null || chosen === undefined ? vectors.slice(k * length, (k + 1) * length) : own.slice(chosen * length, (chosen + 1) * length);
  };
  return { values, left: values.map((_, k) => place(k, u, base.u, dOut)), right: values.map((_, k) => place(k, v, base.v, dIn)) };
}

/** The definition itself, by a fresh decomposition. */
function fresh({ dOut, dIn, w, base }: Case, { values, left, right, rowScales }: DeltaComponents): { count: number; cosines: number[] } {
  const sum = w.slice();
  values.forEach((value, k) => {
    for (let i = 0; i < dIn; i++) for (let o = 0; o < dOut; o++) sum[i * dOut + o]! += value * left[k]![o]! * right[k]![i]!;
  });
  if (rowScales) for (let at = 0; at < sum.length; at++) sum[at]! *= rowScales[at % dOut]!;
  const merged = svd(sum, dOut, dIn);
  const cosines = Array.from({ length: intruderRule.count }, (_, j) => {
    let most = 0;
    for (let k = 0; k < base.s.length; k++) {
      let dot = 0;
      for (let o = 0; o < dOut; o++) dot += merged.u[j * dOut + o]! * base.u[k * dOut + o]!;
      most = Math.max(most, Math.abs(dot));
    }
    return most;
  });
  return { count: cosines.filter((cosine) => cosine < intruderRule.epsilon).length, cosines };
}

/** What two Krylov steps from W's 32 leading vectors leave of the error of a cosine; 1e-6 is usual. */
const krylovError = 1e-4;
/** The same from 16 of 40 vectors that mix with all others. */
const cosineError = 0.01;

const updates: Readonly<Record<string, readonly number[]>> = {
  "one large component": [14],
  "two large and two small components": [12, 9, 0.3, 0.1],
  "components as large as W's own": [6, 5, 4, 3],
  "a small update": [0.4, 0.3, 0.2, 0.1],
};
const shapes = [
  [60, 40],
  [40, 60],
  [48, 48],
] as const;

describe.each(Object.entries(updates))("%s", (_, values) => {
  it.each(shapes)("with all of W's vectors counts as a fresh decomposition does (%i × %i)", async (dOut, dIn) => {
    const w = weight(dOut, dIn, 1);
    const d = delta(w, values, 2);
    const truth = fresh(w, d);
    const found = await countIntruders(directions(w, w.base.s.length), d, products(w));
    expect(found.intruders).toBe(truth.count);
    expect(found.open).toBe(0);
    for (const [j, cosine] of found.cosines.entries()) expect(Math.abs(cosine - truth.cosines[j]!)).toBeLessThan(krylovError);
  });

  it.each(shapes)("and with every row rescaled, as DoRA does, too (%i × %i)", async (dOut, dIn) => {
    const w = weight(dOut, dIn, 1);
    const random = randomStream(7, "rows");
    const d = { ...delta(w, values, 2), rowScales: Float64Array.from({ length: dOut }, () => Math.exp(0.7 * random.gaussian())) };
    const truth = fresh(w, d);
    const { rowScales: _, ...plain } = d;
    expect(truth.cosines).not.toEqual(fresh(w, plain).cosines);
    const found = await countIntruders(directions(w, w.base.s.length), d, products(w));
    expect(found.intruders).toBe(truth.count);
    for (const [j, cosine] of found.cosines.entries()) expect(Math.abs(cosine - truth.cosines[j]!)).toBeLessThan(krylovError);
  });

  it.each(shapes)("with W's leading 16 vectors claims no intruder that is none, and misses none unsaid (%i × %i)", async (dOut, dIn) => {
    for (let seed = 0; seed < 5; seed++) {
      const w = weight(dOut, dIn, seed);
      const d = delta(w, values, seed + 50);
      const { cosines } = fresh(w, d);
      const below = (epsilon: number) => cosines.filter((cosine) => cosine < epsilon).length;
      const found = await countIntruders(directions(w, 16), d, products(w));
      expect(found.intruders, `seed ${seed}`).toBeLessThanOrEqual(below(intruderRule.epsilon + cosineError));
      expect(found.intruders + found.open, `seed ${seed}`).toBeGreaterThanOrEqual(below(intruderRule.epsilon - cosineError));
    }
  });
});

describe("intruders", () => {
  it("are decided, all of them, from the leading 32 vectors of a larger W", async () => {
    const w = weight(240, 200, 3);
    const d = delta(w, [13, 8, 5], 4);
    const truth = fresh(w, d);
    expect(truth.count).toBeGreaterThan(0);
    expect(await countIntruders(directions(w, 32), d, products(w))).toMatchObject({ intruders: truth.count, open: 0 });
  });

  it("are none when ΔW strengthens W's own directions, even ones beyond those that are known", async () => {
    const w = weight(60, 60, 5);
    const d = delta(w, [9, 7], 6, [2, 30]);
    expect(fresh(w, d).count).toBe(0);
    const found = await countIntruders(directions(w, 16), d, products(w));
    expect(found.intruders).toBe(0);
  });

  it("are as many as the large components with new directions", async () => {
    const w = weight(80, 64, 7);
    for (const count of [1, 2, 3]) {
      const d = delta(
        w,
        new Array<number>(count).fill(0).map((_, k) => 40 - 5 * k),
        8,
      );
      expect((await countIntruders(directions(w, 64), d, products(w))).intruders).toBe(count);
    }
  });
});
