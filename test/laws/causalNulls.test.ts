/** What causal probes say of chance: as many draws as asked for, drawn by the seed, stated as they fell; and nothing is found within twice their reach. */
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { acrossTime } from "../../probes/acrossTime.ts";
import { activationPatching } from "../../probes/activationPatching.ts";
import { componentAblation } from "../../probes/componentAblation.ts";
import type { Probe } from "../../probes/probe.ts";
import { applyEvent, emptyResult, type NullBand, type ProbeResult } from "../../probes/result.ts";
import { openSubject, type Subject } from "../../server/runs/subject.ts";
import { referenceDir } from "./goldens.ts";

let one: Subject;
let two: Subject;
beforeAll(async () => {
  const open = (...names: readonly string[]) =>
    openSubject(
      {
        model: join(referenceDir, "families", "gpt2"),
        adapters: names.map((name, i) => ({ path: join(referenceDir, "adapters", name), name: `a${i}`, strength: 1 })),
      },
      { engine: "onnx-cpu" },
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
