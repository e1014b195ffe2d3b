/** Training beside PEFT and PyTorch: gradients, ten steps of AdamW, and files that both read. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { TrainingName } from "../../server/adapters/registry.ts";
import type { SiteState } from "../../server/adapters/method.ts";
import { veraProjections } from "../../server/adapters/vera.ts";
import { parseSafetensors } from "../../server/formats/safetensors.ts";
import { openSubject } from "../../server/runs/subject.ts";
import { randomStream } from "../../server/linalg/random.ts";
import { mersenneTwister } from "../../server/linalg/torchRandom.ts";
import { siteKey, trainedTensors } from "../../server/training/adaptation.ts";
import type { Batch } from "../../server/data/example.ts";
import { AdamW } from "../../server/training/optimizer.ts";
import { parameterRules } from "../../server/training/parameterRules.ts";
import { saveAdaptation } from "../../server/training/saveAdaptation.ts";
import { learningRateAt } from "../../server/training/schedule.ts";
import { lossWeight } from "../../server/training/lossRows.ts";
import { optimizerParams } from "../../server/training/trainingParams.ts";
import { readGolden, referenceDir, relativeError, type Golden } from "./goldens.ts";
import { harness, temporaryDir, type Harness } from "./methods/harness.ts";
import { lawEngine } from "../lawEngine.ts";

const folder = join(referenceDir, "training");
const names = readdirSync(folder, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));

/** Two float32 programs of the same sums in another order; the largest difference found is 3.6e-6. */
const gradientTolerance = 1e-4;
/** Largest found: 1.3e-6. */
const lossTolerance = 1e-5;
/** AdamW divides by √v, which enlarges the rounding of small gradients; the largest found after ten steps is 1.8e-5. */
const weightTolerance = 1e-4;
const logitTolerance = 1e-4;

const targets: Readonly<Record<string, string[]>> = { gpt2: ["c_attn", "c_fc"], llama: ["q_proj", "down_proj"] };
const low = { rank: 4, alpha: 8 };
const options: Readonly<Record<string, object>> = {
  lora: low,
  rslora: low,
  dora: low,
  pissa: { rank: 3, alpha: 6 },
  hira: { rank: 3 },
  vera: { rank: 20, projectionKey: 7 },
  "vera-unsaved": { rank: 12, projectionKey: 4294967291, saveProjection: false },
  adalora: { initRank: 6, targetRank: 3, alpha: 12, tinit: 2, tfinal: 2, deltaT: 2 },
};
/** PEFT's name of each trained tensor, in the model and not in the file. */
const suffixes: Readonly<Record<string, string>> = {
  loraA: "lora_A.weight",
  loraB: "lora_B.weight",
  magnitude: "lora_magnitude_vector.weight",
  lambdaB: "vera_lambda_b",
  lambdaD: "vera_lambda_d",
  loraE: "lora_E",
};

function peftName(method: string, { site }: SiteState, parameter: string): string {
  if (method === "hira") return `${site.modulePath}.${parameter.replace("lora", "hira_")}`;
  const suffix = suffixes[parameter]!;
  return `${site.modulePath}.${method === "adalora" ? suffix.replace(".weight", "") : suffix}`;
}

/** The method at the numbers that PEFT began with. */
async function begun(name: string): Promise<{ h: Harness; golden: Golden; method: TrainingName }> {
  const golden = readGolden("training", name, "golden.safetensors");
  const family = golden.metadata["base"]!;
  const method = golden.metadata["method"] as TrainingName;
  const h = await harness(method, { family, options: options[name.slice(family.length + 1)]!, targetModules: targets[family]! });
  for (const state of h.adaptation.sites) {
    for (const [parameter, { data }] of Object.entries(state.trained)) data.set(golden.floats(`initial.${peftName(method, state, parameter)}`));
    if (method !== "pissa") continue;
    state.frozen["startA"]!.data().set(state.trained["loraA"]!.data);
    state.frozen["startB"]!.data().set(state.trained["loraB"]!.data);
  }
  return { h, golden, method };
}

function batchOf(golden: Golden, index: number): Batch {
  const [rows, positions] = golden.shape(`tokens.${index}`) as [number, number];
  const lossWeights = golden.floats(`weights.${index}`);
  const last = Int32Array.from(
    { length: rows },
    (_, row) => lossWeights.subarray(row * positions, (row + 1) * positions).findLastIndex((weight) => weight > 0) + 1,
  );
  const ints = (name: string) => Int32Array.from(golden.ids(`${name}.${index}`).flat());
  return { rows, positions, tokens: ints("tokens"), targets: ints("targets"), lossWeights, last, labels: new Int32Array(rows), tasks: new Int32Array(rows) };
}

async function lossAndGradients({ programs }: Harness, batch: Batch) {
  return programs.lossAndGradients({ batch, scale: 1 / lossWeight(batch, false), penaltyScale: 1, dropout: 0, labelSmoothing: 0, random: randomStream(0) });
}

/** The steps that make.py took. */
async function trained(h: Harness, golden: Golden): Promise<{ losses: number[]; penalties: number[]; norms: number[]; ranks: number[][] }> {
  const { metadata } = golden;
  const totalSteps = Number(metadata["steps"]);
  const settings = optimizerParams.parse({
    learningRate: Number(metadata["learning_rate"]),
    schedule: "linear",
    warmupSteps: Number(metadata["warmup"]),
    weightDecay: Number(metadata["weight_decay"]),
    clipNorm: Number(metadata["clip"]),
  });
  const optimizer = new AdamW(settings, parameterRules(h.adaptation));
  const { method, options: chosen, sites } = h.adaptation;
  const seen = { losses: [] as number[], penalties: [] as number[], norms: [] as number[], ranks: [] as number[][] };
  for (let step = 1; step <= totalSteps; step++) {
    const { loss, penalty, gradients } = await lossAndGradients(h, batchOf(golden, (step - 1) % 2));
    seen.losses.push(loss);
    seen.penalties.push(penalty);
    const unclipped = Object.fromEntries(Object.entries(gradients).map(([key, values]) => [key, values.slice()]));
    seen.norms.push(optimizer.update(trainedTensors(h.adaptation), gradients, learningRateAt(step - 1, totalSteps, settings)));
    method!.afterStep?.({
      options: chosen,
      step,
      totalSteps,
      sites,
      gradient: (site, parameter) => unclipped[siteKey(site, parameter)]!,
      random: () => randomStream(0),
    });
    if (golden.names.includes("ranks")) seen.ranks.push(sites.map(({ trained: held }) => held["loraE"]!.data.filter((energy) => energy !== 0).length));
  }
  return seen;
}

async function logitsOf(family: string, path: string, golden: Golden): Promise<{ logits: Float32Array; warnings: readonly string[] }> {
  const subject = await openSubject({ model: join(referenceDir, "families", family), adapters: [{ path, name: "a", strength: 1 }] }, { engine: lawEngine });
  const { logits } = await subject.runner!.forward({ tokens: golden.ids("ids"), settings: [subject.setting], logits: "all" });
  return { logits: logits!.data, warnings: subject.adapters[0]!.warnings };
}

it("there is a reference for every method that PEFT has, on both families", () => {
  expect(names).toEqual(
    Object.keys(targets)
      .flatMap((family) => Object.keys(options).map((method) => `${family}-${method}`))
      .sort(),
  );
});

describe.each(names)("%s", (name) => {
  it("has PyTorch's gradients at the start", async () => {
    const { h, golden, method } = await begun(name);
    const { gradients } = await lossAndGradients(h, batchOf(golden, 0));
    for (const state of h.adaptation.sites) {
      for (const parameter of Object.keys(state.trained)) {
        const expected = golden.floats(`gradient.${peftName(method, state, parameter)}`);
        expect(relativeError(gradients[siteKey(state.site.name, parameter)]!, expected), `${state.site.name} ${parameter}`).toBeLessThan(gradientTolerance);
      }
    }
  });

  it("loses what PyTorch loses, and arrives where it arrives, in ten steps of AdamW", async () => {
    const { h, golden, method } = await begun(name);
    const { losses, penalties, norms, ranks } = await trained(h, golden);
    expect(relativeError(Float32Array.from(losses), golden.floats("losses"))).toBeLessThan(lossTolerance);
    expect(relativeError(Float32Array.from(norms), golden.floats("norms"))).toBeLessThan(gradientTolerance);
    if (method === "adalora") {
      expect(relativeError(Float32Array.from(penalties), golden.floats("penalties"))).toBeLessThan(lossTolerance);
      expect(ranks).toEqual(golden.ids("ranks"));
    }
    for (const state of h.adaptation.sites) {
      for (const [parameter, { data }] of Object.entries(state.trained)) {
        const key = peftName(method, state, parameter);
        expect(relativeError(data, golden.floats(`final.${key}`)), key).toBeLessThan(weightTolerance);
      }
    }
  });

  it("writes the tensors that PEFT writes, and the file gives PEFT's logits", async () => {
    const { h, golden } = await begun(name);
    await trained(h, golden);
    const ours = join(temporaryDir(), "adapter");
    saveAdaptation(ours, h.adaptation);
    const read = (path: string) => parseSafetensors(readFileSync(join(path, "adapter_model.safetensors"))).tensors;
    const [written, expected] = [read(ours), read(join(folder, name))];
    expect([...written.keys()].sort()).toEqual([...expected.keys()].sort());
    for (const [key, tensor] of expected) {
      expect(written.get(key)!.shape, key).toEqual(tensor.shape);
      if (tensor.data.length > 0)
        expect(relativeError(Float32Array.from(written.get(key)!.data), Float32Array.from(tensor.data)), key).toBeLessThan(weightTolerance);
    }
    const { logits, warnings } = await logitsOf(golden.metadata["base"]!, ours, golden);
    expect(warnings).toEqual([]);
    expect(relativeError(logits, golden.floats("logits"))).toBeLessThan(logitTolerance);
  });

  it("opens as PEFT wrote it, with PEFT's logits", async () => {
    const golden = readGolden("training", name, "golden.safetensors");
    const { logits, warnings } = await logitsOf(golden.metadata["base"]!, join(folder, name), golden);
    expect(warnings).toEqual([]);
    expect(relativeError(logits, golden.floats("logits"))).toBeLessThan(logitTolerance);
    expect(relativeError(golden.floats("base"), golden.floats("logits"))).toBeGreaterThan(100 * logitTolerance);
  });
});

it("a key gives the projections that PyTorch's generator gives, bit for bit", () => {
  const golden = readGolden("training", "projections.safetensors");
  for (const name of golden.names.filter((key) => key.endsWith(".a"))) {
    const [key, rank, wide, tall] = name.split(".").map(Number) as [number, number, number, number];
    const { a, b } = veraProjections(key, rank, wide, tall);
    expect(a).toEqual(golden.floats(name));
    expect(b).toEqual(golden.floats(name.replace(/a$/, "b")));
  }
});

it("the generator is MT19937: the 10000th number after seed 5489 is 4123659995", () => {
  // The value that the C++ standard requires of std::mt19937, ISO/IEC 14882, [rand.predef].
  const next = mersenneTwister(5489);
  for (let i = 1; i < 10_000; i++) next();
  expect(next()).toBe(4123659995);
});
