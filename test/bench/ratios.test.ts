/** What the bench says of two things timed in turn. */
import { describe, expect, it } from "vitest";
import { isSettled, median, ratioOf, ratioText } from "../../bench/ratios.ts";
import { randomStream } from "../../server/linalg/random.ts";

const random = randomStream(3);
/** Seconds of both in `pairs` rounds, of which each is longer by a disturbance that both share, and by some noise of its own. */
function rounds(pairs: number, ratio: number, noise: number): { a: number[]; b: number[] } {
  const shared = Array.from({ length: pairs }, () => 1 + 3 * random.uniform());
  const own = () => Math.exp(noise * random.gaussian());
  return { a: shared.map((s) => s * own()), b: shared.map((s) => s * ratio * own()) };
}

describe("the ratio of pairs", () => {
  it("is that of the rounds, whatever disturbs both", () => {
    const { a, b } = rounds(9, 1.5, 0);
    const found = ratioOf(a, b);
    expect(found.median).toBeCloseTo(1.5, 10);
    expect(found.pairs).toBe(9);
    expect(isSettled(found)).toBe(true);
    expect(ratioText(found)).toBe("1.50× (1.50 to 1.50)");
  });

  it.each([6, 9, 15])("holds the true ratio in at least 95 of 100 intervals of %i pairs", (pairs) => {
    const holds = Array.from({ length: 2000 }, () => {
      const { a, b } = rounds(pairs, 1.2, 0.1);
      const { low, high } = ratioOf(a, b);
      return low <= 1.2 && high >= 1.2;
    });
    expect(holds.filter(Boolean).length).toBeGreaterThan(0.94 * 2000);
  });

  it("says that it cannot be told rather than a number from noise", () => {
    const { a, b } = rounds(7, 1, 0.5);
    expect(ratioText(ratioOf(a, b))).toMatch(/^too noisy to tell \(\d/);
    expect(isSettled(ratioOf(a, b))).toBe(false);
  });

  it("of too few pairs is never settled", () => {
    expect(isSettled(ratioOf([1, 1, 1], [2, 2, 2]))).toBe(false);
  });
});

it("the median of an even count lies between the two in the middle", () => {
  expect(median([4, 1, 3, 2])).toBe(2.5);
});
