/** Leading directions of a dense weight on an engine and by plain loops, against planted ones and LAPACK; angles between subspaces. */
import { readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { randomDirection, uniform } from "../../probes/random.ts";
import type { Weight } from "../../server/tensors/engine.ts";
import { factoredSvd, denseProduct } from "../../server/linalg/factored.ts";
import { createEngine } from "../../server/tensors/providers.ts";
import { principalAngles, randomShare, sharedEnergy } from "../../server/linalg/subspaces.ts";
import { leadingDirections } from "../../server/tensors/topSingular.ts";

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

  it("is the same for the same seed", async () => {
    const w = weight(`${name} w`, [150, 140], whole(150, 140));
    expect(await leadingDirections(engine, w, "outIn", 3, uniform(8))).toEqual(await leadingDirections(engine, w, "outIn", 3, uniform(8)));
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
