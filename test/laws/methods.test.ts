/** What holds for every method that can be trained. */
import { describe, expect, it } from "vitest";
import { join } from "node:path";
import { trainings, type TrainingName } from "../../server/adapters/registry.ts";
import { modelSites } from "../../server/models/modelSites.ts";
import { denseProduct } from "../../server/linalg/factored.ts";
import { parseSafetensors } from "../../server/formats/safetensors.ts";
import { readFileSync } from "node:fs";
import { saveAdaptation } from "../../server/training/saveAdaptation.ts";
import { trainedCount, trainedTensors } from "../../server/training/adaptation.ts";
import { adaptedModel, baseLogits, harness, lastPlaces, lossOf, openedLogits, perturb, randomBatch, temporaryDir, train } from "./methods/harness.ts";
import { relativeError } from "./goldens.ts";

/** Options under which a method is small enough for the tiny models; the defaults where they fit. */
const small: Partial<Record<TrainingName, object>> = { lora: { rank: 4, alpha: 8 }, rslora: { rank: 4, alpha: 8 }, vera: { rank: 24 }, hira: { rank: 4 } };
/** Parameters whose gradient leaves a path out on purpose; `methods/<method>.test.ts` holds them to what it says. */
const detached: Partial<Record<TrainingName, readonly string[]>> = { dora: ["loraA", "loraB"] };
const names = Object.keys(trainings) as TrainingName[];
const families = ["gpt2", "llama"] as const;
const targets = { gpt2: ["c_attn", "c_fc"], llama: ["q_proj", "down_proj"] };

const logitTolerance = 1e-4;
/** Central differences of a float32 loss: the step 1e-2 leaves about 1e-3 of rounding and curvature. */
const differenceTolerance = 2e-2;
/** Of the difference of two float32 losses near 5. */
const lossRounding = 1e-6;

describe.each(names)("%s", (name) => {
  const options = small[name] ?? {};

  it.each(families)("starts as the base (%s)", async (family) => {
    const h = await harness(name, { family, options, targetModules: targets[family] });
    const batch = randomBatch(h.model);
    const started = await h.programs.logitsAt(batch, lastPlaces(batch));
    const base = await baseLogits(h.programs, batch);
    expect(relativeError(started.data, base.data)).toBeLessThan(1e-5);
  });

  it("has as many parameters as its formula says", async () => {
    const { adaptation } = await harness(name, { options });
    const { method, sites } = adaptation;
    expect(sites).toHaveLength(6);
    expect(trainedCount(adaptation)).toBe(sites.reduce((sum, { site }) => sum + method!.parameterCount(site, adaptation.options, 1), 0));
  });

  it("starts alike from one seed and otherwise from another", async () => {
    const values = async (seed: number) => (await harness(name, { options, seed })).adaptation;
    const numbers = ({ sites }: Awaited<ReturnType<typeof values>>) =>
      sites.flatMap(({ trained, frozen }) => [
        ...Object.values(trained).flatMap(({ data }) => [...data]),
        ...Object.values(frozen).flatMap((weight) => [...weight.data().slice(0, 64)]),
      ]);
    expect(numbers(await values(3))).toEqual(numbers(await values(3)));
    if (["ssvd", "pissa", "vera"].includes(name)) return; // two begin at the SVD of W; VeRA's projections have a key of their own
    expect(numbers(await values(3))).not.toEqual(numbers(await values(4)));
  });

  it.each(families)("has the gradient that finite differences give (%s)", async (family) => {
    const h = await harness(name, { family, options, targetModules: targets[family] });
    perturb(h.adaptation, 0.05);
    const batch = randomBatch(h.model);
    const { gradients } = await lossOf(h, batch);
    for (const { key, parameter, tensor } of trainedTensors(h.adaptation)) {
      if (detached[name]?.includes(parameter)) continue;
      // Along the gradient itself the slope is its norm: one difference tests all numbers of the tensor.
      const gradient = gradients[key]!;
      const norm = Math.hypot(...gradient);
      if (norm < 1e-6) continue;
      const saved = tensor.data.slice();
      const step = Math.min(1e-2, 0.02 / norm);
      const lossAt = async (t: number) => {
        for (let i = 0; i < saved.length; i++) tensor.data[i] = saved[i]! + (t * gradient[i]!) / norm;
        return (await lossOf(h, batch)).loss;
      };
      const slope = ((await lossAt(step)) - (await lossAt(-step))) / (2 * step);
      tensor.data.set(saved);
      expect(Math.abs(slope - norm), `${key}: slope ${slope}, gradient ${norm}`).toBeLessThan(differenceTolerance * norm + lossRounding / step);
    }
  });

  it("gives the same logits merged into the base", async () => {
    const h = await harness(name, { options });
    perturb(h.adaptation, 0.1);
    const batch = randomBatch(h.model);
    const unmerged = await h.programs.logitsAt(batch, lastPlaces(batch));
    const base = await baseLogits(h.programs, batch);
    const merged = await baseLogits(adaptedModel(h), batch);
    expect(relativeError(merged.data, unmerged.data)).toBeLessThan(logitTolerance);
    expect(relativeError(base.data, unmerged.data)).toBeGreaterThan(10 * logitTolerance);
  });

  it("keeps ΔW as factors that multiply to the dense ΔW", async () => {
    const { adaptation } = await harness(name, { options });
    perturb(adaptation, 0.1);
    const { method, sites, options: parsed } = adaptation;
    for (const state of sites) {
      const product = denseProduct(method!.deltaWeight(state, parsed));
      const { dIn, dOut } = state.site;
      expect(product).toHaveLength(dIn * dOut);
      if (method!.denseDelta && !method!.beyondLowRank) expect(relativeError(product, method!.denseDelta(state, parsed))).toBeLessThan(1e-5);
    }
  });

  it.each(families)("opens from its folder with the same tensors and logits (%s)", async (family) => {
    const h = await harness(name, { family, options, targetModules: targets[family] });
    perturb(h.adaptation, 0.1);
    const batch = randomBatch(h.model, { positions: 6 });
    const folder = join(temporaryDir(), "adapter");
    saveAdaptation(folder, h.adaptation);
    const { tensors } = parseSafetensors(readFileSync(join(folder, "adapter_model.safetensors")));
    for (const [key, tensor] of h.adaptation.method!.save(h.adaptation.sites, h.adaptation.options, h.adaptation.tasks).tensors) {
      expect(tensors.get(key)!.data, key).toEqual(tensor.data);
    }
    const { logits, warnings } = await openedLogits(h.model, folder, batch);
    expect(relativeError(logits, (await h.programs.logitsAt(batch, lastPlaces(batch))).data)).toBeLessThan(logitTolerance);
    expect(warnings).toEqual([]);
  });

  it("lowers the loss on a batch that it sees again and again", async () => {
    const h = await harness(name, { options });
    const losses = await train(h, randomBatch(h.model), 25, { learningRate: 2e-2 });
    expect(losses.at(-1)!).toBeLessThan(losses[0]! - 0.02);
  });

  it("leaves the base and its frozen tensors as they were", async () => {
    const h = await harness(name, { options });
    const frozen = () =>
      h.adaptation.sites.flatMap(({ site, frozen: held }) => [site.baseWeight, ...Object.values(held)].map((weight) => weight.data().slice()));
    const before = frozen();
    await train(h, randomBatch(h.model), 3);
    expect(frozen()).toEqual(before);
  });

  it("refuses options it does not know, with the field's name", () => {
    expect(() => trainings[name].parseOptions({ ...options, rnk: 3 })).toThrow(/rnk/);
  });
});

it("every method says where it comes from and what of it is reconstructed", () => {
  for (const [name, { source, exactness, summary, isReconstructed }] of Object.entries(trainings)) {
    expect(source, name).toMatch(/arXiv|ACL|\d{4}/);
    expect(summary.length, name).toBeGreaterThan(20);
    expect(exactness.includes("reconstruct") || !isReconstructed, name).toBe(true);
  }
});

it("every site of a family can be trained", async () => {
  for (const family of families) {
    const h = await harness("lora", {
      family,
      options: { rank: 2 },
      targetModules:
        family === "gpt2" ? ["c_attn", "c_proj", "c_fc", "lm_head"] : ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"],
    });
    const all = modelSites(h.model.family, h.model.config).filter(({ kind }) => kind !== "embedding");
    expect(h.adaptation.sites.map(({ site }) => site.name)).toEqual(all.map(({ fullName }) => fullName));
    const { gradients } = await lossOf(h, randomBatch(h.model));
    for (const { site } of h.adaptation.sites) expect(Math.hypot(...gradients[`${site.name}/loraB`]!), site.name).toBeGreaterThan(0);
  }
});
