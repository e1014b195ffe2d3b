/** Norm ignitions and direction turns on curves whose changes are known. */
import { describe, expect, it } from "vitest";
import { randomStream } from "../../server/linalg/random.ts";
import { changeRule, ignition, turn } from "../../server/training/abruptChanges.ts";

/** Looks grow rarer, as in a run. */
const x = Array.from({ length: 80 }, (_, i) => Math.round(i * (1 + i / 20)));
const noise = (size: number, seed = 1) => {
  const random = randomStream(seed, "noise");
  return () => 1 + size * random.gaussian();
};
const ignitions = (norms: readonly number[]) => norms.flatMap((_, i) => (ignition(x, norms.slice(0, i + 1), i) === null ? [] : [i]));
const turns = (cosines: readonly number[]) => cosines.flatMap((_, i) => (turn(cosines.slice(0, i + 1), i) === null ? [] : [i]));

describe("norm ignition", () => {
  const smooth: Readonly<Record<string, (step: number) => number>> = {
    "a straight line": (step) => step,
    "a square root": (step) => Math.sqrt(step),
    saturation: (step) => 1 - Math.exp(-step / 60),
    "slow exponential growth": (step) => 0.01 * Math.exp(step / 120),
    "a gentle S": (step) => 1 / (1 + Math.exp(-(step - 200) / 60)),
    decay: (step) => Math.exp(-step / 100),
    nothing: () => 0,
    "a constant": () => 3,
  };

  it.each(Object.entries(smooth))("finds nothing in %s", (_, curve) => {
    expect(ignitions(x.map(curve))).toEqual([]);
  });

  it.each(Object.entries(smooth))("finds nothing in %s with noise of half a percent", (_, curve) => {
    for (let seed = 0; seed < 20; seed++) {
      const shake = noise(0.005, seed);
      expect(ignitions(x.map((step) => curve(step) * shake())), `seed ${seed}`).toEqual([]);
    }
  });

  it("finds a planted jump at exactly its look", () => {
    for (const at of [12, 30, 61]) {
      for (const [name, curve] of Object.entries(smooth)) {
        const level = curve(x[at]!);
        if (level === 0) continue;
        expect(ignitions(x.map((step, i) => curve(step) + (i >= at ? 1.5 * level : 0))), name).toEqual([at]);
      }
    }
  });

  it("finds the beginning of a growth that goes on, once", () => {
    const at = 40;
    expect(ignitions(x.map((step, i) => 1 + 0.001 * step + (i >= at ? 0.2 * (step - x[at - 1]!) : 0)))).toEqual([at]);
  });

  it("says nothing before it knows what is usual", () => {
    expect(ignitions([0, 0.1, 0.2, 5])).toEqual([]);
  });
});

describe("direction turn", () => {
  it("finds a planted turn at exactly its look", () => {
    for (const at of [8, 40]) for (const cosine of [0.5, 0, -0.9]) expect(turns(x.map((_, i) => (i === 0 ? NaN : i === at ? cosine : 0.99)))).toEqual([at]);
  });

  it("finds nothing while a direction drifts, nor before it was ever steady", () => {
    expect(turns(x.map(() => 0.95))).toEqual([]);
    expect(turns(x.map((_, i) => 1 - 0.004 * i))).toEqual([]);
    expect(turns(x.map((_, i) => Math.min(0.99, 0.02 * i)))).toEqual([]);
    const random = randomStream(3, "cosines");
    expect(turns(x.map(() => 2 * random.uniform() - 1))).toEqual([]);
  });

  it("marks a turn that takes two looks once", () => {
    expect(turns(x.map((_, i) => (i === 20 || i === 21 ? 0.3 : 0.99)))).toEqual([20]);
  });
});

it("marks rest on the past alone: later looks do not move them", () => {
  const norms = x.map((step, i) => 1 + 0.01 * step + (i >= 25 ? 4 : 0));
  expect(ignition(x, norms, 25)).toBe(ignition(x, norms.slice(0, 26), 25));
  expect(ignition(x, norms, 25)).toBeGreaterThan(changeRule.deviations);
});
