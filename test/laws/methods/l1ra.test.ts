import { describe, expect, it } from "vitest";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { reallocation, type ReallocationRule } from "../../../server/adapters/l1raRanks.ts";
import type { StepContext } from "../../../server/adapters/method.ts";
import { trainings } from "../../../server/adapters/registry.ts";
import { sharedEngine } from "../../../server/runs/subject.ts";
import { randomStream } from "../../../server/linalg/random.ts";
import { trainedCount, trainedTensors, type Adaptation } from "../../../server/training/adaptation.ts";
import { AdamW } from "../../../server/training/optimizer.ts";
import { parameterRules } from "../../../server/training/parameterRules.ts";
import { saveAdaptation } from "../../../server/training/saveAdaptation.ts";
import { Trainer } from "../../../server/training/trainer.ts";
import { optimizerParams, trainingParams } from "../../../server/training/trainingParams.ts";
import { referenceDir, relativeError } from "../goldens.ts";
import { baseLogits, harness, lastPlaces, lossOf, openedLogits, perturb, randomBatch, temporaryDir, train, type Harness } from "./harness.ts";
import { plantedBatch, plantedModel, trainOver } from "./planted.ts";
import { lawEngine } from "../../lawEngine.ts";

const rule: ReallocationRule = { pruneThreshold: 1e-10, reassign: true, excludePruned: true };
const gates = (...values: number[]) => Float32Array.from(values);
/** Products of another length add in another order: rounding of float32. */
const rounding = 1e-6;

const ranks = ({ sites }: Adaptation) => sites.map(({ trained }) => trained["gates"]!.data.length);
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

/** The move of ranks alone, as after the step at which it is due. */
function move({ method, options, sites }: Adaptation, step = 10, totalSteps = 100) {
  const random: StepContext<unknown>["random"] = (...labels) => randomStream(1, ...labels);
  return method!.afterStep!({ options, step, totalSteps, sites, random, gradient: () => new Float32Array() });
}

describe("the rule that moves ranks", () => {
  it("hands freed ranks out one at a time from the largest smallest gate, and none to a site that lost one (property 3)", () => {
    const found = reallocation([gates(0.9, 1), gates(0.5, 0.7), gates(0, 0, 0, 0.8)], rule);
    expect(found).toEqual({ kept: [[0, 1], [0, 1], [3]], grown: [2, 1, 0], freed: 3, lost: 0 });
  });

  it("orders the sites by their gates and not by their place", () => {
    expect(reallocation([gates(0, 0), gates(0.2), gates(0.6), gates(0.4)], rule).grown).toEqual([0, 0, 1, 0]);
  });

  it("lets a site that lost a rank take one, last in turn, when none is excluded", () => {
    const found = reallocation([gates(0, 0, 0, 1), gates(0.5)], { ...rule, excludePruned: false });
    expect(found.grown).toEqual([1, 2]);
    expect(found.freed).toBe(3);
  });

  it("keeps one rank of a site whose gates all died (property 1)", () => {
    const found = reallocation([gates(0, 0, 0), gates(0.5)], rule);
    expect(found.kept[0]).toEqual([2]);
    expect(found.freed).toBe(2);
  });

  it("loses the ranks when every site lost some, and says how many", () => {
    expect(reallocation([gates(0, 1), gates(0, 1)], rule)).toMatchObject({ grown: [0, 0], freed: 2, lost: 2 });
  });

  it("gives nothing back when ranks are not reassigned", () => {
    expect(reallocation([gates(0, 1), gates(1)], { ...rule, reassign: false })).toMatchObject({ grown: [0, 0], freed: 1, lost: 1 });
  });

  it("conserves the sum of ranks for any gates, while some site keeps all of its own (property 1)", () => {
    const random = randomStream(4);
    for (let trial = 0; trial < 200; trial++) {
      const sites = Array.from({ length: 2 + random.below(5) }, (_, site) =>
        Float32Array.from({ length: 1 + random.below(6) }, () => (site > 0 && random.uniform() < 0.4 ? 0 : 0.1 + 0.9 * random.uniform())),
      );
      const { kept, grown, lost } = reallocation(sites, rule);
      expect(lost).toBe(0);
      expect(sum(kept.map(({ length }) => length)) + sum(grown)).toBe(sum(sites.map(({ length }) => length)));
      kept.forEach(({ length }, site) => {
        expect(length).toBeGreaterThan(0);
        if (sites[site]!.some((value) => value === 0)) expect(grown[site]).toBe(0);
      });
    }
  });
});

describe("L1RA in training", () => {
  it("changes no logit when dead gates leave and new ranks begin (property 2)", async () => {
    const h = await harness("l1ra", { options: { rank: 4, alpha: 8 } });
    perturb(h.adaptation, 0.2);
    for (const { trained } of h.adaptation.sites) trained["gates"]!.data.forEach((gate, k, all) => (all[k] = Math.min(1, Math.max(0, gate))));
    const [first, second] = h.adaptation.sites;
    first!.trained["gates"]!.data.fill(0, 1, 3);
    second!.trained["gates"]!.data.fill(0, 0, 1);
    const batch = randomBatch(h.model);
    const before = await h.programs.logitsAt(batch, lastPlaces(batch));
    const base = await baseLogits(h.programs, batch);
    const change = move(h.adaptation);
    expect(ranks(h.adaptation).slice(0, 2)).toEqual([2, 3]);
    expect(sum(ranks(h.adaptation))).toBe(6 * 4);
    expect(change.resetsMoments).toBe(true);
    expect(change.reshaped).toContain(first!.site.name);
    expect(change.note).toMatch(/^3 ranks moved to /);
    const after = await h.programs.logitsAt(batch, lastPlaces(batch));
    expect(relativeError(after.data, before.data)).toBeLessThan(rounding);
    expect(relativeError(before.data, base.data)).toBeGreaterThan(1e-3);
  });

  it("moves ranks at every tenth of the steps and never after the last", async () => {
    const { adaptation } = await harness("l1ra", { options: { rank: 4 } });
    const kill = () => (adaptation.sites[0]!.trained["gates"]!.data[0] = 0);
    kill();
    expect(move(adaptation, 9).note).toBeNull();
    expect(move(adaptation, 10).note).not.toBeNull();
    kill();
    expect(move(adaptation, 100).note).toBeNull();
    expect(move(adaptation, 90).note).not.toBeNull();
  });

  it("says before and at the first step when its λ closes no idle gate in so short a run, and which would", async () => {
    const note = async (options: object) => {
      const { adaptation } = await harness("l1ra", { options });
      const said = trainings.l1ra.warning!(adaptation.options, 200);
      expect(move(adaptation, 1, 200).note).toBe(said);
      expect(move(adaptation, 2, 200).note).toBeNull();
      return said;
    };
    expect(await note({})).toMatch(/^lambda 0\.001 takes 0\.0036 off a gate that starts at 1 .*; a lambda of 0\.28 or more closes idle ones$/);
    expect(await note({ lambda: 0.01, lassoTimesLr: false })).toBeNull();
    expect(await note({ lambda: 0.28 })).toBeNull();
    const h = await harness("l1ra", { options: { lambda: 0.28 } });
    const optimizer = new AdamW(optimizerParams.parse({}), parameterRules(h.adaptation));
    const idle = Object.fromEntries(trainedTensors(h.adaptation).map(({ key, tensor }) => [key, new Float32Array(tensor.data.length)]));
    const notes: string[] = [];
    for (let step = 1; step <= 200; step++) {
      optimizer.update(trainedTensors(h.adaptation), idle, 1e-3);
      notes.push(move(h.adaptation, step, 200).note ?? "");
    }
    expect(notes.filter((text) => text !== "")).toHaveLength(1); // all gates are idle and close together, at the last move
    expect(notes[179]).toMatch(/ranks moved to no site/);
  });

  it("begins new ranks with an open gate, a zero column of B and a row of A that is not zero", async () => {
    const { adaptation } = await harness("l1ra", { options: { rank: 4 } });
    perturb(adaptation, 0.2);
    adaptation.sites.slice(1).forEach(({ trained }) => trained["gates"]!.data.fill(0.5));
    adaptation.sites[0]!.trained["gates"]!.data[2] = 0;
    move(adaptation);
    const grown = adaptation.sites.find(({ trained }) => trained["gates"]!.data.length === 5)!;
    const {
      site: { dIn, dOut },
      trained,
    } = grown;
    expect(trained["gates"]!.data[4]).toBe(1);
    expect(Array.from({ length: dOut }, (_, o) => trained["loraB"]!.data[o * 5 + 4])).toEqual(Array.from({ length: dOut }, () => 0));
    const row = trained["loraA"]!.data.subarray(4 * dIn);
    const deviation = Math.sqrt(row.reduce((total, value) => total + value * value, 0) / dIn);
    expect(deviation).toBeGreaterThan(0.5 / 4); // N(0, 1/16) over 32 numbers
    expect(deviation).toBeLessThan(2 / 4);
  });

  it("takes dead gates and ranks the takers as raul-singh/L1RA's update_ranks does, on gates that are not clipped yet (40 sets)", () => {
    const { threshold, cases } = JSON.parse(readFileSync(join(referenceDir, "l1ra", "moves.json"), "utf8")) as {
      threshold: number;
      cases: { gates: number[][]; ranks: number[] }[];
    };
    expect(cases).toHaveLength(40);
    let [moved, tied] = [0, 0];
    for (const { gates: given, ranks: theirs } of cases) {
      const sites = given.map((values) => Float32Array.from(values));
      const after = ({ kept, grown }: ReturnType<typeof reallocation>) => kept.map(({ length }, site) => length + grown[site]!);
      expect(after(reallocation(sites, { ...rule, pruneThreshold: threshold }))).toEqual(theirs);
      const clipped = sites.map((values) => values.map((value) => Math.min(1, Math.max(0, value))));
      if (theirs.some((rank, site) => rank !== given[site]!.length)) moved++;
      if (after(reallocation(clipped, { ...rule, pruneThreshold: threshold })).some((rank, site) => rank !== theirs[site])) tied++;
    }
    // Both occur: sets that move ranks, and sets where clipping first would have moved them elsewhere.
    expect(moved).toBeGreaterThan(20);
    expect(tied).toBeGreaterThan(3);
  });

  it("hands ranks, while it trains, to the site whose smallest gate went farthest above 1", async () => {
    const { adaptation } = await harness("l1ra", { options: { rank: 4 } });
    adaptation.sites.forEach(({ trained }, i) => trained["gates"]!.data.fill(1.01 + 0.01 * ((i * 5) % 7)));
    adaptation.sites[0]!.trained["gates"]!.data[2] = -0.25;
    const [taker] = adaptation.sites.slice(1).sort((a, b) => b.trained["gates"]!.data[0]! - a.trained["gates"]!.data[0]!);
    move(adaptation);
    expect(taker!.trained["gates"]!.data).toHaveLength(5);
    for (const { trained } of adaptation.sites) expect(trained["gates"]!.data.every((gate) => gate === 1)).toBe(true);
  });

  it("lets a gate without a gradient decay to exactly 0, and takes its rank at the next move (property 4)", async () => {
    const { adaptation } = await harness("l1ra", { options: { rank: 4, lambda: 1, gateRate: 0.02 } });
    const optimizer = new AdamW(optimizerParams.parse({}), parameterRules(adaptation));
    const zeros = Object.fromEntries(trainedTensors(adaptation).map(({ key, tensor }) => [key, new Float32Array(tensor.data.length)]));
    const gate = adaptation.sites[0]!.trained["gates"]!.data;
    const path: number[] = [];
    for (let step = 0; step < 51; step++) {
      optimizer.update(trainedTensors(adaptation), zeros, 1e-3);
      move(adaptation, 1);
      path.push(gate[0]!);
    }
    expect(path[0]).toBeCloseTo(0.98, 6); // 1 − 0.02 · 1
    expect(path[24]).toBeCloseTo(0.5, 5);
    expect(path[50]).toBe(0);
    expect(path.every((value) => value >= 0 && value <= 1)).toBe(true);
    adaptation.sites.slice(1).forEach(({ trained }) => trained["gates"]!.data.fill(1));
    move(adaptation);
    expect(ranks(adaptation)[0]).toBe(1);
    expect(sum(ranks(adaptation))).toBe(24);
  });

  it("takes λ itself from a gate when the step is not to be multiplied by the rate", async () => {
    const { adaptation } = await harness("l1ra", { options: { rank: 2, lambda: 0.25, lassoTimesLr: false } });
    const optimizer = new AdamW(optimizerParams.parse({}), parameterRules(adaptation));
    optimizer.update(
      trainedTensors(adaptation),
      Object.fromEntries(trainedTensors(adaptation).map(({ key, tensor }) => [key, new Float32Array(tensor.data.length)])),
      1e-3,
    );
    expect(adaptation.sites[0]!.trained["gates"]!.data[0]).toBe(0.75);
  });

  it("keeps gates within 0 and 1 while it trains (property 4)", async () => {
    const h = await harness("l1ra", { options: { rank: 4, gateRate: 0.3 } });
    await train(h, randomBatch(h.model), 12);
    const all = h.adaptation.sites.flatMap(({ trained }) => [...trained["gates"]!.data]);
    expect(Math.min(...all)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...all)).toBe(1);
    expect(all.some((value) => value < 1)).toBe(true);
  });

  it("is LoRA with scale alpha/r while all gates are 1 (property 5)", async () => {
    const [gated, plain] = await Promise.all([harness("l1ra", { options: { rank: 4, alpha: 6 } }), harness("lora", { options: { rank: 4, alpha: 6 } })]);
    gated.adaptation.sites.forEach(({ trained }, i) => {
      const other = plain.adaptation.sites[i]!.trained;
      const random = randomStream(3, i);
      for (const name of ["loraA", "loraB"])
        for (let k = 0; k < trained[name]!.data.length; k++) other[name]!.data[k] = trained[name]!.data[k] = 0.2 * random.gaussian();
    });
    const batch = randomBatch(plain.model);
    const [a, b] = await Promise.all([lossOf(gated, batch), lossOf(plain, batch)]);
    expect(a.loss).toBeCloseTo(b.loss, 6);
    for (const [key, gradient] of Object.entries(b.gradients)) expect(relativeError(a.gradients[key]!, gradient), key).toBeLessThan(1e-4);
  });

  it("with λ = 0, and no gate that died, is LoRA whose gates AdamW alone moves (property 5)", async () => {
    const [withRule, withoutRule] = await Promise.all([1, 2].map(() => harness("l1ra", { options: { rank: 4, lambda: 0 } })));
    for (const { adaptation } of [withRule!, withoutRule!]) for (const { trained } of adaptation.sites) trained["gates"]!.data.fill(0.5);
    const batch = randomBatch(withRule!.model);
    await train(withRule!, batch, 6);
    const { method, ...rest } = withoutRule!.adaptation;
    const { afterStep: _moves, ...gatedLora } = {
      ...method!,
      rules: () => ({ loraA: { decays: true }, loraB: { decays: true }, gates: { decays: false, learningRate: 2e-2 } }),
    };
    await train({ ...withoutRule!, adaptation: { ...rest, method: gatedLora } }, batch, 6);
    const numbers = ({ adaptation }: Harness) => trainedTensors(adaptation).map(({ key, tensor }) => [key, tensor.data]);
    expect(numbers(withRule!)).toEqual(numbers(withoutRule!));
    // Six steps of 0.02 at most, and the first without a gradient, as B is zero.
    const moved = withRule!.adaptation.sites.flatMap(({ trained }) => [...trained["gates"]!.data].map((gate) => Math.abs(gate - 0.5)));
    expect(Math.max(...moved)).toBeGreaterThan(0.05);
    expect(Math.max(...moved)).toBeLessThan(0.13);
  });

  it("goes on from a checkpoint with ranks that moved, to the same numbers and ranks bit for bit", async () => {
    const given = {
      method: "l1ra",
      options: { rank: 4, lambda: 0.9, gateRate: 0.2, rankUpdateRatio: 0.25 },
      data: { path: "none" },
      sites: { targetModules: ["c_attn", "c_fc"] },
      batchSize: 4,
      steps: 16,
      checkpointEvery: 6,
    };
    const { model } = await harness("l1ra");
    const train = Array.from({ length: 20 }, (_, i) => ({
      tokens: randomBatch(model, { rows: 2, seed: i }).tokens.slice(0, 8),
      lossWeights: new Float32Array(8).fill(1, 1),
      label: null,
      task: 0,
    }));
    const run = async (folder: string, until = Infinity) => {
      const trainer = new Trainer({
        model,
        params: trainingParams.parse(given),
        dataset: { train, validation: [], labels: [], tasks: ["all"], cut: 0 },
        engine: await sharedEngine({ engine: lawEngine }),
        folder,
      });
      await trainer.prepare();
      const began = { step: trainer.step, ranks: ranks(trainer.adaptation) };
      const notes: string[] = [];
      for await (const event of trainer.run(new AbortController().signal)) {
        if (event.type === "step" && event.note !== null) notes.push(`${event.step}: ${event.note}`);
        if (event.type === "step" && event.step === until) break;
      }
      return {
        began,
        notes,
        numbers: trainedTensors(trainer.adaptation).map(({ key, tensor }) => [key, tensor.shape, Buffer.from(tensor.data.slice().buffer).toString("hex")]),
      };
    };
    const undisturbed = await run(temporaryDir());
    const folder = temporaryDir();
    await run(folder, 10);
    const resumed = await run(folder);
    expect(resumed.began.step).toBe(6);
    expect(new Set(resumed.began.ranks).size).toBeGreaterThan(1);
    expect(resumed.notes.length).toBeGreaterThan(0);
    expect(undisturbed.notes.slice(-resumed.notes.length)).toEqual(resumed.notes);
    expect(resumed.numbers).toEqual(undisturbed.numbers);
  });

  it("has r (dIn + dOut + 1) numbers a site, also after ranks moved (property 6)", async () => {
    const { adaptation } = await harness("l1ra", { options: { rank: 4 } });
    adaptation.sites[0]!.trained["gates"]!.data[0] = 0; // a c_attn, smaller than a c_fc
    adaptation.sites.filter(({ site }) => site.name.includes("attn")).forEach(({ trained }) => (trained["gates"]!.data[3] = 0.5));
    const before = trainedCount(adaptation);
    move(adaptation);
    const expected = sum(adaptation.sites.map(({ site }, i) => ranks(adaptation)[i]! * (site.dIn + site.dOut + 1)));
    expect(trainedCount(adaptation)).toBe(expected);
    expect(expected).toBeGreaterThan(before);
  });

  it("opens again with the ranks it ended with", async () => {
    const h = await harness("l1ra", { options: { rank: 4, alpha: 8 } });
    perturb(h.adaptation, 0.2);
    h.adaptation.sites[1]!.trained["gates"]!.data.fill(0, 0, 3);
    move(h.adaptation);
    expect(new Set(ranks(h.adaptation)).size).toBeGreaterThan(1);
    const folder = join(temporaryDir(), "adapter");
    saveAdaptation(folder, h.adaptation);
    const batch = randomBatch(h.model);
    const { logits, warnings } = await openedLogits(h.model, folder, batch);
    expect(warnings).toEqual([]);
    expect(relativeError(logits, (await h.programs.logitsAt(batch, lastPlaces(batch))).data)).toBeLessThan(1e-4);
  });

  it("shows rank and gates of a site, the largest first", async () => {
    const { adaptation } = await harness("l1ra", { options: { rank: 2 } });
    adaptation.sites[0]!.trained["gates"]!.data.set([0.25, 0.75]);
    const shown = Object.fromEntries(trainings.l1ra.gauges!(adaptation.options, ["all"]).map((gauge) => [gauge.id, gauge.values(adaptation.sites[0]!)]));
    expect([...shown["rank"]!]).toEqual([2]);
    expect([...shown["gates"]!]).toEqual([0.75, 0.25, NaN, NaN, NaN, NaN, NaN, NaN]);
  });
});

it.each(["blocks.0.mlp.in", "blocks.1.mlp.in", "blocks.2.mlp.in"])(
  "conserves its budget of ranks and moves them to %s when a planted task needs that site",
  async (goal) => {
    const planted = await plantedModel(goal, 32); // of full rank
    const batches = await Promise.all(Array.from({ length: 40 }, (_, seed) => plantedBatch(planted, seed)));

    const h = await harness("l1ra", { options: { rank: 4, alpha: 8, lambda: 0.9 } });
    const before = (await lossOf(h, batches[0]!)).loss;
    const budgets = new Set<number>();
    await trainOver(h, batches, 200, 3e-3, () => budgets.add(sum(ranks(h.adaptation))));
    expect((await lossOf(h, batches[0]!)).loss).toBeLessThan(0.7 * before);
    expect([...budgets]).toEqual([6 * 4]);
    const final = new Map(h.adaptation.sites.map(({ site }, i) => [site.name, ranks(h.adaptation)[i]!]));
    const others = [...final].filter(([name]) => name !== goal).map(([, rank]) => rank);
    // Seven to nine of 24 ranks were seen, from four at the start.
    expect(final.get(goal)!, JSON.stringify([...final])).toBeGreaterThanOrEqual(6);
    expect(final.get(goal)!).toBeGreaterThan(Math.max(...others));
  },
);
