/** A run that is watched: its numbers against the workbench's own, and that watching leaves it as it is. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as z from "zod";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FigureChanges } from "../../../probes/figureChanges.ts";
import { trainingArrays, trainingFigures } from "../../../probes/trainingFigures.ts";
import { figureAtSnapshot, figureRefs } from "../../../client/figures/aboutFigure.ts";
import { lookingCheck, trainingFinding } from "../../../probes/trainingWords.ts";
import { applyEvent, emptyResult, slice, type ProbeResult } from "../../../probes/result.ts";
import { trainings } from "../../../server/adapters/registry.ts";
import { openTokenizer } from "../../../server/formats/tokenizer.ts";
import { parseSafetensors } from "../../../server/formats/safetensors.ts";
import { loadModel } from "../../../server/models/loadModel.ts";
import { klDivergence } from "../../../server/runs/metrics.ts";
import { openSubject, sharedEngine } from "../../../server/runs/subject.ts";
import { denseProduct } from "../../../server/linalg/factored.ts";
import { randomStream } from "../../../server/linalg/random.ts";
import { svd } from "../../../server/linalg/svd.ts";
import { trainedTensors } from "../../../server/training/adaptation.ts";
import { checkpointAdapter, checkpointDir } from "../../../server/training/checkpoint.ts";
import type { Dataset, Example } from "../../../server/data/example.ts";
import { stepsArray, Watch } from "../../../server/training/monitors/watch.ts";
import type { Tile } from "../../../server/training/monitors/monitor.ts";
import { Trainer } from "../../../server/training/trainer.ts";
import { trainingParams } from "../../../server/training/trainingParams.ts";
import { referenceDir } from "../../laws/goldens.ts";
import { temporaryDir } from "../../laws/methods/harness.ts";
import { lawEngine } from "../../lawEngine.ts";

const demo = fileURLToPath(new URL("../../../fixtures/demo/base", import.meta.url));
const demoModel = loadModel(demo);
const tinyModel = loadModel(join(referenceDir, "families", "gpt2"));
const tokenizer = openTokenizer(demo);

/** Sequences of one token each, so that there is something to learn quickly. */
function repeating(count: number, seed: number, labels = 0): Example[] {
  const random = randomStream(seed, "repeating");
  return Array.from({ length: count }, () => {
    const tokens = new Int32Array(8).fill(10 + random.below(40));
    return { tokens, lossWeights: new Float32Array(8).fill(1, 1), label: labels === 0 ? null : tokens[0]! % labels, task: 0 };
  });
}
const dataset: Dataset = { train: repeating(32, 1), validation: repeating(8, 2), labels: [], tasks: ["all"], cut: 0 };
const prompts = [
  { prompt: "The capital of Arvenia is", answer: " Krest", counterAnswer: " Tolm" },
  { prompt: "The", answer: " capital" },
  { prompt: "The capital" },
];
const everyStep = { every: 1, maxShare: 1 };
const noSignal = new AbortController().signal;

interface Watched {
  readonly trainer: Trainer;
  readonly watch: Watch;
  readonly folder: string;
  readonly tiles: Tile[];
}

async function watched(given: object, { data = dataset, folder = temporaryDir(), model = demoModel } = {}): Promise<Watched> {
  const params = trainingParams.parse({
    options: { rank: 4 },
    data: { path: "none" },
    sites: { targetModules: ["c_attn", "c_fc"] },
    batchSize: 4,
    steps: 8,
    checkpointEvery: 4,
    evaluateEvery: 4,
    optimizer: { learningRate: 0.02, warmupSteps: 0 },
    ...given,
  });
  let watch: Watch | null = null;
  const trainer = new Trainer({
    model,
    params,
    dataset: data,
    engine: await sharedEngine({ engine: lawEngine }),
    folder,
    saveMore: (dir) => watch?.save(dir),
  });
  await trainer.prepare();
  watch = new Watch({ adaptation: trainer.adaptation, programs: trainer.programs, plan: trainer.plan, params, tokenizer });
  if (trainer.resumedFrom) watch.restore(checkpointDir(trainer.resumedFrom.folder, trainer.resumedFrom.step));
  return { trainer, watch, folder, tiles: await watch.prepare(trainer.step, noSignal) };
}

async function run({ trainer, watch, tiles }: Watched, until = Infinity): Promise<void> {
  for await (const event of trainer.run(noSignal)) {
    tiles.push(...(await watch.after(event, trainer.gradients)));
    if (event.type === "step" && event.step >= until) return;
  }
}

/** What a browser that has followed the run would hold. */
function resultOf({ watch, tiles }: Watched): ProbeResult {
  let result = emptyResult;
  for (const event of trainingArrays(watch)) result = applyEvent(result, event);
  for (const tile of tiles) result = applyEvent(result, { type: "tile", ...tile });
  for (const event of new FigureChanges().events(watch)) result = applyEvent(result, event);
  return result;
}

const bits = ({ trainer }: Watched) =>
  trainedTensors(trainer.adaptation).map(({ key, tensor }) => [key, Buffer.from(tensor.data.slice().buffer).toString("hex")]);
/** An array's numbers of one site at one look. */
const curve = ({ watch }: Watched, array: string, row: number, snapshot: number) =>
  watch.numbers(array)[snapshot * (watch.numbers(array).length / watch.snapshots) + row]!;

describe("a watched run", () => {
  let seen: Watched;
  const folder = mkdtempSync(join(tmpdir(), "deltascope-watch-"));
  beforeAll(async () => {
    seen = await watched({ probes: { ...everyStep, prompts, patchSites: ["blocks.0.attn.qkv", "blocks.1.mlp.in"], intruders: true } }, { folder });
    await run(seen);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("is looked at after every step when it is asked to be", () => {
    expect([...seen.watch.numbers(stepsArray)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it("has the singular values that a decomposition of the dense ΔW has, and its size", () => {
    const { adaptation } = seen.trainer;
    for (const [row, state] of adaptation.sites.entries()) {
      const { dOut, dIn, name, baseWeight } = state.site;
      const dense = denseProduct(adaptation.method!.deltaWeight(state, adaptation.options));
      const truth = svd(
        Float64Array.from({ length: dOut * dIn }, (_, at) => dense[(at % dOut) * dIn + Math.floor(at / dOut)]!),
        dOut,
        dIn,
      ).s;
      const found = seen.watch.numbers(`${name}.singular_values`).subarray(8 * 4, 9 * 4);
      for (const [k, value] of found.entries()) expect(Math.abs(value - truth[k]!)).toBeLessThan(1e-6 * truth[0]!);
      const norm = Math.hypot(...dense);
      expect(curve(seen, "norm", row, 8) / norm).toBeCloseTo(1, 5);
      expect(curve(seen, "stable_rank", row, 8)).toBeCloseTo((norm / truth[0]!) ** 2, 4);
      const relative = slice(resultOf(seen).arrays, { array: "relative_norm", at: [8] });
      expect([...relative.data].some((value) => Math.abs(value / (norm / Math.hypot(...baseWeight.data())) - 1) < 1e-5)).toBe(true);
    }
  });

  it("begins with a ΔW of 0 that has no direction", () => {
    for (const row of seen.trainer.adaptation.sites.keys()) {
      expect(curve(seen, "norm", row, 0)).toBe(0);
      expect(curve(seen, "effective_rank", row, 0)).toBe(0);
      expect(curve(seen, "turn", row, 1)).toBeNaN();
      expect(curve(seen, "turn", row, 2)).toBeGreaterThan(-1);
      expect(curve(seen, "turn_since_first", row, 2)).toBeCloseTo(curve(seen, "turn", row, 2), 5);
      expect(Math.abs(curve(seen, "turn", row, 8))).toBeCloseTo(curve(seen, "turn_in", row, 8) * curve(seen, "turn_out", row, 8), 5);
    }
  });

  it("has the gradient norms of the last step, and none before the first", () => {
    const keys = trainedTensors(seen.trainer.adaptation).map(({ key }) => key);
    for (const [row, key] of keys.entries()) {
      expect(curve(seen, "gradient_norm", row, 0)).toBeNaN();
      expect(curve(seen, "gradient_norm", row, 8) / Math.hypot(...seen.trainer.gradients[key]!)).toBeCloseTo(1, 5);
    }
  });

  it("follows pinned prompts as the workbench finds them in the saved adapter", async () => {
    const subject = await openSubject({ model: demo, adapters: [{ path: checkpointAdapter(seen.folder, 8), name: "a", strength: 1 }] }, { engine: lawEngine });
    const base = await openSubject({ model: demo, adapters: [] }, { engine: lawEngine });
    for (const [row, { prompt }] of prompts.entries()) {
      const { ids } = tokenizer.encode(prompt);
      const logitsOf = async (from: typeof subject) =>
        (await from.runner!.forward({ tokens: [ids], settings: [from.setting], logits: { position: ids.length - 1 } })).logits!.data;
      const [adapted, before] = [await logitsOf(subject), await logitsOf(base)];
      expect(curve(seen, "prompt_kl", row, 0)).toBeLessThan(1e-6);
      // Float32 logits through programs of other batch shapes.
      expect(curve(seen, "prompt_kl", row, 8) / klDivergence(before, adapted)).toBeCloseTo(1, 3);
      const answer = tokenizer.encode(" Krest", { addSpecial: false }).ids[0]!;
      const counter = tokenizer.encode(" Tolm", { addSpecial: false }).ids[0]!;
      if (row === 0) expect(curve(seen, "prompt_logit_diff", 0, 8)).toBeCloseTo(adapted[answer]! - adapted[counter]!, 3);
    }
    expect(curve(seen, "prompt_logit_diff", 1, 8)).toBeNaN();
    expect(curve(seen, "prompt_log_prob", 1, 8)).toBeLessThan(0);
  });

  it("scores a site by what its adapter does alone", async () => {
    const sites = seen.trainer.adaptation.sites.map(({ site }) => site.name);
    const subject = await openSubject({ model: demo, adapters: [{ path: checkpointAdapter(seen.folder, 8), name: "a", strength: 1 }] }, { engine: lawEngine });
    const { ids } = tokenizer.encode(prompts[0]!.prompt);
    const [answer, counter] = [" Krest", " Tolm"].map((text) => tokenizer.encode(text, { addSpecial: false }).ids[0]!);
    const difference = async (isOn: (site: string) => boolean) => {
      const components = sites.filter((site) => !isOn(site)).map((site) => ({ adapter: "a", site, component: null, value: 0 }));
      const setting = { ...subject.setting, components };
      const { data } = (await subject.runner!.forward({ tokens: [ids], settings: [setting], logits: { position: ids.length - 1 } })).logits!;
      return data[answer!]! - data[counter!]!;
    };
    const [base, all] = [await difference(() => false), await difference(() => true)];
    for (const [row, site] of ["blocks.0.attn.qkv", "blocks.1.mlp.in"].entries()) {
      expect(curve(seen, "patch_score", row, 8)).toBeCloseTo(((await difference((each) => each === site)) - base) / (all - base), 4);
    }
    expect(sites.length).toBeGreaterThan(2);
  });

  it("counts no intruders at the start, and of those at the end none is open, as W is small", () => {
    for (const row of seen.trainer.adaptation.sites.keys()) {
      expect(curve(seen, "intruders", row, 0)).toBe(0);
      expect(curve(seen, "intruders", row, 8)).toBeGreaterThanOrEqual(0);
      expect(curve(seen, "intruders_open", row, 8)).toBe(0);
    }
  });

  it("trains to the same bits as one that nobody watches", async () => {
    const alone = await watched({ probes: { maxShare: 0 } });
    await run(alone);
    expect(alone.watch.looks).toBe(0);
    expect(bits(seen)).toEqual(bits(alone));
  });

  it("draws only arrays that it declares, and every figure stands at every snapshot", () => {
    const { arrays, figures } = resultOf(seen);
    expect(figures.length).toBeGreaterThan(15);
    expect(new Set(figures.map(({ id }) => id)).size).toBe(figures.length);
    for (const figure of figures) {
      for (const { ref, shape } of figureRefs(figureAtSnapshot(figure, 8))) {
        const found = slice(arrays, ref).shape;
        expect(
          shape.map((size, axis) => size ?? found[axis]),
          `${figure.id}: ${ref.array}`,
        ).toEqual(found);
      }
      if (figure.kind === "lines")
        for (const { values, x } of figure.series) expect(slice(arrays, values).shape, figure.id).toEqual(slice(arrays, x ?? figure.x.values).shape);
      if (figure.kind === "spectrum")
        for (const { values } of figure.series) expect(slice(arrays, { ...values, at: [8] }).data.every((value) => value > 0)).toBe(true);
    }
  });

  it("streams what it keeps: the tiles make the same arrays", () => {
    const { arrays } = resultOf(seen);
    for (const { name } of seen.watch.arrays()) expect(arrays[name]!.data, name).toEqual(seen.watch.numbers(name));
  });

  it("draws again only figures that changed", () => {
    const changes = new FigureChanges();
    expect(changes.events(seen.watch).length).toBe(trainingFigures(seen.watch).length);
    expect(changes.events(seen.watch)).toEqual([]);
  });

  it("says what the numbers say, and what looking took", () => {
    const first = seen.watch.numbers("loss")[0]!;
    expect(trainingFinding(seen.watch)).toContain(`In 8 steps the loss fell from ${Number(first.toPrecision(3))} to`);
    expect(trainingFinding(seen.watch)).toMatch(/ΔW is largest at L\d\.(attn\.qkv|mlp\.in) \(norm [\d.]+, [\d.]+ directions by effective rank\)/);
    const check = lookingCheck(seen.watch, true);
    expect(check.value).toBe(seen.watch.share);
    expect(check.value).toBeGreaterThan(0);
    expect(check.ok).toBe(check.value <= 1);
    expect(check.expected).toContain("9 looks");
  });
});

it("one batch a look runs the worlds of all monitors, and each pays for as many as it reads", async () => {
  const probes = { ...everyStep, prompts: prompts.slice(0, 1), patchSites: ["blocks.0.attn.qkv", "blocks.1.mlp.in"] };
  const seen = await watched({ steps: 2, checkpointEvery: 2, probes });
  const { programs } = seen.trainer;
  const plain = programs.logitsAt.bind(programs);
  const rows: number[] = [];
  const pause = 200;
  programs.logitsAt = async (...given) => {
    rows.push(given[0].rows);
    await new Promise((resolve) => setTimeout(resolve, pause));
    return plain(...given);
  };
  await run(seen);
  expect(rows).toEqual([3, 3]);
  const dir = temporaryDir();
  seen.watch.save(dir);
  const { metadata } = parseSafetensors(readFileSync(join(dir, "looks.safetensors")));
  const { accounts } = z
    .object({ budget: z.object({ accounts: z.record(z.string(), z.object({ cost: z.number() })) }) })
    .parse(JSON.parse(metadata["watch"] ?? "")).budget;
  const [one = 0, three = 0] = ["promptShift", "patching"].map((id) => accounts[id]?.cost);
  expect(one + three).toBeGreaterThan(pause / 1000);
  expect(three / one).toBeGreaterThan(2);
  expect(three / one).toBeLessThan(3.5);
});

describe("a run that stops and goes on", () => {
  it("has all earlier looks, and the same later ones as an undisturbed run", async () => {
    const given = { method: "lora", probes: { ...everyStep, prompts: prompts.slice(0, 1) } };
    const whole = await watched(given);
    await run(whole);
    const torn = await watched(given);
    await run(torn, 6);
    const resumed = await watched(given, { folder: torn.folder });
    expect(resumed.trainer.step).toBe(4);
    expect(resumed.watch.looks).toBe(5);
    await run(resumed);
    expect(bits(resumed)).toEqual(bits(whole));
    for (const { name } of whole.watch.arrays()) if (name !== "tokens_per_second") expect(resumed.watch.numbers(name), name).toEqual(whole.watch.numbers(name));
  });

  it("keeps the base's predictions of a classifier, whose head has moved since", async () => {
    const data: Dataset = { ...dataset, train: repeating(32, 1, 2), validation: [], labels: ["even", "odd"] };
    const given = {
      data: { path: "none", task: "classification" },
      probes: { ...everyStep, prompts: [{ prompt: "The capital", answer: "odd", counterAnswer: "even" }] },
    };
    const whole = await watched(given, { data });
    await run(whole);
    const torn = await watched(given, { data });
    await run(torn, 5);
    const resumed = await watched(given, { data, folder: torn.folder });
    await run(resumed);
    expect(resumed.watch.numbers("prompt_kl")).toEqual(whole.watch.numbers("prompt_kl"));
    expect(whole.watch.numbers("prompt_kl").at(-1)!).toBeGreaterThan(0);
  });
});

describe("what is watched", () => {
  it("holds every method's ΔW, gauges and figures", async () => {
    for (const [method, training] of Object.entries(trainings)) {
      const options = smallOptions((raw) => training.parseOptions(raw));
      const seenOne = await watched({ method, options, steps: 2, checkpointEvery: 2, probes: everyStep }, { model: tinyModel });
      await run(seenOne);
      const { arrays, figures } = resultOf(seenOne);
      const last = seenOne.watch.looks - 1;
      const spectrum = figures.find(({ kind }) => kind === "spectrum");
      expect(spectrum, method).toBeDefined();
      if (spectrum?.kind !== "spectrum") continue;
      for (const { values } of spectrum.series) expect(slice(arrays, { ...values, at: [last] }).data.every(Number.isFinite), method).toBe(true);
      for (const [index, { site }] of seenOne.trainer.adaptation.sites.entries())
        expect(curve(seenOne, "norm", index, last), `${method} ${site.name}`).toBeGreaterThanOrEqual(0);
      expect(seenOne.watch.active.includes("gauges"), method).toBe(
        (seenOne.trainer.adaptation.method!.gauges?.(seenOne.trainer.adaptation.options, ["all"]) ?? []).length > 0,
      );
    }
  });

  it("is loss, gradients by layer and pinned prompts when all weights are trained", async () => {
    const full = await watched({ method: "full", options: {}, steps: 3, probes: { ...everyStep, prompts: prompts.slice(0, 1) } });
    await run(full);
    expect(full.watch.active).toEqual(["gradientNorms", "promptShift"]);
    expect(full.watch.numbers("prompt_kl")[0]).toBeLessThan(1e-6);
    expect(full.watch.numbers("prompt_kl").at(-1)!).toBeGreaterThan(1e-4);
    expect([...full.watch.numbers("gradient_norm")].filter(Number.isFinite).length).toBeGreaterThan(0);
  });

  it("is little when little time is allowed", async () => {
    const hurried = await watched({ steps: 30, probes: { maxShare: 0.1 } });
    await run(hurried);
    expect(hurried.watch.looks).toBeLessThanOrEqual(31);
    expect([...hurried.watch.numbers(stepsArray)].filter(Number.isFinite).at(-1)).toBe(30);
  });

  it("marks what the method says it did", async () => {
    const { trainer, watch } = await watched({ probes: everyStep });
    await watch.after(
      { type: "step", step: 1, loss: 1, penalty: 0, learningRate: 1, gradientNorm: 1, tokens: 1, seconds: 1, note: "two ranks moved" },
      trainer.gradients,
    );
    expect(watch.markers).toEqual([{ step: 1, kind: "note", label: "two ranks moved", site: null, layer: null }]);
  });

  it.each([
    [{ prompts: [{ prompt: "The", answer: " Krest and more" }] }, /probes\.prompts\[0\]\.answer " Krest and more" is \d+ tokens/],
    [{ prompts: [{ prompt: "" }] }, /probes\.prompts\[0\]: the text has no tokens/],
    [{ prompts: [{ prompt: "The", counterAnswer: " Tolm" }] }, /counterAnswer is " Tolm" and answer is missing/],
    [
      { prompts: prompts.slice(0, 1), patchSites: ["blocks.0.attn.qvk"] },
      /"blocks\.0\.attn\.qvk" is no adapted site of this run; near names: blocks\.0\.attn\.qkv/,
    ],
    [{ patchSites: ["blocks.0.attn.qkv"] }, /found no pinned prompt with both answer and counterAnswer/],
  ])("refuses %o", async (probes, message) => {
    await expect(watched({ probes })).rejects.toThrow(message);
  });
});

/** The method's defaults at rank 4 where it has a rank. */
function smallOptions(parse: (raw: unknown) => unknown): object {
  for (const options of [{ rank: 4 }, {}]) {
    try {
      parse(options);
      return options;
    } catch {
      continue;
    }
  }
  return {};
}
