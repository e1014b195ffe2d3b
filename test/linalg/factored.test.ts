/** Spectra of s·B·A from the factors: against LAPACK on the whole product, and by what must hold for any factors. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { uniform } from "../../server/linalg/random.ts";
import { denseProduct, factoredSvd, frobeniusNorm, singularValues, sumOf, type FactoredMatrix } from "../../server/linalg/factored.ts";

interface GoldenCase {
  readonly dOut: number;
  readonly dIn: number;
  readonly rank: number;
  readonly scale: number;
  readonly left: number[];
  readonly right: number[];
  readonly singularValues: number[];
  readonly norm: number;
}
const golden = (JSON.parse(readFileSync(new URL("../../fixtures/spectra/golden.json", import.meta.url), "utf8")) as { factored: Record<string, GoldenCase> })
  .factored;
const matrixOf = (name: string): FactoredMatrix => {
  const { left, right, ...rest } = golden[name]!;
  return { ...rest, left: Float32Array.from(left), right: Float32Array.from(right) };
};

/** Of σ₁: float64 throughout, at most 30 terms. */
const valueTolerance = 1e-12;
/** Vectors leave as float32, of unit length: 2⁻²⁴, over a few terms. */
const vectorTolerance = 1e-6;

function random(dOut: number, dIn: number, rank: number, scale: number, seed: number): FactoredMatrix {
  const next = uniform(seed);
  const noise = (length: number) => Float32Array.from({ length }, () => 2 * next() - 1);
  return { left: noise(dOut * rank), right: noise(rank * dIn), dOut, dIn, rank, scale };
}

function largestDifference(x: ArrayLike<number>, y: ArrayLike<number>): number {
  expect(x.length).toBe(y.length);
  return Array.from(x).reduce((worst, value, i) => Math.max(worst, Math.abs(value - y[i]!)), 0);
}

/** max |XᵀX − 1| over columns whose singular value is not 0; entry (i, k) is at i · rowStride + k · columnStride. */
function orthonormalityError(x: Float32Array, s: Float64Array, rows: number, rowStride: number, columnStride: number): number {
  let worst = 0;
  for (let p = 0; p < s.length; p++)
    for (let q = 0; q <= p; q++) {
      if (s[p] === 0 || s[q] === 0) continue;
      let dot = 0;
      for (let i = 0; i < rows; i++) dot += x[i * rowStride + p * columnStride]! * x[i * rowStride + q * columnStride]!;
      worst = Math.max(worst, Math.abs(dot - (p === q ? 1 : 0)));
    }
  return worst;
}

/** U diag(s) Vᵀ against the product, relative to σ₁; and orthonormality of both sides. */
function expectDecomposition(m: FactoredMatrix): void {
  const { u, s, vt } = factoredSvd(m);
  const { dOut, dIn, rank } = m;
  const rebuilt = new Float64Array(dOut * dIn);
  for (let k = 0; k < rank; k++)
    for (let o = 0; o < dOut; o++) for (let i = 0; i < dIn; i++) rebuilt[o * dIn + i]! += u[o * rank + k]! * s[k]! * vt[k * dIn + i]!;
  expect(largestDifference(rebuilt, denseProduct(m))).toBeLessThanOrEqual(vectorTolerance * s[0]!);
  expect(orthonormalityError(u, s, dOut, rank, 1)).toBeLessThan(vectorTolerance);
  expect(orthonormalityError(vt, s, dIn, 1, dIn)).toBeLessThan(vectorTolerance);
}

describe.each(Object.keys(golden))("%s", (name) => {
  const { singularValues: expected, norm } = golden[name]!;
  const matrix = matrixOf(name);

  it("has LAPACK's singular values of the whole product, and 0 beyond them", () => {
    const s = singularValues(matrix);
    expect(s.length).toBe(matrix.rank);
    expect(largestDifference(s, [...expected, ...Array.from({ length: matrix.rank - expected.length }, () => 0)])).toBeLessThanOrEqual(
      valueTolerance * expected[0]!,
    );
    expect(largestDifference(factoredSvd(matrix).s, s)).toBeLessThanOrEqual(1e-13 * expected[0]!);
  });

  it("has the norm of the whole product", () => {
    expect(Math.abs(frobeniusNorm(matrix) - norm)).toBeLessThanOrEqual(1e-9 * norm);
  });

  it("is U diag(s) Vᵀ with orthonormal vectors", () => {
    expectDecomposition(matrix);
  });
});

describe("factoredSvd", () => {
  it("gives 20 for 2 · (3, 4)ᵀ · (0, 2): the largest entry of v is positive, and u follows", () => {
    const m: FactoredMatrix = { left: Float32Array.of(3, 4), right: Float32Array.of(0, -2), dOut: 2, dIn: 2, rank: 1, scale: 2 };
    const { u, s, vt } = factoredSvd(m);
    expect(s[0]).toBeCloseTo(20, 12);
    expect(largestDifference(vt, [0, 1])).toBeLessThan(vectorTolerance);
    expect(largestDifference(u, [-0.6, -0.8])).toBeLessThan(vectorTolerance);
  });

  it("decomposes any factors, and σ scales with |s| and squares to the norm", () => {
    const shapes = fc.record({
      dOut: fc.integer({ min: 1, max: 40 }),
      dIn: fc.integer({ min: 1, max: 40 }),
      rank: fc.integer({ min: 1, max: 9 }),
      seed: fc.nat(),
      scale: fc.constantFrom(1, -1, 0.25, 7),
    });
    fc.assert(
      fc.property(shapes, ({ dOut, dIn, rank, seed, scale }) => {
        const m = random(dOut, dIn, rank, scale, seed);
        expectDecomposition(m);
        const s = singularValues(m);
        expect(Math.hypot(...s) / frobeniusNorm(m)).toBeCloseTo(1, 10);
        const doubled = singularValues({ ...m, scale: -2 * scale });
        expect(
          largestDifference(
            doubled,
            s.map((value) => 2 * value),
          ),
        ).toBeLessThanOrEqual(valueTolerance * s[0]!);
      }),
      { seed: 3, numRuns: 60 },
    );
  });

  it("depends on the product only: B G and G⁻¹ A have the values and vectors of B and A", () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const m = random(30, 26, 3, 1, seed);
        // G is unit triangular times powers of two, so that G⁻¹ is exact and the new factors differ from the old by float32 rounding alone.
        const [left, right] = [m.left.slice(), m.right.slice()];
        const sizes = [1024, 1, 1 / 512];
        for (let o = 0; o < 30; o++) left[o * 3 + 1]! += 2 * left[o * 3]!;
        for (let i = 0; i < 26; i++) right[i]! -= 2 * right[26 + i]!;
        for (let k = 0; k < 3; k++) {
          for (let o = 0; o < 30; o++) left[o * 3 + k]! *= sizes[k]!;
          for (let i = 0; i < 26; i++) right[k * 26 + i]! /= sizes[k]!;
        }
        const [before, after] = [factoredSvd(m), factoredSvd({ ...m, left, right })];
        const float32Rounding = 1e-6;
        expect(largestDifference(before.s, after.s)).toBeLessThan(float32Rounding * before.s[0]!);
        // A vector moves by rounding over the gap to its neighbours, so compare the component and not the vector.
        for (let o = 0; o < 30; o++) {
          const component = ({ u, s, vt }: typeof before) =>
            Array.from({ length: 26 }, (_, i) => [0, 1, 2].reduce((sum, k) => sum + u[o * 3 + k]! * s[k]! * vt[k * 26 + i]!, 0));
          expect(largestDifference(component(before), component(after))).toBeLessThan(2 * float32Rounding * before.s[0]!);
        }
      }),
      { seed: 5, numRuns: 20 },
    );
  });

  it("is the same to the last bit at every call", () => {
    const m = random(50, 40, 6, 1, 9);
    expect(factoredSvd(m)).toEqual(factoredSvd(m));
  });

  it("handles a rank past Jacobi's 128 columns", () => {
    const m = random(150, 140, 130, 1, 2);
    const s = singularValues(m);
    expect(Math.hypot(...s) / frobeniusNorm(m)).toBeCloseTo(1, 10);
  });

  it("names NaN instead of returning it, but the norm is NaN so that a table can show it", () => {
    const m = random(4, 5, 2, 1, 1);
    m.right[3] = NaN;
    expect(() => factoredSvd(m)).toThrow("QR of a 5 × 2 matrix: it holds NaN or infinity");
    expect(frobeniusNorm(m)).toBeNaN();
  });

  it("refuses rank 0", () => {
    expect(() => singularValues({ left: new Float32Array(0), right: new Float32Array(0), dOut: 3, dIn: 2, rank: 0, scale: 1 })).toThrow("rank 0");
  });
});

describe("sumOf", () => {
  it.each([
    ["equal", 0.5],
    ["different", -3],
  ])("is the sum of the products, scales being %s", (_, scale) => {
    const [x, y] = [random(9, 7, 2, 0.5, 1), random(9, 7, 3, scale, 2)];
    const sum = sumOf([x, y]);
    expect(sum.rank).toBe(5);
    const [a, b] = [denseProduct(x), denseProduct(y)];
    expect(
      largestDifference(
        denseProduct(sum),
        a.map((value, i) => value + b[i]!),
      ),
    ).toBeLessThan(1e-5);
  });

  it("of a matrix and its negative is 0", () => {
    const m = random(9, 7, 2, 1.5, 1);
    const nothing = sumOf([m, { ...m, scale: -1.5 }]);
    const s = singularValues(nothing);
    expect(s[0]).toBeLessThan(valueTolerance);
    expect(s.length).toBe(4);
    expect(frobeniusNorm(nothing)).toBeLessThan(valueTolerance);
  });

  it("has the right norm where terms all but cancel", () => {
    const m = random(9, 7, 2, 1.5, 1);
    const little = sumOf([m, { ...m, scale: -1.5, right: m.right.map((value) => value * (1 + 2 ** -20)) }]);
    // tr(BᵀB · A Aᵀ) alone would have lost twelve of its sixteen digits.
    expect(Math.hypot(...singularValues(little)) / frobeniusNorm(little)).toBeCloseTo(1, 8);
  });

  it("refuses other shapes, and nothing at all", () => {
    expect(() => sumOf([random(3, 4, 1, 1, 1), random(4, 3, 1, 1, 1)])).toThrow("one is [4, 3]; expected [3, 4]");
    expect(() => sumOf([])).toThrow("found none");
  });
});
