/** What causal probes say of chance: as many draws as asked for, drawn by the seed, stated as they fell; and nothing is found within twice their reach. */
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { acrossTime } from "../../probes/acrossTime.ts";
import { activationPatching } from "../../probes/activationPatching.ts";
import { nothingReplaced, pairOf, partsOf } from "../../probes/causal/adapterPair.ts";
import { AnswerMeter } from "../../probes/causal/answerMetrics.ts";
import type { Cell } from "../../probes/causal/patchCells.ts";
import { directionDraws } from "../../probes/causal/patchChance.ts";
import { runSide } from "../../probes/causal/question.ts";
import { randomChangeDraws } from "../../probes/causal/randomChanges.ts";
import { randomTermDraws } from "../../probes/causal/randomTerms.ts";
import { componentAblation } from "../../probes/componentAblation.ts";
import type { Probe } from "../../probes/probe.ts";
import { applyEvent, emptyResult, type NullBand, type ProbeResult } from "../../probes/result.ts";
import { logitDiff } from "../../server/runs/metrics.ts";
import { Runner, type ForwardRequest, type ForwardResult } from "../../server/runs/runner.ts";
import { openSubject, type Subject } from "../../server/runs/subject.ts";
import type { SweepRequest } from "../../server/runs/sweep.ts";
import { baseSetting, type AdapterSetting } from "../../server/runs/worlds.ts";
import { referenceDir } from "./goldens.ts";
import { lawEngine } from "../lawEngine.ts";

let one: Subject;
let two: Subject;
beforeAll(async () => {
  const open = (...names: readonly string[]) =>
    openSubject(
      {
        model: join(referenceDir, "families", "gpt2"),
        adapters: names.map((name, i) => ({ path: join(referenceDir, "adapters", name), name: `a${i}`, strength: 1 })),
      },
      { engine: lawEngine },
    );
  one = await open("gpt2-all");
  two = await open("gpt2-all", "gpt2-c_attn");
});

const prompt = { clean: [5, 6, 7, 8], answer: 4, counterAnswer: 9 };

async function run(probe: Probe, subject: Subject, params: object): Promise<ProbeResult> {
  let result = emptyResult;
  for await (const event of probe.run(subject, { ...prompt, ...params }, new AbortController().signal)) result = applyEvent(result, event);
  return result;
}

/** The one band that all figures of a result with a null state. */
function bandOf({ figures }: ProbeResult): NullBand {
  const bands = new Map(figures.flatMap(({ nulls = [] }) => nulls.map((band) => [JSON.stringify(band), band])));
  const [band] = bands.values();
  if (!band || bands.size !== 1) throw new Error(`expected one null, found ${bands.size}`);
  return band;
}

describe.each<[string, Probe, () => Subject, string]>([
  ["activationPatching", activationPatching, () => one, "random directions of equal norm"],
  ["componentAblation", componentAblation, () => one, "random rank-one terms of equal norm"],
  ["acrossTime", acrossTime, () => two, "random changes of equal norm"],
])("the null of %s", (_, probe, subjectOf, what) => {
  const nullOf = async (params: object) => bandOf(await run(probe, subjectOf(), params));

  it.each([1, 2, 9, 30])("is of %i draws when as many are asked for", async (nullSamples) => {
    const { low, high, words } = await nullOf({ nullSamples, seed: 1 });
    expect(words).toBe(`95 % of ${nullSamples} ${what}`);
    expect(low).not.toBe(0);
    if (nullSamples === 1) expect(high).toBe(low);
    else expect(high).toBeGreaterThan(low);
  });

  it("is not stated when no draw is asked for, and then nothing is found", async () => {
    const { figures, finding } = await run(probe, subjectOf(), { nullSamples: 0 });
    expect(figures.flatMap(({ nulls = [] }) => nulls)).toEqual([]);
    expect(finding).toBeNull();
  });

  it("is drawn by the seed: the same again, another by another, also where every place is drawn at", async () => {
    for (const nullSamples of [1, 512]) {
      const first = await nullOf({ nullSamples, seed: 1 });
      expect(await nullOf({ nullSamples, seed: 1 })).toEqual(first);
      expect(await nullOf({ nullSamples, seed: 2 })).not.toEqual(first);
    }
  });
});

/** Draws at the same places, apart from which places a probe draws at. */
describe("the directions of a null", () => {
  const asked = (subject: Subject): SweepRequest => {
    const { runner, setting } = subject;
    if (!runner) throw new Error("the subject has no model");
    return { runner, setting, tokens: prompt.clean, position: 3, worlds: [], sources: {} };
  };
  const diff = (logits: Float32Array): number => logitDiff(logits, prompt.answer, prompt.counterAnswer);
  const hook = "blocks.1.hook_mlp_out";
  const cellAt = (position: number): Cell => ({
    world: { setting: baseSetting, edits: [{ hook, position, head: null, source: "from" }] },
    prefix: "",
    offset: 0,
  });

  it.each<[string, (seed: number) => Promise<number[]>]>([
    [
      "directionDraws",
      async (seed) => {
        const request = { ...asked(one), setting: baseSetting };
        const runOf = (setting: AdapterSetting) => runSide(request, { prompt: { ids: prompt.clean, tokens: [] }, setting }, [hook]);
        const [base, adapted] = [await runOf(baseSetting), await runOf(one.setting)];
        const meter = new AnswerMeter(prompt.answer, prompt.counterAnswer, adapted.logits, base.logits);
        return await directionDraws({ ...request, sources: { self: base.taps, from: adapted.taps } }, meter, [cellAt(2), cellAt(3)], seed);
      },
    ],
    [
      "randomTermDraws",
      (seed) => {
        const component = { layer: 1, site: "blocks.1.attn.qkv", adapter: "a0", component: 0 };
        return randomTermDraws(asked(one), [component, component], seed, diff);
      },
    ],
    [
      "randomChangeDraws",
      (seed) => {
        const pair = pairOf(two);
        const request = { ...asked(two), setting: { strengths: pair.strengths, components: nothingReplaced(pair) } };
        return randomChangeDraws(request, pair, partsOf(pair, "site").slice(0, 1), { count: 2, seed }, diff);
      },
    ],
  ])("%s are the seed's", async (_, drawsOf) => {
    const draws = await drawsOf(1);
    expect(draws).toHaveLength(2);
    expect(draws[0]).not.toBe(draws[1]);
    expect(await drawsOf(1)).toEqual(draws);
    expect(await drawsOf(2)).not.toEqual(draws);
  });
});

/** Where a probe draws, told by what it asks the runner to keep. */
class RecordingRunner extends Runner {
  readonly kept: string[] = [];
  override forward(request: ForwardRequest): Promise<ForwardResult> {
    this.kept.push(...(request.taps ?? []).filter((tap) => tap.endsWith("hook_in")));
    return super.forward(request);
  }
}

it.each<[string, Probe, () => Subject]>([
  ["componentAblation", componentAblation, () => one],
  ["acrossTime", acrossTime, () => two],
])("the places of the null of %s are the seed's", async (_, probe, subjectOf) => {
  const placeOf = async (seed: number): Promise<string> => {
    const { runner, ...subject } = subjectOf();
    if (!runner) throw new Error("the subject has no model");
    const recording = new RecordingRunner(runner.model, runner.adapters, runner.engine);
    await run(probe, { ...subject, runner: recording }, { nullSamples: 1, seed });
    return recording.kept[0] ?? "";
  };
  const places: string[] = [];
  for (let seed = 1; seed <= 6; seed++) places.push(await placeOf(seed));
  expect(places).not.toContain("");
  expect(new Set(places).size).toBeGreaterThan(1);
  expect(await placeOf(1)).toBe(places[0]);
});

/** Here the largest value beats every draw in its own place, and yet is within twice of what chance does elsewhere. */
it.each<[string, Probe, object, (arrays: ProbeResult["arrays"]) => readonly Float32Array[]]>([
  [
    "activationPatching",
    activationPatching,
    { seed: 0 },
    ({ normalized, "heads.normalized": heads }) => [normalized, heads].flatMap((array) => array?.data ?? []),
  ],
  [
    "componentAblation",
    componentAblation,
    { clean: [12, 13, 14, 15], answer: 5, counterAnswer: 10, seed: 1 },
    ({ effect }) => [effect].flatMap((array) => array?.data ?? []),
  ],
])("%s finds nothing within twice the reach of its null", async (_, probe, params, valuesOf) => {
  const result = await run(probe, one, params);
  const { low, high } = bandOf(result);
  const reach = Math.max(-low, high);
  // The stream at the asked token holds everything after the last layers; no sentence is made of it.
  const largest = Math.max(...valuesOf(result.arrays).flatMap((values) => [...values]));
  expect(largest).toBeGreaterThan(1);
  expect(largest).toBeLessThan(2 * reach);
  expect(result.finding).toBeNull();
});
