/** Numbers of every step as arrays of bounded length. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { StepCurves, stepArrays } from "../../server/training/stepCurves.ts";
import type { StepRecord } from "../../server/training/trainer.ts";

const record = (step: number, loss = step): StepRecord => ({
  type: "step",
  step,
  loss,
  penalty: 0,
  learningRate: 0.1,
  gradientNorm: 2,
  tokens: 30,
  seconds: 0.5,
  note: null,
});
const plan = (totalSteps: number, evaluateEvery = 10) => ({ totalSteps, evaluateEvery, checkpointEvery: 10 });

/** All arrays of a run from a first step to its end. */
function whole(
  totalSteps: number,
  firstStep = 0,
  loss: (step: number) => number = (step) => step,
): { curves: StepCurves; arrays: Readonly<Record<string, Float32Array>> } {
  const curves = new StepCurves(plan(totalSteps), firstStep);
  const arrays = Object.fromEntries(stepArrays.map((name) => [name, new Float32Array(curves.points).fill(NaN)]));
  for (let step = firstStep + 1; step <= totalSteps; step++)
    for (const { array, offset, data } of curves.step(record(step, loss(step)))) arrays[array]!.set(data, offset);
  return { curves, arrays };
}

describe("curves of steps", () => {
  it("hold every step of a short run as it was", () => {
    const { arrays } = whole(50);
    expect([...arrays["step"]!]).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
    expect([...arrays["loss"]!]).toEqual([...arrays["step"]!]);
    expect(new Set(arrays["tokens_per_second"])).toEqual(new Set([60]));
  });

  it("hold means of equally many steps of a long run, in at most 2000 points, the last step included", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9000 }), fc.integer({ min: 0, max: 500 }), (steps, firstStep) => {
        const { curves, arrays } = whole(firstStep + steps, firstStep);
        expect(curves.points).toBeLessThanOrEqual(2000);
        expect(arrays["step"]!.at(-1)).toBe(firstStep + steps);
        expect([...arrays["loss"]!].every(Number.isFinite)).toBe(true);
        const width = Math.ceil(steps / 2000);
        for (const [i, mean] of arrays["loss"]!.entries()) {
          const [from, to] = [firstStep + i * width + 1, Math.min(firstStep + steps, firstStep + (i + 1) * width)];
          expect(mean).toBeCloseTo((from + to) / 2, 2);
        }
      }),
      { numRuns: 20 },
    );
  });

  it("smooth without a bias at the start: a constant loss is constant", () => {
    const { arrays } = whole(300, 0, () => 3);
    for (const value of arrays["loss_smoothed"]!) expect(value).toBeCloseTo(3, 5);
  });

  it("give evaluations places of their own, no more than there are", () => {
    const curves = new StepCurves(plan(20, 5), 0);
    expect(curves.evaluations).toBe(6);
    const offsets = [0, 5, 10, 15, 20, 21, 22].map((step) => curves.evaluation({ type: "evaluation", step, loss: 1, accuracy: 0.5, isBest: true })[0]?.offset);
    expect(offsets).toEqual([0, 1, 2, 3, 4, 5, undefined]);
  });

  it("go on from a stored state in the middle of a point", () => {
    const undisturbed = whole(5000).arrays;
    const first = new StepCurves(plan(5000), 0);
    for (let step = 1; step <= 2500; step++) first.step(record(step));
    const second = new StepCurves(plan(5000), 0);
    second.restore(structuredClone(first.state()));
    for (let step = 2501; step <= 5000; step++)
      for (const { array, offset, data } of second.step(record(step))) expect(data[0], `${array} ${step}`).toBe(undisturbed[array]![offset]);
  });
});
