/** Probes that run inside training: the numbers are those of the same probe on the checkpoint of that step. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { analysisArray } from "../../probes/insideTraining.ts";
import { componentAblation } from "../../probes/componentAblation.ts";
import { logitLens } from "../../probes/logitLens.ts";
import { applyEvent, emptyResult, type ProbeEvent, type ProbeResult } from "../../probes/result.ts";
import { train } from "../../probes/train.ts";
import { openSubject } from "../../server/runs/subject.ts";
import { checkpointAdapter } from "../../server/training/checkpoint.ts";
import { temporaryDir } from "../laws/methods/harness.ts";
import { lawEngine } from "../lawEngine.ts";

const demo = fileURLToPath(new URL("../../fixtures/demo/base", import.meta.url));
const signal = new AbortController().signal;
const pinned = { clean: "The capital of Arvenia is", answer: " Krest", counterAnswer: " Tolm", nullSamples: 4 };

async function folded(events: AsyncGenerator<ProbeEvent>, until: (event: ProbeEvent) => boolean = () => false): Promise<ProbeResult> {
  let result = emptyResult;
  for await (const event of events) {
    result = applyEvent(result, event);
    if (until(event)) break;
  }
  return result;
}

function data(): string {
  const file = join(temporaryDir(), "texts.jsonl");
  writeFileSync(file, Array.from({ length: 12 }, () => JSON.stringify({ text: "The capital of Arvenia is Tolm" })).join("\n"));
  return file;
}

async function trained(
  analyses: readonly object[],
  folder = temporaryDir(),
  more: object = {},
  isPaused = () => false,
): Promise<{ result: ProbeResult; folder: string }> {
  const subject = await openSubject({ model: demo, adapters: [] }, { engine: lawEngine });
  const params = {
    name: "constructor",
    data: { path: data() },
    options: { rank: 2 },
    sites: { targetModules: ["c_attn", "c_fc"], layers: [1, 3] },
    steps: 6,
    batchSize: 4,
    checkpointEvery: 3,
    optimizer: { learningRate: 0.02, warmupSteps: 0 },
    probes: { maxShare: 0, analyses },
    ...more,
  };
  return { folder, result: await folded(train.run(subject, params, signal, { folder, isPaused })) };
}

it.each([
  ["lora", "componentAblation", componentAblation, pinned],
  ["dora", "componentAblation", componentAblation, pinned],
  ["adalora", "logitLens", logitLens, { prompt: pinned.clean }],
] as const)("a %s's %s at a step has the numbers of running it afterwards on the checkpoint of that step", async (method, name, probe, params) => {
  const { result, folder } = await trained([{ probe: name, every: 3, params }], undefined, { method, options: method === "adalora" ? {} : { rank: 2 } });
  for (const step of [3, 6]) {
    const subject = await openSubject(
      { model: demo, adapters: [{ path: checkpointAdapter(folder, step), name: "constructor", strength: 1 }] },
      { engine: lawEngine },
    );
    const after = await folded(probe.run(subject, params, signal));
    expect(Object.keys(after.arrays).length).toBeGreaterThan(0);
    for (const [array, { data: numbers, shape }] of Object.entries(after.arrays)) {
      const inside = result.arrays[analysisArray(0, step, array)];
      expect(inside?.shape, array).toEqual(shape);
      expect(inside?.data, array).toEqual(numbers);
    }
    expect(after.figures.length).toBeGreaterThan(0);
    for (const { id } of after.figures) expect(result.figures.map((figure) => figure.id)).toContain(`analysis.0.${id}`);
  }
  const shown = result.figures.find(({ id }) => id.startsWith("analysis.0."))!;
  expect(shown.subtitle).toMatch(/^After step 6/);
  // Figures point at arrays that are there.
  for (const [, array] of JSON.stringify(shown).matchAll(/"array":"([^"]+)"/g)) expect(Object.keys(result.arrays)).toContain(array);
});

it("looking through probes leaves what is trained as it is, bit by bit", async () => {
  const [plain, watched] = [await trained([]), await trained([{ probe: "componentAblation", every: 2, params: pinned }])];
  const weights = ({ folder }: { folder: string }) => readFileSync(join(checkpointAdapter(folder, 6), "adapter_model.safetensors"));
  expect(weights(watched).equals(weights(plain))).toBe(true);
  expect(Object.keys(watched.result.arrays).filter((name) => name.startsWith("analysis.0.2.")).length).toBeGreaterThan(0);
});

it("a run that goes on from a checkpoint shows what probes found before it", async () => {
  const folder = temporaryDir();
  let steps = 0;
  const analyses = [{ probe: "componentAblation", every: 2, params: pinned }];
  await trained(analyses, folder, {}, () => ++steps > 3);
  const { result } = await trained(analyses, folder);
  const found = new Set(Object.keys(result.arrays).flatMap((name) => /^analysis\.0\.(\d+)\./.exec(name)?.[1] ?? []));
  expect([...found]).toEqual(["2", "4", "6"]);
});

it("a probe that does not exist, parameters that it does not take, and training of all weights are refused before the first step", async () => {
  await expect(trained([{ probe: "componentAblatoin", every: 1 }])).rejects.toThrow(/componentAblatoin.*componentAblation/);
  await expect(trained([{ probe: "acrossTime", every: 1 }])).rejects.toThrow(/no probe that looks at one adapter/);
  await expect(trained([{ probe: "componentAblation", every: 1, params: { ...pinned, nullSample: 3 } }])).rejects.toThrow(
    /probes\.analyses\[0\]\.params.*nullSample/,
  );
  await expect(trained([{ probe: "componentAblation", every: 1, params: pinned }], undefined, { method: "full", options: {}, sites: {} })).rejects.toThrow(
    /no adapter/,
  );
});
