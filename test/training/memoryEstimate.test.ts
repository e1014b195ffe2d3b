/** The memory that is stated, beside the memory that is used. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { loadModel } from "../../server/models/loadModel.ts";
import { memoryEstimate, refuseOverBudget, totalBytes, type MemoryRequest } from "../../server/training/memoryEstimate.ts";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const demo = here("../../fixtures/demo/base");
const request: MemoryRequest = {
  model: loadModel(demo),
  trained: 100_000,
  frozen: 0,
  isFull: false,
  classes: 769,
  batch: { rows: 64, positions: 64, predictions: 4032 },
  look: null,
};
const megabyte = 2 ** 20;

/** Close enough to decide whether a run fits: what a run leaves to the allocator and to other batch shapes is not in the formula. */
const share = 0.3;

describe("the memory of a run", () => {
  it.each([["lora"], ["full"]])("is stated within 30 % of the peak of a process that trains it (%s, 64 texts of 64 tokens)", (method) => {
    const { stdout, stderr, status } = spawnSync(process.execPath, ["--import", "tsx", here("../../bench/trainingMemory.ts"), demo, "64", "64", method], {
      encoding: "utf8",
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const [estimated, measured] = stdout.trim().split(/\s+/).map(Number);
    expect(measured).toBeGreaterThan(300);
    expect(Math.abs(estimated! / measured! - 1)).toBeLessThan(share);
  });

  it("grows by the batch's tokens, and by the trained numbers with their gradients and two moments", () => {
    const parts = (changes: Partial<MemoryRequest>) => totalBytes(memoryEstimate({ ...request, ...changes }));
    expect(parts({ trained: 200_000 }) - parts({})).toBe(4 * 100_000 * (1 + 2 + 2));
    expect(parts({ frozen: 50_000 }) - parts({})).toBe(4 * 50_000);
    const one = memoryEstimate(request).at(-1)!.bytes;
    const two = memoryEstimate({ ...request, batch: { rows: 128, positions: 64, predictions: 8064 } }).at(-1)!.bytes;
    expect(two).toBeCloseTo(2 * one, -1);
  });

  it("is that of a look at the pinned prompts where a step needs less, as both are never held at once", () => {
    const small = { ...request, batch: { rows: 1, positions: 8, predictions: 7 } };
    const look = { rows: 8, positions: 64 };
    const { dModel, dMlp, nHeads } = request.model.config;
    const [step, looked, both] = [small, { ...small, look }, { ...request, look }].map((given) => memoryEstimate(given).at(-1));
    expect(step?.label).toBe("activations of one batch");
    expect(looked).toEqual({
      label: "activations of one look at the pinned prompts",
      bytes: 4 * 8 * (64 * (10 * dModel + 8 * dMlp + 2 * nHeads * 64) + 769),
    });
    expect(looked?.bytes).toBeGreaterThan(2 * (step?.bytes ?? NaN));
    expect(both).toEqual(memoryEstimate(request).at(-1));
  });

  it("over 90 % of what is free refuses the run with the numbers, and under it does not", () => {
    const parts = memoryEstimate(request);
    const needed = totalBytes(parts);
    expect(() => refuseOverBudget(parts, needed / 0.89)).not.toThrow();
    expect(() => refuseOverBudget(parts, needed / 0.91)).toThrow(
      new RegExp(`needs about ${Math.round(needed / megabyte)} MB \\(activations of one batch .*; ${Math.round(needed / 0.91 / megabyte)} MB is available`),
    );
  });
});
