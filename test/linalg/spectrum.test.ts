/** Counts of directions, checkable on paper. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { effectiveRank, energy, energyEffectiveRank, energyRank, stableRank } from "../../server/linalg/spectrum.ts";

const of = (...values: number[]) => Float64Array.of(...values);

describe("spectrum", () => {
  it("has energy 25 for 4 and 3", () => {
    expect(energy(of(4, 3))).toBe(25);
  });

  it("counts n equal directions as n, by every count", () => {
    for (const count of [effectiveRank, energyEffectiveRank, stableRank]) expect(count(of(2, 2, 2, 2, 0))).toBeCloseTo(4, 12);
    expect(energyRank(of(2, 2, 2, 2, 0), 1)).toBe(4);
  });

  it("counts one direction as 1, by every count", () => {
    for (const count of [effectiveRank, energyEffectiveRank, stableRank]) expect(count(of(0, 7, 0))).toBeCloseTo(1, 12);
    expect(energyRank(of(0, 7, 0), 1)).toBe(1);
  });

  it("takes σ/Σσ for Roy & Vetterli: (½, ¼, ¼) has entropy 1.5 bits, effective rank 2^1.5", () => {
    expect(effectiveRank(of(2, 1, 1))).toBeCloseTo(2 ** 1.5, 12);
  });

  it("takes σ²/Σσ² for the energy form: (⅔, ⅙, ⅙) has effective rank 1.5^⅔ · 6^⅓", () => {
    // Σ p ln(1/p) = ⅔ ln 1.5 + ⅓ ln 6
    expect(energyEffectiveRank(of(2, 1, 1))).toBeCloseTo(1.5 ** (2 / 3) * 6 ** (1 / 3), 12);
  });

  it("has stable rank 25/16 for 4 and 3, in any order", () => {
    expect(stableRank(of(3, 4))).toBeCloseTo(25 / 16, 12);
  });

  it("needs one direction for 64 % of the energy of 4 and 3, two for 65 %", () => {
    expect(energyRank(of(3, 4), 0.64)).toBe(1);
    expect(energyRank(of(3, 4), 0.65)).toBe(2);
    // On paper two fifths exactly; in float64 two squares of 0.7 fall short of it by a last bit.
    expect(energyRank(of(0.7, 0.7, 0.7, 0.7, 0.7), 2 / 5)).toBe(2);
  });

  it.each([
    ["effectiveRank", effectiveRank],
    ["energyEffectiveRank", energyEffectiveRank],
    ["stableRank", stableRank],
    ["energyRank", (s: Float64Array) => energyRank(s, 0.9)],
  ] as const)("%s of zeros is an error, not NaN", (_, count) => {
    expect(() => count(of(0, 0))).toThrow(/every singular value is 0/);
    expect(() => count(of())).toThrow(/every singular value is 0/);
  });

  it("orders the counts: 1 ≤ stable ≤ energy form ≤ Roy & Vetterli ≤ n, whatever the scale", () => {
    const values = fc.array(fc.double({ min: 1e-6, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 20 });
    const rounding = 1e-9;
    fc.assert(
      fc.property(values, (list) => {
        const s = Float64Array.from(list);
        const [stable, ofEnergy, ofValues] = [stableRank(s), energyEffectiveRank(s), effectiveRank(s)];
        expect(stable).toBeGreaterThanOrEqual(1 - rounding);
        expect(ofEnergy).toBeGreaterThanOrEqual(stable * (1 - rounding));
        expect(ofValues).toBeGreaterThanOrEqual(ofEnergy * (1 - rounding));
        expect(ofValues).toBeLessThanOrEqual(s.length * (1 + rounding));
        expect(effectiveRank(s.map((value) => 3e-5 * value)) / ofValues).toBeCloseTo(1, 9);
      }),
      { seed: 11, numRuns: 200 },
    );
  });
});
