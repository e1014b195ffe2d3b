import { describe, expect, it } from "vitest";
import { singularValues } from "../../../server/linalg/factored.ts";
import { randomStream, gaussians } from "../../../server/linalg/random.ts";
import { harness, lossOf, perturb, randomBatch, train } from "./harness.ts";
import { siteDelta, timesRows } from "./siteDelta.ts";
import { denseProduct } from "../../../server/linalg/factored.ts";
import { relativeError } from "../goldens.ts";

/** Float32 sums in another order. */
const rounding = 1e-5;

describe.each(["lora", "rslora"])("%s", (name) => {
  it("starts with B = 0 and A uniform in ±1/√dIn, or normal with deviation 1/rank", async () => {
    const kaiming = await harness(name, { options: { rank: 16 } });
    for (const { site, trained } of kaiming.adaptation.sites) {
      const bound = 1 / Math.sqrt(site.dIn);
      const a = trained["loraA"]!.data;
      expect(trained["loraB"]!.data.every((value) => value === 0)).toBe(true);
      expect(a.every((value) => Math.abs(value) <= bound)).toBe(true);
      // The variance of 512 or more uniform numbers is within a fifth of bound²/3.
      expect(Math.abs(a.reduce((sum, value) => sum + value * value, 0) / a.length / (bound ** 2 / 3) - 1)).toBeLessThan(0.2);
    }
    const normal = await harness(name, { options: { rank: 16, init: "gaussian" } });
    const all = normal.adaptation.sites.flatMap(({ trained }) => [...trained["loraA"]!.data]);
    const deviation = Math.sqrt(all.reduce((sum, value) => sum + value * value, 0) / all.length);
    // 3072 draws: the deviation is known to 1.3 %.
    expect(Math.abs(deviation * 16 - 1)).toBeLessThan(0.06);
    expect(Math.max(...all.map(Math.abs)) * 16).toBeGreaterThan(2.5);
  });

  it("adds s·B·A x with s = α/r, or α/√r", async () => {
    const h = await harness(name, { options: { rank: 4, alpha: 12 } });
    perturb(h.adaptation, 0.2);
    const state = h.adaptation.sites[0]!;
    const { dIn, dOut } = state.site;
    const [a, b] = [state.trained["loraA"]!.data, state.trained["loraB"]!.data];
    const x = gaussians(5 * dIn, 1, randomStream(2));
    const scale = name === "lora" ? 3 : 6;
    const inner = timesRows(x, a, 4, dIn);
    const expected = timesRows(inner, b, dOut, 4).map((value) => scale * value);
    expect(relativeError(await siteDelta(h, state, x), expected)).toBeLessThan(rounding);
    expect(relativeError(timesRows(x, denseProduct(h.adaptation.method!.deltaWeight(state, h.adaptation.options)), dOut, dIn), expected)).toBeLessThan(
      rounding,
    );
  });

  it("never has more than r singular values", async () => {
    const h = await harness(name, { options: { rank: 3 } });
    await train(h, randomBatch(h.model), 4);
    for (const state of h.adaptation.sites) expect(singularValues(h.adaptation.method!.deltaWeight(state, h.adaptation.options))).toHaveLength(3);
  });

  it("refuses a rank that a site cannot have, naming the site", async () => {
    await expect(harness(name, { options: { rank: 33 } })).rejects.toThrow(/rank is 33; "blocks\.0\.attn\.qkv" is \[96, 32\]/);
  });
});

it("rsLoRA's update does not shrink as the rank grows: the slope at B = 0 keeps its size, where LoRA's falls with √r", async () => {
  const slope = async (name: string, rank: number) => {
    const h = await harness(name, { options: { rank, alpha: 8 } });
    const { gradients } = await lossOf(h, randomBatch(h.model));
    return Math.hypot(...Object.entries(gradients).flatMap(([key, values]) => (key.endsWith("/loraB") ? [...values] : [])));
  };
  const ratio = async (name: string) => (await slope(name, 32)) / (await slope(name, 2));
  // ‖∂L/∂B‖ = s‖(∂L/∂W) Aᵀ‖ grows with √r at fixed s: √16 · 2/32 = ¼ for LoRA, √16 · √(2/32) = 1 for rsLoRA; chance leaves a third.
  expect(Math.abs((await ratio("lora")) * 4 - 1)).toBeLessThan(0.34);
  expect(Math.abs((await ratio("rslora")) - 1)).toBeLessThan(0.34);
});
