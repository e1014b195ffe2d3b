/** When a run is looked at: within the share, within the places, the first and last steps always. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LookingBudget, type BudgetPlan } from "../../server/training/lookingBudget.ts";

const plan = (given: Partial<BudgetPlan> = {}): BudgetPlan => ({
  every: null,
  snapshots: 100,
  maxShare: 0.1,
  firstStep: 0,
  totalSteps: 1000,
  monitors: ["cheap", "dear"],
  ...given,
});

interface Simulated {
  readonly budget: LookingBudget;
  /** Steps at which each monitor looked. */
  readonly looks: ReadonlyMap<string, number[]>;
  readonly steps: readonly number[];
}

/** A run whose steps and looks take given seconds. */
function simulate(given: BudgetPlan, costs: Readonly<Record<string, number>>, stepSeconds = 1): Simulated {
  const budget = new LookingBudget(given);
  const looks = new Map(given.monitors.map((id) => [id, [] as number[]]));
  const steps: number[] = [];
  for (let step = given.firstStep; step <= given.totalSteps; step++) {
    if (step > given.firstStep) budget.trained(stepSeconds);
    const due = budget.due(step);
    if (due.length === 0) continue;
    steps.push(step);
    for (const id of due) looks.get(id)!.push(step);
    budget.looked(step, Object.fromEntries(due.map((id) => [id, costs[id]!])));
  }
  return { budget, looks, steps };
}

describe("a budget for looking", () => {
  it("looks at the first step and the last with every monitor, at the second with all but the dearest", () => {
    expect(simulate(plan(), { cheap: 0.01, dear: 12 }).looks.get("dear")!.slice(0, 2)).not.toContain(1);
    for (const given of [plan(), plan({ firstStep: 40, totalSteps: 90 }), plan({ every: 7 })]) {
      const { looks } = simulate(given, { cheap: 0.01, dear: 1.5 });
      for (const steps of looks.values()) {
        expect(steps.slice(0, 2)).toEqual([given.firstStep, given.firstStep + 1]);
        expect(steps.at(-1)).toBe(given.totalSteps);
      }
    }
  });

  it("keeps looking within its share of step time, whatever a look takes", () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.001, max: 3, noNaN: true }),
        fc.double({ min: 0.001, max: 12, noNaN: true }),
        fc.double({ min: 0.05, max: 0.5, noNaN: true }),
        (cheap, dear, maxShare) => {
          const { budget } = simulate(plan({ maxShare }), { cheap, dear });
          // The looks that are always taken may exceed the share only where they alone do.
          expect(budget.share).toBeLessThanOrEqual(Math.max(maxShare, (3 * (cheap + dear)) / 1000) + 1e-12);
        },
      ),
    );
  });

  it("uses most of its share when there are places", () => {
    const { budget } = simulate(plan({ snapshots: 1000 }), { cheap: 0.5, dear: 0.5 });
    expect(budget.share).toBeGreaterThan(0.08);
    expect(budget.share).toBeLessThanOrEqual(0.1);
  });

  it("looks more rarely with a dear monitor than with a cheap one, and never forgets it", () => {
    const { looks } = simulate(plan({ snapshots: 500 }), { cheap: 0.02, dear: 4 });
    const dear = looks.get("dear")!;
    expect(looks.get("cheap")!.length).toBeGreaterThan(5 * dear.length);
    expect(dear.length).toBeGreaterThan(6);
    expect(Math.max(...dear.slice(1).map((step, i) => step - dear[i]!))).toBeLessThan(400);
  });

  it("lets a dear monitor have what cheap ones leave of the share", () => {
    const { looks } = simulate(plan(), { cheap: 0.0001, dear: 2 });
    // 0.1 · 1000 s pay for 50 looks; half of that without what the cheap one leaves.
    expect(looks.get("dear")!.length).toBeGreaterThan(35);
  });

  it("never takes more places than there are, and spreads them over the run", () => {
    for (const snapshots of [2, 3, 5, 10, 100]) {
      const { steps } = simulate(plan({ snapshots }), { cheap: 0, dear: 0 });
      expect(steps.length).toBeLessThanOrEqual(snapshots);
      expect(steps.length).toBeGreaterThan(0.8 * snapshots);
      expect(steps.at(-1)).toBe(1000);
      const gaps = steps.slice(1).map((step, i) => step - steps[i]!);
      expect(Math.max(...gaps)).toBeLessThanOrEqual(Math.ceil(1000 / Math.max(1, snapshots - 2)) + 1);
    }
  });

  it("looks at multiples of the steps that are asked for, all of them when the share is 1", () => {
    const { steps } = simulate(plan({ every: 50, maxShare: 1 }), { cheap: 100, dear: 100 });
    expect(steps).toEqual([0, 1, ...Array.from({ length: 20 }, (_, i) => 50 * (i + 1))]);
  });

  it("does not look with a monitor that is expected to be dear, though its first look was cheap", () => {
    const budget = new LookingBudget(plan());
    budget.expects("dear", 3);
    expect(budget.due(0)).toEqual(["cheap", "dear"]);
    budget.looked(0, { cheap: 0.01, dear: 0 });
    for (let step = 1; step <= 20; step++) {
      budget.trained(1);
      const due = budget.due(step);
      expect(due).not.toContain("dear");
      if (due.length > 0) budget.looked(step, { cheap: 0.01 });
    }
  });

  it("never looks when the share is 0", () => {
    expect(simulate(plan({ maxShare: 0 }), { cheap: 0, dear: 0 }).steps).toEqual([]);
  });

  it("goes on from a stored state as if it had not been stored", () => {
    const given = plan({ snapshots: 60 });
    const whole = simulate(given, { cheap: 0.3, dear: 2 });
    let budget = new LookingBudget(given);
    const steps: number[] = [];
    for (let step = 0; step <= 1000; step++) {
      if (step > 0) budget.trained(1);
      const due = budget.due(step);
      if (due.length > 0) {
        steps.push(step);
        budget.looked(step, Object.fromEntries(due.map((id) => [id, { cheap: 0.3, dear: 2 }[id]!])));
      }
      if (step % 137 === 0) {
        const next = new LookingBudget(given);
        next.restore(structuredClone(budget.state()));
        budget = next;
      }
    }
    expect(steps).toEqual(whole.steps);
  });
});
