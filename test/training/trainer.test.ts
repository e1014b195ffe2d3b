/** The loop itself: what it repeats exactly, where it stops, and what it refuses. */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadModel } from "../../server/models/loadModel.ts";
import { sharedEngine } from "../../server/runs/subject.ts";
import { randomStream } from "../../server/linalg/random.ts";
import { trainedTensors } from "../../server/training/adaptation.ts";
import { BatchPlan } from "../../server/data/batches.ts";
import { AdamW } from "../../server/training/optimizer.ts";
import { parameterRules } from "../../server/training/parameterRules.ts";
import { trainStep } from "../../server/training/trainStep.ts";
import { checkpointAdapter, checkpointDir, checkpointSteps, engineBegunOn } from "../../server/training/checkpoint.ts";
import type { Dataset, Example } from "../../server/data/example.ts";
import { Trainer, type TrainingEvent } from "../../server/training/trainer.ts";
import { trainingPlan } from "../../server/training/trainingPlan.ts";
import { trainingParams, type TrainingParams } from "../../server/training/trainingParams.ts";
import { referenceDir } from "../laws/goldens.ts";
import { temporaryDir } from "../laws/methods/harness.ts";
import { lawEngine } from "../lawEngine.ts";

const model = loadModel(join(referenceDir, "families", "gpt2"));

/** Sequences that count upward by one, from a random start and of random length. */
function counting(count: number, seed: number, labels = 0): Example[] {
  const random = randomStream(seed, "counting");
  return Array.from({ length: count }, (_, i) => {
    const length = 4 + random.below(9);
    const start = random.below(80);
    const tokens = Int32Array.from({ length }, (_, p) => (start + p) % model.config.dVocab);
    return { tokens, lossWeights: new Float32Array(length).fill(1, 1), label: labels === 0 ? null : start < 40 ? 0 : 1, task: i % 2 };
  });
}
const dataset: Dataset = { train: counting(40, 1), validation: counting(9, 2), labels: [], tasks: ["all"], cut: 0 };

const params = (given: object = {}): TrainingParams =>
  trainingParams.parse({
    options: { rank: 4 },
    data: { path: "none" },
    sites: { targetModules: ["c_attn", "c_fc"] },
    batchSize: 4,
    steps: 12,
    checkpointEvery: 4,
    evaluateEvery: 6,
    optimizer: { learningRate: 0.01, warmupSteps: 2 },
    ...given,
  });

async function trainer(given: object, folder: string, data = dataset): Promise<Trainer> {
  const made = new Trainer({ model, params: params(given), dataset: data, engine: await sharedEngine({ engine: lawEngine }), folder });
  await made.prepare();
  return made;
}

async function events(made: Trainer, until: (event: TrainingEvent) => boolean = () => false, isPaused = () => false): Promise<TrainingEvent[]> {
  const seen: TrainingEvent[] = [];
  for await (const event of made.run(new AbortController().signal, isPaused)) {
    seen.push(event);
    if (until(event)) break;
  }
  return seen;
}

const numbers = (made: Trainer) => trainedTensors(made.adaptation).map(({ key, tensor }) => [key, Buffer.from(tensor.data.slice().buffer).toString("hex")]);

describe("a run", () => {
  it("lowers the loss, evaluates, and writes checkpoints at the steps it was told", async () => {
    const folder = temporaryDir();
    const seen = await events(await trainer({ steps: 60, checkpointEvery: 20, evaluateEvery: 30, optimizer: { learningRate: 0.02 } }, folder));
    const evaluations = seen.filter((event) => event.type === "evaluation");
    expect(evaluations.map(({ step }) => step)).toEqual([0, 30, 60]);
    expect(evaluations[2]!.loss).toBeLessThan(evaluations[0]!.loss - 0.5);
    expect(checkpointSteps(folder)).toEqual([20, 40, 60]);
    expect(seen.at(-1)).toEqual({ type: "ended", step: 60, reason: "finished" });
  });

  it("is a loop around one function: the same steps by hand give the same numbers, bit for bit", async () => {
    const given = { dropout: 0.1, accumulate: 2, checkpointEvery: 100 };
    const looped = await trainer(given, temporaryDir());
    const seen = (await events(looped)).filter((event) => event.type === "step");

    const byHand = await trainer(given, temporaryDir());
    const settings = params(given);
    const { adaptation, programs, plan } = byHand;
    const optimizer = new AdamW(settings.optimizer, parameterRules(adaptation));
    const batches = new BatchPlan(dataset.train, { batchSize: 4, seed: settings.seed, shuffle: settings.data.shuffle, nCtx: model.config.nCtx });
    for (let step = 0; step < plan.totalSteps; step++) {
      const pair = [batches.at(2 * step), batches.at(2 * step + 1)];
      const { loss, gradientNorm } = await trainStep(programs, pair, { step, totalSteps: plan.totalSteps, optimizer }, settings, new AbortController().signal);
      expect({ loss, gradientNorm }).toEqual({ loss: seen[step]!.loss, gradientNorm: seen[step]!.gradientNorm });
    }
    expect(numbers(byHand)).toEqual(numbers(looped));
    expect(byHand.step).toBe(0);
  });

  it("gives the same numbers, bit for bit, from the same seed, and others from another", async () => {
    const [first, second, other] = [
      await trainer({ dropout: 0.1 }, temporaryDir()),
      await trainer({ dropout: 0.1 }, temporaryDir()),
      await trainer({ dropout: 0.1, seed: 1 }, temporaryDir()),
    ];
    for (const made of [first, second, other]) await events(made);
    expect(numbers(second)).toEqual(numbers(first));
    expect(numbers(other)).not.toEqual(numbers(first));
  });

  it.each([
    { method: "lora" },
    { method: "lora", dropout: 0.2, accumulate: 2 },
    { method: "full", options: {} },
    { method: "ipa", options: { rank: 4 } },
    { method: "tera", options: {} },
    { method: "ssvd", options: { map: "strict", k: 4, gate: true } },
  ])("goes on from a checkpoint to the same numbers, bit for bit (%o)", async (given) => {
    const [whole, torn] = [temporaryDir(), temporaryDir()];
    const undisturbed = await trainer(given, whole);
    await events(undisturbed);
    // As a kill leaves it: two steps past the checkpoint of step 4, and a checkpoint half written.
    await events(await trainer(given, torn), (event) => event.type === "step" && event.step === 6);
    cpSync(checkpointDir(torn, 4), `${checkpointDir(torn, 8)}.tmp`, { recursive: true });
    const resumed = await trainer(given, torn);
    expect(resumed.step).toBe(4);
    await events(resumed);
    expect(numbers(resumed)).toEqual(numbers(undisturbed));
    const file = given.method === "full" ? "model.safetensors" : "adapter_model.safetensors";
    expect(readFileSync(join(checkpointAdapter(torn, 12), file)).equals(readFileSync(join(checkpointAdapter(whole, 12), file)))).toBe(true);
  });

  it("pauses with a checkpoint between two steps and goes on", async () => {
    const folder = temporaryDir();
    let steps = 0;
    const paused = await events(await trainer({}, folder), undefined, () => steps++ === 3);
    expect(paused.slice(-2)).toEqual([
      { type: "checkpoint", step: 3 },
      { type: "ended", step: 3, reason: "paused" },
    ]);
    const [whole, resumed] = [await trainer({}, temporaryDir()), await trainer({}, folder)];
    await events(whole);
    await events(resumed);
    expect(numbers(resumed)).toEqual(numbers(whole));
  });

  it("branches from a checkpoint with another learning rate, leaving the first run as it was", async () => {
    const folder = temporaryDir();
    await events(await trainer({}, folder));
    const before = readFileSync(join(checkpointAdapter(folder, 8), "adapter_model.safetensors"));
    const branch = await trainer({ startFrom: { folder, step: 8 }, optimizer: { learningRate: 0.1 } }, temporaryDir());
    expect(branch.step).toBe(8);
    const seen = await events(branch);
    expect(seen.filter((event) => event.type === "step").map(({ step }) => step)).toEqual([9, 10, 11, 12]);
    expect(readFileSync(join(checkpointAdapter(folder, 8), "adapter_model.safetensors")).equals(before)).toBe(true);
  });

  it("writes down the engines that it was trained on, for a run that goes on or branches to be given the last of them", async () => {
    const [folder, branch] = [temporaryDir(), temporaryDir()];
    expect(engineBegunOn(folder, { startFrom: null })).toBeNull();
    const first = await trainer({}, folder);
    await events(first, undefined, () => first.step === 5);
    expect(engineBegunOn(folder, {})).toBe(lawEngine);
    expect(engineBegunOn(branch, { startFrom: { folder, step: 4 } })).toBe(lawEngine);
    expect(engineBegunOn(branch, { startFrom: { folder, step: 3 } })).toBeNull();
    expect((await trainer({}, folder)).engines).toEqual([lawEngine]);

    const file = join(checkpointDir(folder, 5), "state.json");
    const state = JSON.parse(readFileSync(file, "utf8")) as object;
    writeFileSync(file, JSON.stringify({ ...state, engines: ["another"] }));
    const other = await trainer({}, folder);
    await events(other);
    expect(other.engines).toEqual(["another", lawEngine]);
    expect(engineBegunOn(folder, {})).toBe(lawEngine);
    expect((await trainer({}, folder)).engines).toEqual(["another", lawEngine]);

    // As checkpoints were before they named their engines.
    const { engines: _engines, ...older } = { engines: [], ...state };
    writeFileSync(file, JSON.stringify(older));
    cpSync(checkpointDir(folder, 5), checkpointDir(branch, 5), { recursive: true });
    expect(engineBegunOn(branch, {})).toBeNull();
    expect((await trainer({}, branch)).engines).toEqual([lawEngine]);
  });

  it("adds gradients over passes to what one larger batch gives", async () => {
    // Lengths alike and unshuffled, so that four rows in one pass are the rows of two passes.
    const data: Dataset = {
      ...dataset,
      train: counting(40, 1).map((example) => ({ ...example, tokens: example.tokens.slice(0, 4), lossWeights: example.lossWeights.slice(0, 4) })),
    };
    const given = { data: { path: "none", shuffle: false }, steps: 5 };
    const [one, two] = [
      await trainer({ ...given, batchSize: 4 }, temporaryDir(), data),
      await trainer({ ...given, batchSize: 2, accumulate: 2 }, temporaryDir(), data),
    ];
    await events(one);
    await events(two);
    const [a, b] = [one, two].map((made) => trainedTensors(made.adaptation).flatMap(({ tensor }) => [...tensor.data]));
    a!.forEach((value, i) => expect(Math.abs(value - b![i]!)).toBeLessThan(2e-4));
  });

  it("stops when the held-out loss no longer falls", async () => {
    const seen = await events(await trainer({ steps: 200, evaluateEvery: 2, patience: 3, optimizer: { learningRate: 1e-12 } }, temporaryDir()));
    const end = seen.at(-1)!;
    expect(end).toMatchObject({ type: "ended", reason: "patience" });
    expect(end.step).toBeLessThan(200);
  });

  it("learns a classification with a head of its own", async () => {
    const data: Dataset = { train: counting(60, 3, 2), validation: counting(20, 4, 2), labels: ["low", "high"], tasks: ["all"], cut: 0 };
    const folder = temporaryDir();
    const seen = await events(await trainer({ steps: 60, optimizer: { learningRate: 0.02 } }, folder, data));
    const accuracies = seen.flatMap((event) => (event.type === "evaluation" ? [event.accuracy] : []));
    expect(accuracies.at(-1)!).toBeGreaterThan(0.85);
    const config = JSON.parse(readFileSync(join(checkpointAdapter(folder, 60), "adapter_config.json"), "utf8")) as object;
    expect(config).toMatchObject({ task_type: "SEQ_CLS", modules_to_save: ["score"] });
  });

  it.each([
    { warmupSteps: 0, written: [1], kept: "no checkpoint has a finite loss" },
    { warmupSteps: 2, written: [1, 2], kept: "the last checkpoint with a finite loss is of step 1" },
  ])("stops at a loss that is no number, says where, and names no checkpoint whose own weights gave it (%o)", async ({ warmupSteps, written, kept }) => {
    const folder = temporaryDir();
    const optimizer = { learningRate: 1e30, clipNorm: null, warmupSteps, schedule: "constant" };
    const made = await trainer({ optimizer, checkpointEvery: 1 }, folder);
    await expect(events(made)).rejects.toThrow(new RegExp(`step \\d+: loss is NaN; the first place that is not finite is .+; ${kept}\\. Try`));
    expect(checkpointSteps(folder)).toEqual(written);
  });

  it.each([
    [{ lora_b: 16 }, {}, /optimizer\.rates: "lora_b" is none of the run's parameters; .*loraB/],
    [{ score: 2 }, {}, /"score" is none of the run's parameters/],
    [{ gates: 2 }, { method: "l1ra" }, /"gates" has a constant rate of its own, 0\.02/],
    [{ loraB: 2 }, { method: "full", options: {} }, /"loraB" is none of the run's parameters; .*base/],
  ])("refuses rates that would act on nothing (%o %o)", async (rates, given, message) => {
    await expect(trainer({ ...given, optimizer: { rates } }, temporaryDir())).rejects.toThrow(message);
  });

  it.each([
    [{ steps: null, epochs: 1e6, accumulate: 1 }, 100, /1000000 of 100 batches are 100000000 steps; expected at most 10,000,000/],
    [{ steps: null, epochs: 3, accumulate: 4096 }, 10, /accumulate is 4096, and 3 epochs of 10 batches have 30 forward passes in all; expected at most 30/],
  ])("refuses a length that never ends (%o)", (given, batches, message) => {
    expect(() => trainingPlan(params(given), batches)).toThrow(message);
    expect(() => params({ epochs: 1e300 })).toThrow(/epochs/);
    expect(trainingPlan(params({ steps: null, epochs: 3, accumulate: 4 }), 10).totalSteps).toBe(8);
  });

  it("refuses a checkpoint of another method or model", async () => {
    const folder = temporaryDir();
    await events(await trainer({}, folder));
    await expect(trainer({ method: "rslora" }, folder)).rejects.toThrow(/method "lora"; expected "rslora"/);
    await expect(trainer({ options: { rank: 4 }, sites: { targetModules: ["c_attn"] } }, folder)).rejects.toThrow(/has no place in this run/);
    await expect(trainer({ startFrom: { folder, step: 5 } }, temporaryDir())).rejects.toThrow(/no checkpoint of step 5; there are 4, 8, 12/);
  });

  it("refuses sites and options that the model does not have", async () => {
    await expect(trainer({ sites: { targetModules: ["c_atn"] } }, temporaryDir())).rejects.toThrow(/"c_atn" is no linear map.*c_attn/);
    await expect(trainer({ options: { rank: 1000 } }, temporaryDir())).rejects.toThrow(/rank is 1000/);
    await expect(trainer({ method: "lorra" }, temporaryDir())).rejects.toThrow(/no method is called "lorra".*lora/);
    await expect(trainer({ sites: { targetModules: ["c_attn"], layers: [7] } }, temporaryDir())).rejects.toThrow(/7 is not a layer/);
  });
});
