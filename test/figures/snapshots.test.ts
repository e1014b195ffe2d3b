/** Figures over training steps as they were at one step. */
import { describe, expect, test } from "vitest";
import { figureCsv } from "../../client/figures/figureData.ts";
import { figureAtStep, stepOfNumbers } from "../../client/figures/snapshots.ts";
import { renderFigureFile } from "../../server/reports/figureFile.ts";
import type { SpectrumFigure } from "../../probes/result.ts";
import { array } from "./examples.ts";

const arrays = {
  steps: array([5], ["snapshot"], (index) => (index < 4 ? index * 10 : NaN)),
  // The look at step 20 measured something else.
  sigma: array([5, 3], ["snapshot", "component"], (snapshot, component) => (snapshot === 2 || snapshot > 3 ? NaN : 10 * snapshot + component + 1)),
};
const figure: SpectrumFigure = {
  kind: "spectrum",
  id: "spectrum",
  title: "Spectrum",
  subtitle: "",
  unit: "",
  steps: { array: "steps" },
  series: [{ id: "a", label: "L0.mlp.in", place: { layer: 0, site: "blocks.0.mlp.in" }, values: { array: "sigma" } }],
};
const numbers = (step: number | null) =>
  figureCsv(figureAtStep(figure, arrays, step), arrays)
    .trim()
    .split("\r\n")
    .slice(1)
    .map((line) => Number(line.split(",").at(-1)));

describe("a figure at a step", () => {
  test("has the numbers of the last look up to it", () => {
    expect(numbers(0)).toEqual([1, 2, 3]);
    expect(numbers(14)).toEqual([11, 12, 13]);
  });

  test("skips looks that measured nothing of it, and says which look its numbers are of", () => {
    expect(numbers(20)).toEqual([11, 12, 13]);
    expect(stepOfNumbers(figure, arrays, 20)).toBe(10);
    expect(stepOfNumbers(figure, arrays, 30)).toBe(30);
  });

  test("is at the newest look when no step is named", () => {
    expect(numbers(null)).toEqual([31, 32, 33]);
  });

  test("is pending before the first look", () => {
    const early = {
      ...arrays,
      steps: { ...arrays.steps, data: arrays.steps.data.map(() => NaN) },
      sigma: { ...arrays.sigma, data: arrays.sigma.data.map(() => NaN) },
    };
    expect(stepOfNumbers(figure, early, 0)).toBeNull();
    expect(figureCsv(figureAtStep(figure, early, null), early)).toMatch(/,0,\r\n/);
  });

  test("becomes a file with the numbers of the step that was asked for", async () => {
    const file = await renderFigureFile({ figure, arrays, format: "csv", theme: "light", metadata: "", step: 10 });
    expect(String(file.body)).toContain(",0,11");
    expect(String(file.body)).not.toContain(",0,31");
  });
});
