/** Leading directions of a dense weight on an engine and by plain loops, against planted ones and LAPACK; angles between subspaces. */
import { readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { gaussians, randomDirection, randomStream, uniform } from "../../server/linalg/random.ts";
import type { Weight } from "../../server/tensors/engine.ts";
import { factoredSvd, denseProduct } from "../../server/linalg/factored.ts";
import { createEngine } from "../../server/tensors/providers.ts";
import { principalAngles, randomShare, sharedEnergy } from "../../server/linalg/subspaces.ts";
import { leadingDirections, type LeadingDirections } from "../../server/tensors/topSingular.ts";
import { leadingSvd } from "../../server/linalg/leadingSvd.ts";
import { svd } from "../../server/linalg/svd.ts";

const golden = JSON.parse(readFileSync(new URL("../../fixtures/spectra/golden.json", import.meta.url), "utf8")) as { dense: Record<string, number[]> };
/** Products with W are float32. */
const float32Tolerance = 1e-5;
const onnx = await createEngine("onnx-cpu");
afterAll(() => onnx.dispose());

/** The whole-number matrix of fixtures/spectra/make.py, row-major. */
function whole(rows: number, cols: number): Float32Array {
  return Float32Array.from({ length: rows * cols }, (_, at) => {
    const [i, j] = [Math.floor(at / cols), at % cols];
    return ((37 * i + 101 * j + 13 * i * j + i * i * j) % 97) - 48;
  });
}

function transposed(x: Float32Array, rows: number, cols: number): Float32Array {
  return Float32Array.from({ length: x.length }, (_, at) => x[(at % rows) * cols + Math.floor(at / rows)]!);
}

const weight = (key: string, shape: readonly number[], values: Float32Array): Weight => ({ key, shape, data: () => values });

/** Orthonormal rows `[n, d]`. */
function orthonormalRows(n: number, d: number, seed: number): Float32Array {
  const next = uniform(seed);
  return factoredSvd({
    left: Float32Array.from({ length: n * n }, () => next() - 0.5),
    right: Float32Array.from({ length: n * d }, () => next() - 0.5),
    dOut: n,
    dIn: d,
    rank: n,
    scale: 1,
  }).vt;
}

describe.each([
  ["onnx-cpu", onnx],
  ["plain loops", null],
])("leadingDirections by %s", (name, engine) => {
  it("finds LAPACK's five largest values of a 150 × 140 matrix, either way it is stored", async () => {
    const values = whole(150, 140);
    const expected = golden.dense["150x140x0"]!;
    for (const stored of ["outIn", "inOut"] as const) {
      const w = stored === "outIn" ? weight(`${name} w`, [150, 140], values) : weight(`${name} wt`, [140, 150], transposed(values, 150, 140));
      const found = await leadingDirections(engine, w, stored, 5, uniform(1));
      for (let k = 0; k < 5; k++) {
        // σ is right to the square of the residual over the gap; the residual bounds it whatever the gap.
        expect(Math.abs(found.values[k]! - expected[k]!) / expected[0]!).toBeLessThan(Math.max(found.errors[k]!, float32Tolerance));
        expect(found.errors[k]).toBeLessThan(1e-2);
      }
    }
  });

  it("finds planted directions under noise", async () => {
    const [d, k] = [96, 3];
    const left = orthonormalRows(k, d, 1);
    const right = orthonormalRows(k, d, 2);
    const noise = randomDirection(d * d, 1, uniform(3));
    const planted = denseProduct({ left: transposed(left, k, d).map((value, at) => value * [9, 6, 3][at % k]!), right, dOut: d, dIn: d, rank: k, scale: 1 });
    const found = await leadingDirections(
      engine,
      weight(
        `${name} planted`,
        [d, d],
        planted.map((value, i) => value + 1e-3 * noise[i]!),
      ),
      "outIn",
      k,
      uniform(4),
    );
    [9, 6, 3].forEach((value, i) => expect(found.values[i]).toBeCloseTo(value, 2));
    expect(Math.max(...principalAngles(found.left, left, d))).toBeLessThan(1e-3);
    expect(Math.max(...principalAngles(found.right, right, d))).toBeLessThan(1e-3);
    expect(Math.max(...found.errors)).toBeLessThan(float32Tolerance);
  });

  it("ends on a matrix of lower rank than was asked for, with zeros and orthonormal right rows", async () => {
    const ones = new Float32Array(40 * 30).fill(1);
    const { values, right } = await leadingDirections(engine, weight(`${name} ones`, [40, 30], ones), "outIn", 4, uniform(1));
    expect(values[0]).toBeCloseTo(Math.sqrt(1200), 3);
    expect(values[1]).toBeLessThan(float32Tolerance * values[0]!);
    expect(sharedEnergy(right, Float64Array.of(1, 1, 1, 1), right, 30)).toBeCloseTo(1, 5);
  });

  it.each([
    [128, 896, 64],
    [896, 128, 64],
    [32, 64, 8],
    [48, 48, 20],
    [24, 200, 12],
    [14, 96, 4],
  ])("finds all directions that are asked for of a %i × %i matrix when %i are, also where its smaller side holds few blocks", async (rows, cols, k) => {
    const values = gaussians(rows * cols, 1, randomStream(3, "flat", rows, cols));
    const found = await leadingDirections(null, weight(`flat-${rows}-${cols}`, [rows, cols], values), "outIn", k, uniform(1));
    const exact = leadingSvd(values, rows, cols, k);
    for (let j = 0; j < k; j++)
      expect(Math.abs((found.values[j] ?? NaN) - (exact.s[j] ?? NaN)) / (exact.s[0] ?? NaN)).toBeLessThan(1e-6 + (found.errors[j] ?? NaN));
    // Each direction that was found lies among the exact ones: 0.067 of it did where the random start was taken for the answer.
    const share = sharedEnergy(found.right, new Float64Array(k).fill(1), Float32Array.from(exact.vt), cols);
    expect(share).toBeGreaterThan(0.9999);
  });

  it("is the same for the same seed", async () => {
    const w = weight(`${name} w`, [150, 140], whole(150, 140));
    expect(await leadingDirections(engine, w, "outIn", 3, uniform(8))).toEqual(await leadingDirections(engine, w, "outIn", 3, uniform(8)));
  });
});

/** ‖W − Σ σ u vᵀ‖ / ‖W‖ of row-major W, and the best that as many directions can do. */
function residuals(w: Float32Array, dIn: number, found: LeadingDirections, all: Float64Array): { residual: number; best: number } {
  const dOut = w.length / dIn;
  let missed = 0;
  for (let o = 0; o < dOut; o++) {
    const row = Float64Array.from(w.subarray(o * dIn, (o + 1) * dIn));
    found.values.forEach((value, k) => {
      const u = value * found.left[k * dOut + o]!;
      for (let i = 0; i < dIn; i++) row[i]! -= u * found.right[k * dIn + i]!;
    });
    missed += row.reduce((sum, value) => sum + value * value, 0);
  }
  const squares = (values: Float64Array) => values.reduce((sum, value) => sum + value * value, 0);
  return { residual: Math.sqrt(missed / squares(all)), best: Math.sqrt(squares(all.subarray(found.values.length)) / squares(all)) };
}

/** A flat spectrum, the hardest: W is Gaussian; and all its singular values. */
function flat(dOut: number, dIn: number): { w: Float32Array; all: Float64Array } {
  const w = gaussians(dOut * dIn, 1, randomStream(5, dOut, dIn));
  return { w, all: svd(Float64Array.from(transposed(w, dOut, dIn)), dOut, dIn).s };
}

describe("any number of directions of any shape", () => {
  const shapes = [
    [64, 20, 8],
    [20, 64, 8],
    [40, 300, 18],
    [300, 40, 39],
    [128, 896, 64],
    [320, 320, 100],
    [96, 96, 96],
    [60, 60, 200],
  ] as const;

  it.each(shapes)("of %i × %i, %i directions leave out what the best do, and each value lies within its bound", async (dOut, dIn, k) => {
    const { w, all } = flat(dOut, dIn);
    for (const stored of ["outIn", "inOut"] as const) {
      const held = stored === "outIn" ? weight(`flat ${dOut} ${dIn}`, [dOut, dIn], w) : weight(`flat t ${dOut} ${dIn}`, [dIn, dOut], transposed(w, dOut, dIn));
      const found = await leadingDirections(onnx, held, stored, k, uniform(1));
      expect(found.values).toHaveLength(Math.min(k, dOut, dIn));
      found.values.forEach((value, j) => {
        const nearest = all.reduce((least, sigma) => Math.min(least, Math.abs(sigma - value)), Infinity);
        expect(nearest / all[0]!).toBeLessThan(found.errors[j]! + float32Tolerance);
      });
      const { residual, best } = residuals(w, dIn, found, all);
      expect(residual - best).toBeLessThan(1e-3);
      if (k >= Math.min(dOut, dIn)) expect(residual).toBeLessThan(float32Tolerance);
    }
  });

  it.each([
    ["at once", 320, undefined],
    ["by products alone", 128, 0],
  ])("of a square found %s, more directions leave out less, within a hundredth of the best", async (_, n, exactUpTo) => {
    const { w, all } = flat(n, n);
    let before = 1;
    for (const k of [n / 20, n / 3.2, n / 1.9, n].map(Math.floor)) {
      const found = await leadingDirections(onnx, weight(`flat ${n}`, [n, n], w), "outIn", k, uniform(1), exactUpTo);
      const { residual, best } = residuals(w, n, found, all);
      expect(residual - best).toBeLessThan(1e-2);
      expect(residual).toBeLessThan(before);
      before = residual;
    }
    expect(before).toBeLessThan(float32Tolerance);
  });

  it("64 of 128 × 896 hold three quarters of an update that reads along them for three quarters", async () => {
    const [dOut, dIn, k] = [128, 896, 64];
    const { w } = flat(dOut, dIn);
    const { vt } = leadingSvd(w, dOut, dIn, dOut);
    // √3/2 along the first direction, 1/2 along the last, which 64 do not reach.
    const reads = Float32Array.from({ length: dIn }, (_, i) => Math.sqrt(0.75) * vt[i]! + 0.5 * vt[(dOut - 1) * dIn + i]!);
    const { right } = await leadingDirections(onnx, weight("aligned", [dOut, dIn], w), "outIn", k, uniform(1));
    expect(sharedEnergy(reads, Float64Array.of(1), right, dIn)).toBeCloseTo(0.75, 4);
  });
});

describe("subspaces", () => {
  it("has angles 0 and 30° between (x, y) and (x, cos 30° y + sin 30° z)", () => {
    const a = Float32Array.of(1, 0, 0, 0, 1, 0);
    const b = Float32Array.of(0, Math.cos(Math.PI / 6), Math.sin(Math.PI / 6), 1, 0, 0);
    const angles = principalAngles(a, b, 3);
    expect(angles[0]).toBeCloseTo(0, 7);
    expect(angles[1]).toBeCloseTo(Math.PI / 6, 6);
  });

  it("tells angles of 1e-5 from 0, which cosines in float64 barely do", () => {
    const angle = 1e-5;
    const [found] = principalAngles(Float32Array.of(1, 0), Float32Array.of(Math.cos(angle), Math.sin(angle)), 2);
    expect(found! / angle).toBeCloseTo(1, 4);
  });

  it("does not mind which space is larger: a line in a plane is at angle 0, a line beside it at 90°", () => {
    const plane = Float32Array.of(1, 0, 0, 0, 1, 0);
    expect(principalAngles(plane, Float32Array.of(0, 1, 0), 3)[0]).toBeCloseTo(0, 7);
    expect(principalAngles(Float32Array.of(0, 0, 1), plane, 3)[0]).toBeCloseTo(Math.PI / 2, 7);
  });

  it("shares 16/25 of the energy when the stronger of 4 and 3 lies in the basis", () => {
    expect(sharedEnergy(Float32Array.of(1, 0, 0, 1), Float64Array.of(4, 3), Float32Array.of(1, 0), 2)).toBeCloseTo(16 / 25, 6);
  });

  it("shares k/d with random bases, spread as randomShare says", () => {
    const [d, k, trials] = [40, 4, 400];
    const vectors = orthonormalRows(3, d, 5);
    const sigma = Float64Array.of(3, 1, 0.5);
    const shares = Array.from({ length: trials }, (_, t) => sharedEnergy(vectors, sigma, orthonormalRows(k, d, 100 + t), d));
    const mean = shares.reduce((sum, value) => sum + value, 0) / trials;
    const spread = Math.sqrt(shares.reduce((sum, value) => sum + (value - mean) ** 2, 0) / trials);
    const { mean: expected, deviation } = randomShare(sigma, k, d);
    expect(expected).toBe(0.1);
    // Four standard errors of a mean of 400; and of a spread, 1/√800 each.
    expect(Math.abs(mean - expected)).toBeLessThan((4 * deviation) / Math.sqrt(trials));
    expect(Math.abs(spread / deviation - 1)).toBeLessThan(4 / Math.sqrt(2 * trials));
  });
});
