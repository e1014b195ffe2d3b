/** Leading singular triplets against LAPACK's values, by what defines them, and where values vanish. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { leadingSvd, type LeadingSvd } from "../../server/linalg/leadingSvd.ts";
import { randomStream, gaussians } from "../../server/linalg/random.ts";
import { tridiagonalEigen } from "../../server/linalg/tridiagonalEigen.ts";

const golden = JSON.parse(readFileSync(new URL("../../fixtures/spectra/golden.json", import.meta.url), "utf8")) as { dense: Record<string, number[]> };
/** Lanczos stops at 1e-13 of the largest eigenvalue; products of a few hundred terms add a little. */
const tolerance = 1e-11;

/** The whole-number matrix of fixtures/spectra/make.py, row-major. */
function whole(rows: number, cols: number): Float32Array {
  return Float32Array.from({ length: rows * cols }, (_, at) => {
    const [i, j] = [Math.floor(at / cols), at % cols];
    return ((37 * i + 101 * j + 13 * i * j + i * i * j) % 97) - 48;
  });
}

/** Largest departure from Wᵀu = σv, W v = σu, and of the rows from orthonormal, relative to σ₁. */
function defects(a: Float32Array, rows: number, cols: number, { ut, s, vt }: LeadingSvd): number {
  const k = s.length;
  let worst = 0;
  for (let j = 0; j < k; j++) {
    for (let c = 0; c < cols; c++) {
      let sum = 0;
      for (let r = 0; r < rows; r++) sum += a[r * cols + c]! * ut[j * rows + r]!;
      worst = Math.max(worst, Math.abs(sum - s[j]! * vt[j * cols + c]!) / s[0]!);
    }
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let c = 0; c < cols; c++) sum += a[r * cols + c]! * vt[j * cols + c]!;
      worst = Math.max(worst, Math.abs(sum - s[j]! * ut[j * rows + r]!) / s[0]!);
    }
    for (let i = 0; i <= j; i++) {
      for (const [x, n] of [
        [ut, rows],
        [vt, cols],
      ] as const) {
        let dot = 0;
        for (let at = 0; at < n; at++) dot += x[i * n + at]! * x[j * n + at]!;
        worst = Math.max(worst, Math.abs(dot - (i === j ? 1 : 0)));
      }
    }
  }
  return worst;
}

describe("leadingSvd", () => {
  it.each([1, 5, 40, 140])("finds LAPACK's %i largest values of a 150 × 140 matrix and of its transpose", (k) => {
    const a = whole(150, 140);
    const turned = Float32Array.from({ length: a.length }, (_, at) => a[(at % 150) * 140 + Math.floor(at / 150)]!);
    const expected = golden.dense["150x140x0"]!;
    for (const [matrix, rows, cols] of [
      [a, 150, 140],
      [turned, 140, 150],
    ] as const) {
      const found = leadingSvd(matrix, rows, cols, k);
      for (let j = 0; j < k; j++) expect(Math.abs(found.s[j]! - expected[j]!) / expected[0]!).toBeLessThan(tolerance);
      expect(defects(matrix, rows, cols, found)).toBeLessThan(tolerance);
    }
  });

  it.each([
    [60, 40, 40],
    [40, 60, 12],
    [300, 200, 3],
    [200, 300, 199],
  ])("holds W v = σu and Wᵀu = σv with orthonormal vectors, [%i, %i] with k = %i", (rows, cols, k) => {
    const a = gaussians(rows * cols, 1, randomStream(1, rows, cols));
    expect(defects(a, rows, cols, leadingSvd(a, rows, cols, k))).toBeLessThan(tolerance);
  });

  it("gives orthonormal vectors also where the values are 0 or all alike", () => {
    const ones = new Float32Array(200 * 150).fill(1);
    const flat = leadingSvd(ones, 200, 150, 6);
    expect(flat.s[0]).toBeCloseTo(Math.sqrt(30_000), 8);
    expect(defects(ones, 200, 150, flat)).toBeLessThan(tolerance);
    const identity = Float32Array.from({ length: 150 * 150 }, (_, at) => (Math.floor(at / 150) === at % 150 ? 3 : 0));
    const same = leadingSvd(identity, 150, 150, 10);
    same.s.forEach((value) => expect(value).toBeCloseTo(3, 10));
    expect(defects(identity, 150, 150, same)).toBeLessThan(tolerance);
  });

  it("finds the directions of a matrix whose rows repeat, so that all but a few values are rounding", () => {
    const few = gaussians(5 * 128, 1, randomStream(3));
    const repeated = Float32Array.from({ length: 400 * 128 }, (_, at) => few[(Math.floor(at / 128) % 5) * 128 + (at % 128)]!);
    const found = leadingSvd(repeated, 400, 128, 8);
    expect(defects(repeated, 400, 128, found)).toBeLessThan(1e-7); // the square root of rounding, where a value is 0
    expect(found.s[4]! / found.s[0]!).toBeGreaterThan(0.1);
    expect(found.s[5]! / found.s[0]!).toBeLessThan(1e-7);
  });

  it("has the entry of largest size in each right vector positive, and is the same each time", () => {
    const a = gaussians(200 * 160, 1, randomStream(2));
    const first = leadingSvd(a, 200, 160, 4);
    for (let j = 0; j < 4; j++)
      expect(Math.max(...first.vt.slice(j * 160, (j + 1) * 160))).toBe(Math.max(...first.vt.slice(j * 160, (j + 1) * 160).map(Math.abs)));
    expect(leadingSvd(a, 200, 160, 4)).toEqual(first);
  });

  it("refuses NaN and infinity", () => {
    expect(() => leadingSvd(Float32Array.of(1, NaN, 0, 1), 2, 2, 1)).toThrow(/holds NaN/);
  });
});

describe("tridiagonalEigen", () => {
  it("has the values 2 + 2 cos(πj/(n + 1)) of the matrix of second differences, and the last components of its vectors alone", () => {
    const n = 30;
    const [diagonal, beside] = [Array<number>(n).fill(2), Array<number>(n - 1).fill(1)];
    const whole = tridiagonalEigen(diagonal, beside, n);
    whole.values.forEach((value, j) => expect(value).toBeCloseTo(2 + 2 * Math.cos((Math.PI * (j + 1)) / (n + 1)), 12));
    const { vectors } = tridiagonalEigen(diagonal, beside, 5, 1);
    for (let j = 0; j < 5; j++) {
      expect(vectors[j]).toBeCloseTo(whole.vectors[j * n + n - 1]!, 12);
      expect(Math.abs(vectors[j]!)).toBeCloseTo(Math.sqrt(2 / (n + 1)) * Math.abs(Math.sin((Math.PI * (j + 1) * n) / (n + 1))), 12);
    }
  });
});
