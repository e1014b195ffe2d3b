import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadAdapter } from "../../../server/adapters/loadAdapter.ts";
import { veraProjections } from "../../../server/adapters/vera.ts";
import { parseSafetensors } from "../../../server/formats/safetensors.ts";
import { loadModel } from "../../../server/models/loadModel.ts";
import { denseProduct } from "../../../server/linalg/factored.ts";
import { gaussians, randomStream } from "../../../server/linalg/random.ts";
import { trainedCount } from "../../../server/training/adaptation.ts";
import { saveAdaptation } from "../../../server/training/saveAdaptation.ts";
import { referenceDir, relativeError } from "../goldens.ts";
import { harness, lastPlaces, openedLogits, perturb, randomBatch, temporaryDir } from "./harness.ts";
import { siteDelta, timesRows } from "./siteDelta.ts";

const options = { rank: 24 };
const targetModules = ["c_attn", "c_proj"];
/** Float32 sums in another order. */
const rounding = 1e-5;

it("starts with b = 0 and d = dInitial, and trains dOut + rank numbers a site", async () => {
  const { adaptation } = await harness("vera", { options: { ...options, dInitial: 0.3 }, targetModules });
  for (const { trained } of adaptation.sites) {
    expect(trained["lambdaB"]!.data.every((value) => value === 0)).toBe(true);
    expect(trained["lambdaD"]!.data.every((value) => value === Math.fround(0.3))).toBe(true);
  }
  expect(trainedCount(adaptation)).toBe(adaptation.sites.reduce((sum, { site }) => sum + site.dOut + 24, 0));
});

it("has one pair for all sites, as large as the largest, in ±√(6/fan-in)", async () => {
  const { adaptation } = await harness("vera", { options, targetModules });
  const [dIn, dOut] = [Math.max(...adaptation.sites.map(({ site }) => site.dIn)), Math.max(...adaptation.sites.map(({ site }) => site.dOut))];
  expect(new Set(adaptation.sites.map(({ site }) => site.dIn)).size).toBeGreaterThan(1);
  const keys = new Set(adaptation.sites.flatMap(({ frozen }) => Object.values(frozen).map(({ key }) => key)));
  expect(keys.size).toBe(2);
  const { veraA, veraB } = adaptation.sites[0]!.frozen;
  expect([veraA!.shape, veraB!.shape]).toEqual([
    [24, dIn],
    [dOut, 24],
  ]);
  const most = (values: Float32Array) => values.reduce((found, value) => Math.max(found, Math.abs(value)), 0);
  expect(most(veraA!.data())).toBeLessThanOrEqual(Math.fround(Math.sqrt(6 / dIn)));
  expect(most(veraB!.data())).toBeLessThanOrEqual(Math.fround(Math.sqrt(6 / 24)));
  expect(most(veraA!.data())).toBeGreaterThan(0.99 * Math.sqrt(6 / dIn));
});

it("adds b ⊙ B[: dOut] (d ⊙ A[:, : dIn] x), also at sites smaller than the pair", async () => {
  const h = await harness("vera", { options, targetModules });
  perturb(h.adaptation, 0.2);
  const widest = h.adaptation.sites[0]!.frozen["veraA"]!.shape[1]!;
  for (const state of h.adaptation.sites.slice(0, 3)) {
    const { dIn, dOut } = state.site;
    const x = gaussians(4 * dIn, 1, randomStream(2));
    const [a, b] = [state.frozen["veraA"]!.data(), state.frozen["veraB"]!.data()];
    const inner = timesRows(
      x,
      Float32Array.from({ length: 24 * dIn }, (_, i) => a[Math.floor(i / dIn) * widest + (i % dIn)]!),
      24,
      dIn,
    ).map((value, i) => value * state.trained["lambdaD"]!.data[i % 24]!);
    const expected = timesRows(inner, b, dOut, 24).map((value, i) => value * state.trained["lambdaB"]!.data[i % dOut]!);
    expect(relativeError(await siteDelta(h, state, x), expected)).toBeLessThan(rounding);
    expect(relativeError(timesRows(x, denseProduct(h.adaptation.method!.deltaWeight(state, h.adaptation.options)), dOut, dIn), expected)).toBeLessThan(
      rounding,
    );
  }
});

it("gives other projections for another key, and the same for the same", () => {
  const of = (key: number) => veraProjections(key, 4, 8, 6);
  expect(of(1)).toEqual(of(1));
  expect(of(1).a).not.toEqual(of(2).a);
  expect(of(2 ** 32 + 1)).toEqual(of(1)); // PyTorch seeds with the low 32 bits
});

describe("a file without projections", () => {
  it("opens with the logits of the file that has them, and is smaller by their size", async () => {
    const logits: Float32Array[] = [];
    const sizes: number[] = [];
    for (const saveProjection of [true, false]) {
      const h = await harness("vera", { options: { ...options, projectionKey: 5, saveProjection }, targetModules });
      perturb(h.adaptation, 0.3);
      const batch = randomBatch(h.model, { positions: 6 });
      const folder = join(temporaryDir(), "adapter");
      saveAdaptation(folder, h.adaptation);
      sizes.push(
        [...parseSafetensors(readFileSync(join(folder, "adapter_model.safetensors"))).tensors.values()].reduce((sum, { data }) => sum + data.length, 0),
      );
      logits.push((await openedLogits(h.model, folder, batch)).logits);
      expect(relativeError(logits.at(-1)!, (await h.programs.logitsAt(batch, lastPlaces(batch))).data)).toBeLessThan(1e-4);
    }
    expect(relativeError(logits[0]!, logits[1]!)).toBeLessThan(rounding);
    expect(sizes[0]! - sizes[1]!).toBe(24 * (128 + 96));
  });
});

describe("files that cannot be opened are refused with what is wrong", () => {
  const source = join(referenceDir, "training", "gpt2-vera");
  const model = loadModel(join(referenceDir, "families", "gpt2"));
  function altered(fields: object, from = source): string {
    const folder = join(temporaryDir(), "vera");
    mkdirSync(folder);
    const config = JSON.parse(readFileSync(join(from, "adapter_config.json"), "utf8")) as object;
    writeFileSync(join(folder, "adapter_config.json"), JSON.stringify({ ...config, ...fields }));
    copyFileSync(join(from, "adapter_model.safetensors"), join(folder, "adapter_model.safetensors"));
    return folder;
  }

  it("opens unaltered", () => expect(loadAdapter(altered({}), "a", model).sites.size).toBe(6));
  it("trained biases", () => expect(() => loadAdapter(altered({ bias: "vera_only" }), "a", model)).toThrow(/"bias" is "vera_only"/));
  it("another rank", () => expect(() => loadAdapter(altered({ r: 8 }), "a", model)).toThrow(/vera_A is \[20, 32\], of rank 20; .* rank 8/));
  it("projections that the config promises and the file lacks", () => {
    expect(() => loadAdapter(altered({ save_projection: true }, join(referenceDir, "training", "gpt2-vera-unsaved")), "a", model)).toThrow(
      /there is no vera_A/,
    );
  });
  it("no base", () => expect(() => loadAdapter(altered({}), "a", null)).toThrow(/needs its base/));
  it("a field that nobody knows", () => expect(() => loadAdapter(altered({ vera_gate: 3 }), "a", model)).toThrow(/"vera_gate"/));
});
