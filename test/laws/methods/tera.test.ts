/** TeRA: the start, rank beside the number of trained vectors, sharing, multilinearity, and every reading through training, merge and files. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { teraTraining } from "../../../server/adapters/tera.ts";
import { modesOf, readings } from "../../../server/adapters/teraNetwork.ts";
import type { SiteState, TrainingSite } from "../../../server/adapters/method.ts";
import { parseSafetensors } from "../../../server/formats/safetensors.ts";
import { denseProduct, singularValues, type FactoredMatrix } from "../../../server/linalg/factored.ts";
import { float32, sizeOf } from "../../../server/tensors/hostTensor.ts";
import { randomStream } from "../../../server/linalg/random.ts";
import { trainedCount } from "../../../server/training/adaptation.ts";
import { saveAdaptation } from "../../../server/training/saveAdaptation.ts";
import { relativeError } from "../goldens.ts";
import { adaptedModel, baseLogits, harness, lastPlaces, lossOf, openedLogits, perturb, randomBatch, temporaryDir, train } from "./harness.ts";
import { taskRun } from "./taskRun.ts";

/** The factors of ΔW are float32. */
const float32Tolerance = 1e-5;
/** Beside the largest singular value: those of random matrices of 64 rows go down to 1e-4, and zeros of products are below 1e-8. */
const vanishing = 1e-7;

const site = (dOut: number, dIn: number, name = "a"): TrainingSite => ({
  name,
  layer: 0,
  modulePath: name,
  dIn,
  dOut,
  stored: "outIn",
  baseWeight: { key: name, shape: [dOut, dIn], data: () => new Float32Array(dOut * dIn) },
});

function stateOf(where: TrainingSite, options: unknown, seed = 1): SiteState {
  return {
    site: where,
    ...teraTraining.start(where, { options, random: (...labels) => randomStream(seed, ...labels), runKey: "run", tasks: ["all"], allSites: [where] }),
  };
}

function randomVectors(state: SiteState): void {
  for (const [name, { data }] of Object.entries(state.trained)) {
    const random = randomStream(5, name);
    data.forEach((_, i) => (data[i] = (i % 2 === 0 ? 1 : -1) * (0.5 + random.uniform())));
  }
}

const rankOf = (matrix: FactoredMatrix): number => {
  const s = singularValues(matrix);
  return s.filter((value) => value > vanishing * s[0]!).length;
};
const sum = (a: Float32Array, b: Float32Array): Float32Array => a.map((value, i) => value + b[i]!);

describe.each(readings)("%s", (reading) => {
  const options = teraTraining.parseOptions({ reading, modes: 2, modeRank: 3 });

  it("starts at ΔW = 0 with a gradient for the one zero vector and none for the others (property 1)", async () => {
    const h = await harness("tera", { options: { reading } });
    for (const state of h.adaptation.sites) {
      expect(Math.max(...denseProduct(teraTraining.deltaWeight(state, h.adaptation.options)).map(Math.abs))).toBe(0);
      expect(Object.values(state.trained).filter(({ data }) => data.every((value) => value === 0))).toHaveLength(1);
    }
    const { gradients } = await lossOf(h, randomBatch(h.model));
    for (const [key, values] of Object.entries(gradients)) {
      if (key.endsWith("/d1")) expect(Math.hypot(...values), key).toBeGreaterThan(0);
      else
        expect(
          values.every((value) => value === 0),
          key,
        ).toBe(true);
    }
  });

  it("is linear in each vector, and each entry of a vector is a slice of its own (property 4)", () => {
    const state = stateOf(site(24, 20), options);
    randomVectors(state);
    const whole = denseProduct(teraTraining.deltaWeight(state, options));
    for (const { data } of Object.values(state.trained)) {
      const saved = data.slice();
      data.forEach((value, i) => (data[i] = -2.5 * value));
      expect(
        relativeError(
          denseProduct(teraTraining.deltaWeight(state, options)),
          whole.map((value) => -2.5 * value),
        ),
      ).toBeLessThan(float32Tolerance);
      data.set(saved);
      data[1] = 0;
      const without = denseProduct(teraTraining.deltaWeight(state, options));
      data.fill(0);
      data[1] = saved[1]!;
      const alone = denseProduct(teraTraining.deltaWeight(state, options));
      data.set(saved);
      expect(relativeError(sum(without, alone), whole)).toBeLessThan(float32Tolerance);
      expect(Math.hypot(...alone)).toBeGreaterThan(0.01 * Math.hypot(...whole));
    }
  });

  it("gives the same logits merged and from its file, which holds the vectors alone (properties 3 and 5)", async () => {
    const h = await harness("tera", {
      family: "llama",
      options: { reading, modes: 3, modeRank: reading === "gains" ? null : 3, scale: 0.5 },
      targetModules: ["q_proj", "down_proj"],
    });
    const batch = randomBatch(h.model, { positions: 6 });
    const frozen = () => h.adaptation.sites.flatMap((state) => Object.values(state.frozen).map((weight) => weight.data().slice()));
    const before = frozen();
    perturb(h.adaptation, 0.2);
    await train(h, batch, 3);
    expect(frozen()).toEqual(before);
    const trained = (await h.programs.logitsAt(batch, lastPlaces(batch))).data;
    expect(relativeError((await baseLogits(h.programs, batch)).data, trained)).toBeGreaterThan(1e-3);
    expect(relativeError((await baseLogits(adaptedModel(h), batch)).data, trained)).toBeLessThan(1e-4);
    const folder = join(temporaryDir(), "adapter");
    saveAdaptation(folder, h.adaptation);
    const { tensors } = parseSafetensors(readFileSync(join(folder, "adapter_model.safetensors")));
    expect([...tensors.values()].reduce((total, { shape }) => total + sizeOf(shape), 0)).toBe(trainedCount(h.adaptation));
    expect(relativeError((await openedLogits(h.model, folder, batch)).logits, trained)).toBeLessThan(1e-4);
  });
});

describe("rank (property 2)", () => {
  it.each([
    [8, 32, 64],
    [6, 24, 36],
    [4, 16, 16],
    [3, 12, 9],
  ])("64 × 64 in modes 8·8 | 8·8 of rank %i has %i trained numbers and an update of rank %i", (modeRank, count, rank) => {
    const options = teraTraining.parseOptions({ modes: 2, modeRank });
    const state = stateOf(site(64, 64), options);
    randomVectors(state);
    expect(teraTraining.parameterCount(state.site, options, 1)).toBe(count);
    expect(rankOf(teraTraining.deltaWeight(state, options))).toBe(rank);
  });

  it("falls by a mode's share when an entry of a vector is 0", () => {
    const options = teraTraining.parseOptions({ modes: 2, modeRank: 4 });
    const state = stateOf(site(64, 64), options);
    randomVectors(state);
    state.trained["d2"]!.data[3] = 0;
    expect(rankOf(teraTraining.deltaWeight(state, options))).toBe(12);
  });
});

describe("the frozen part", () => {
  it("is the same numbers under the same keys for weights of one shape, and others for another shape or seed (property 3)", async () => {
    const { adaptation } = await harness("tera");
    const [first, , third] = adaptation.sites as [SiteState, SiteState, SiteState];
    expect(third.site.name).not.toBe(first.site.name);
    expect([third.site.dIn, third.site.dOut]).toEqual([first.site.dIn, first.site.dOut]);
    for (const name of Object.keys(first.frozen)) {
      expect(third.frozen[name]!.key).toBe(first.frozen[name]!.key);
      expect(third.frozen[name]!.data()).toEqual(first.frozen[name]!.data());
    }
    const options = teraTraining.parseOptions({});
    const keys = [stateOf(site(64, 64), options), stateOf(site(64, 32), options), stateOf(site(64, 64), options, 2)].map(({ frozen }) => frozen["core"]!.key);
    expect(new Set(keys).size).toBe(3);
  });

  it("follows the seed that a checkpoint brings", () => {
    const options = teraTraining.parseOptions({});
    const [state, other] = [stateOf(site(64, 64), options, 1), stateOf(site(64, 64), options, 2)];
    expect(state.frozen["core"]!.data()).not.toEqual(other.frozen["core"]!.data());
    state.memory["seed"] = float32(other.memory["seed"]!.data.slice(), [1]);
    expect(state.frozen["core"]!.data()).toEqual(other.frozen["core"]!.data());
  });

  it("gives ΔW the variance 1/dIn when every vector is 1, whatever the ranks", () => {
    for (const modeRank of [4, 8, null]) {
      const options = teraTraining.parseOptions({ modes: 2, modeRank });
      const state = stateOf(site(144, 144), options);
      for (const { data } of Object.values(state.trained)) data.fill(1);
      const delta = denseProduct(teraTraining.deltaWeight(state, options));
      // Products of few Gaussians have heavy tails: the mean of 20 736 dependent squares is only this sure.
      expect((144 * delta.reduce((total, value) => total + value * value, 0)) / delta.length).toBeGreaterThan(0.4);
      expect((144 * delta.reduce((total, value) => total + value * value, 0)) / delta.length).toBeLessThan(2.5);
    }
  });

  it("with gains is the random core under row and column gains of Kronecker form", () => {
    const options = teraTraining.parseOptions({ reading: "gains", modes: 2 });
    const state = stateOf(site(6, 4), options);
    randomVectors(state);
    const [d1, d2, d3, d4] = ["d1", "d2", "d3", "d4"].map((name) => state.trained[name]!.data) as [Float32Array, Float32Array, Float32Array, Float32Array];
    const core = state.frozen["core"]!.data();
    const delta = denseProduct(teraTraining.deltaWeight(state, options));
    for (let o = 0; o < 6; o++)
      for (let i = 0; i < 4; i++) {
        expect(delta[o * 4 + i]).toBeCloseTo(d1[Math.floor(o / 3)]! * d2[o % 3]! * core[o * 4 + i]! * d3[Math.floor(i / 2)]! * d4[i % 2]!, 5);
      }
  });
});

describe("modes", () => {
  it("are the most even factors of a size", () => {
    expect(modesOf(4096, 3)).toEqual([16, 16, 16]);
    expect(modesOf(768, 2)).toEqual([24, 32]);
    expect(modesOf(768, 3)).toEqual([8, 8, 12]);
    expect(modesOf(97, 3)).toEqual([97]);
    expect(modesOf(12, 1)).toEqual([12]);
    expect(modesOf(1, 2)).toEqual([1]);
  });

  it("can be given for a size, and are refused with the site's name when they do not multiply to it", () => {
    const count = (factorisations: object) =>
      teraTraining.parameterCount(site(64, 64, "blocks.0.mlp.in"), teraTraining.parseOptions({ factorisations, modeRank: null }), 1);
    expect(count({ 64: [2, 32] })).toBe(68);
    expect(() => count({ 64: [8, 9] })).toThrow(/\[8, 9\] multiply to 72; expected 64, a side of "blocks.0.mlp.in"/);
  });

  it("that would need a core above the cap are refused, with its size", () => {
    const options = teraTraining.parseOptions({ modeRank: null, largestCore: 4000 });
    expect(() => teraTraining.parameterCount(site(64, 64), options, 1)).toThrow(
      /has 4,096 numbers; expected at most largestCore, 4,000: give a smaller modeRank/,
    );
  });
});

it("trained on new facts, lowers the held-out loss with updates whose rank is above their number of parameters", async () => {
  const { adaptation, parameters, before, after } = await taskRun(
    "facts",
    "tera",
    { modeRank: null },
    { steps: 40, learningRate: 2e-2, targetModules: ["c_attn"], seed: 1 },
  );
  expect(after).toBeLessThan(before - 1);
  expect(parameters).toBe(6 * 64);
  for (const state of adaptation.sites) {
    const count = teraTraining.parameterCount(state.site, adaptation.options, 1);
    const values = singularValues(teraTraining.deltaWeight(state, adaptation.options));
    // At a hundredth of the largest value a component is no rounding.
    expect(values.filter((value) => value > 1e-2 * values[0]!).length, state.site.name).toBeGreaterThan(count);
  }
}, 120_000);
