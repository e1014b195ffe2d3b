/** Worlds on an adapter in training: what a runner measures in the same worlds on the adapter that it saves. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { gaussians, randomStream } from "../../server/linalg/random.ts";
import { layerHooks } from "../../server/models/siteNames.ts";
import { hookPlace, hookShape } from "../../server/runs/hookNames.ts";
import { openSubject } from "../../server/runs/subject.ts";
import type { Runner } from "../../server/runs/runner.ts";
import { sweep } from "../../server/runs/sweep.ts";
import { baseSetting, type AdapterSetting, type World, type WorldEdit } from "../../server/runs/worlds.ts";
import { float32, sizeOf, type FloatTensor } from "../../server/tensors/hostTensor.ts";
import { startAdaptation, type Adaptation } from "../../server/training/adaptation.ts";
import { liveBatch, liveLogits, type LivePrompt } from "../../server/training/liveWorlds.ts";
import { saveAdaptation } from "../../server/training/saveAdaptation.ts";
import { siteParams } from "../../server/training/trainingParams.ts";
import { TrainingPrograms } from "../../server/training/trainingPrograms.ts";
import { relativeError } from "../laws/goldens.ts";
import { harness, perturb, temporaryDir, type Harness, type HarnessOptions } from "../laws/methods/harness.ts";
import { lawEngine } from "../lawEngine.ts";

/** Float32 sums of a few layers in another order. */
const tolerance = 1e-5;
/** An effect that no rounding makes. */
const clear = 1e-3;
const none = new Float32Array();
const on: World = { setting: { strengths: { a: 1 } }, edits: [] };
const off: World = { setting: baseSetting, edits: [] };

function alone(sites: readonly string[], site: string): World {
  const components = sites.filter((other) => other !== site).map((other) => ({ adapter: "a", site: other, component: null, value: 0 }));
  return { setting: { strengths: { a: 1 }, components }, edits: [] };
}

/** A place that is not the start. */
async function begun(method: string, options: HarnessOptions = {}): Promise<Harness & { sites: string[] }> {
  const h = await harness(method, options);
  perturb(h.adaptation, 0.1);
  return { ...h, sites: h.adaptation.sites.map(({ site }) => site.name) };
}

function prompt({ model }: Harness, length: number, more: Partial<LivePrompt> = {}): LivePrompt {
  const random = randomStream(length, "prompt");
  return { ids: Array.from({ length }, () => random.below(model.config.dVocab)), ...more };
}

const live = ({ programs }: Harness) => ({ programs, name: "a" });

const logitsOf = (h: Harness, prompts: readonly LivePrompt[], worlds: readonly World[]) => liveLogits(live(h), { prompts, worlds });

async function openedFrom(model: string, folder: string): Promise<Runner> {
  const { runner } = await openSubject({ model, adapters: [{ path: folder, name: "a", strength: 1 }] }, { engine: lawEngine });
  if (!runner) throw new Error("no runner");
  return runner;
}

/** The runner of the adapter opened from what training writes. */
async function opened(adaptation: Adaptation): Promise<Runner> {
  const folder = join(temporaryDir(), "adapter");
  saveAdaptation(folder, adaptation);
  return openedFrom(adaptation.model.path, folder);
}

/** What a sweep has for each world, after one prompt. */
async function swept(runner: Runner, { ids, sources = {} }: LivePrompt, worlds: readonly World[]): Promise<Float32Array[]> {
  const found: Float32Array[] = [];
  for await (const tile of sweep({ runner, tokens: ids, setting: on.setting, worlds, sources, position: ids.length - 1 })) {
    const width = tile.logits.data.length / tile.worlds.length;
    tile.worlds.forEach((world, row) => (found[world] = tile.logits.data.slice(row * width, (row + 1) * width)));
  }
  return found;
}

function randomValue({ hooks }: Pick<Runner, "hooks">, hook: string, { ids }: LivePrompt): FloatTensor {
  const shape = hookShape(hookPlace(hooks, hook), 1, ids.length);
  return float32(gaussians(sizeOf(shape), 1, randomStream(3, hook, ids.length)), shape);
}

async function expectSwept(h: Harness, worlds: readonly World[], prompts: readonly LivePrompt[]): Promise<void> {
  const runner = await opened(h.adaptation);
  const found = await liveLogits(live(h), { prompts, worlds });
  for (const [p, each] of prompts.entries()) {
    const expected = await swept(runner, each, worlds);
    for (const w of worlds.keys()) expect(relativeError(found[w]?.[p] ?? none, expected[w] ?? none), `world ${w}, prompt ${p}`).toBeLessThan(tolerance);
    const [first] = expected;
    for (const other of expected.slice(1)) expect(relativeError(other, first ?? none)).toBeGreaterThan(clear);
  }
}

const methods = [
  ["lora", "gpt2", ["c_attn", "c_fc"]],
  ["lora", "llama", ["q_proj", "down_proj", "lm_head"]],
  ["dora", "gpt2", ["c_attn", "c_fc"]],
  ["dora", "llama", ["q_proj", "down_proj"]],
  ["pissa", "gpt2", ["c_attn", "c_fc"]],
  ["hira", "llama", ["q_proj", "down_proj"]],
  ["oliera", "gpt2", ["c_attn", "c_fc"]],
  ["structure", "gpt2", ["c_attn", "c_fc"]],
] as const;

describe.each(methods)("%s on %s, at %s", (method, family, targets) => {
  const start = () => begun(method, { family, targetModules: [...targets], ...(method === "hira" || method === "lora" ? { options: { rank: 4 } } : {}) });

  it("on, off, at half strength, one site alone, and a site at part of its strength: as the runner has it, prompts of several lengths together", async () => {
    const h = await start();
    const [first = "", last = ""] = [h.sites[0], h.sites.at(-1)];
    const part: AdapterSetting = { strengths: { a: 0.7 }, components: [{ adapter: "a", site: last, component: null, value: -2 }] };
    const worlds = [on, off, { ...on, setting: { strengths: { a: 0.5 } } }, alone(h.sites, first), alone(h.sites, last), { setting: part, edits: [] }];
    await expectSwept(h, worlds, [prompt(h, 5), prompt(h, 1), prompt(h, 12)]);
  });

  it("with activations replaced, at a place, in a head, everywhere, in two places of one hook, and with a site off beside it", async () => {
    const h = await start();
    const runner = await opened(h.adaptation);
    const [out = ""] = layerHooks(runner.model.plan, "hook_mlp_out");
    const [z = ""] = layerHooks(runner.model.plan, "attn.hook_z");
    const [pattern = ""] = layerHooks(runner.model.plan, "attn.hook_pattern");
    const prompts = [5, 3].map((length) => {
      const bare = prompt(h, length);
      return { ...bare, sources: { other: Object.fromEntries([out, z, pattern].map((hook) => [hook, randomValue(runner, hook, bare)])) } };
    });
    const edit = (hook: string, more: Partial<WorldEdit> = {}): WorldEdit => ({ hook, position: null, head: null, source: "other", ...more });
    const worlds: World[] = [
      { ...on, edits: [edit(out, { position: 2 })] },
      { ...on, edits: [edit(z, { head: 1 })] },
      { ...alone(h.sites, h.sites[0] ?? ""), edits: [edit(out)] },
      { ...off, edits: [edit(z, { position: 2, head: 0 })] },
      { ...on, edits: [edit(pattern, { head: 0 })] },
    ];
    await expectSwept(h, worlds, prompts);
    const parts = [0, 1, 2].map((position) => edit(out, { position }));
    const [last] = prompts.slice(1);
    const found = await logitsOf(
      h,
      last ? [last] : [],
      [parts, [edit(out)], parts.slice(1)].map((edits) => ({ ...on, edits })),
    );
    const [together = none, whole = none, two = none] = found.flat();
    expect(relativeError(together, whole)).toBeLessThan(tolerance);
    expect(relativeError(two, whole)).toBeGreaterThan(clear);
  });
});

/** Head · (normalised ⊙ w + b), in float64. */
function classified({ model, adaptation }: Harness, normalised: Float32Array): Float32Array {
  const { dModel } = model.config;
  const held = model.weights("unembed");
  const [w, b] = ["ln_final.w", "ln_final.b"].map((name) => held[name]?.data() ?? new Float32Array());
  const head = adaptation.head?.data ?? new Float32Array();
  return Float32Array.from(adaptation.labels, (_, label) =>
    normalised.reduce((sum, x, d) => sum + (x * (w?.[d] ?? NaN) + (b?.[d] ?? NaN)) * (head[label * dModel + d] ?? NaN), 0),
  );
}

it("gates on one site multiply, and with the strength: LoRA with B times their product there", async () => {
  const h = await begun("lora");
  const [site = ""] = h.sites;
  const gates = [0.5, -3].map((value) => ({ adapter: "a", site, component: null, value }));
  const [[gated = none] = []] = await logitsOf(h, [prompt(h, 5)], [{ setting: { strengths: { a: 0.8 }, components: gates }, edits: [] }]);
  for (const state of h.adaptation.sites) {
    const b = state.trained["loraB"]?.data ?? none;
    b.set(b.map((value) => value * 0.8 * (state.site.name === site ? -1.5 : 1)));
  }
  const [[scaled = none] = []] = await logitsOf(h, [prompt(h, 5)], [on]);
  expect(relativeError(gated, scaled)).toBeLessThan(tolerance);
});

it("a classifier's labels are its head on the last hidden state that the runner has in each world", async () => {
  const h = await begun("lora", { labels: ["yes", "no", "perhaps"] });
  const worlds = [on, off, alone(h.sites, h.sites[0] ?? "")];
  const prompts = [prompt(h, 6), prompt(h, 4)];
  const runner = await opened({ ...h.adaptation, head: null });
  const { dModel } = h.model.config;
  const found = await logitsOf(h, prompts, worlds);
  for (const [p, { ids }] of prompts.entries()) {
    const hook = "ln_final.hook_normalized";
    const { taps } = await runner.forward({ tokens: worlds.map(() => ids), settings: worlds.map(({ setting }) => setting), taps: [hook], logits: "none" });
    for (const w of worlds.keys()) {
      const from = ((w + 1) * ids.length - 1) * dModel;
      const expected = classified(h, taps[hook]?.data.slice(from, from + dModel) ?? new Float32Array());
      expect(relativeError(found[w]?.[p] ?? none, expected)).toBeLessThan(tolerance);
      if (w > 0) expect(relativeError(expected, found[0]?.[p] ?? none)).toBeGreaterThan(clear);
    }
  }
});

it("each prompt has its task's adapter, as the saved adapter has it with that task active", async () => {
  const h = await begun("structure", { tasks: ["first", "second"] });
  const worlds = [on, alone(h.sites, h.sites[1] ?? "")];
  const prompts = [prompt(h, 5, { task: 1 }), prompt(h, 5), prompt(h, 7, { task: 1 })];
  const found = await logitsOf(h, prompts, worlds);
  const folder = join(temporaryDir(), "adapter");
  saveAdaptation(folder, h.adaptation);
  const config = join(folder, "adapter_config.json");
  for (const [p, each] of prompts.entries()) {
    const about: object = JSON.parse(readFileSync(config, "utf8"));
    writeFileSync(config, JSON.stringify({ ...about, structure_active_task: h.adaptation.tasks[each.task ?? 0] }));
    const expected = await swept(await openedFrom(h.model.path, folder), each, worlds);
    for (const w of worlds.keys()) expect(relativeError(found[w]?.[p] ?? none, expected[w] ?? none)).toBeLessThan(tolerance);
  }
  expect(relativeError(found[0]?.[0] ?? none, found[0]?.[1] ?? none)).toBeGreaterThan(clear);
});

it("rope whose angles depend on the length counts a prompt's own tokens, not its padding", async () => {
  const h = await begun("lora", { family: "llama-dynamic", targetModules: ["q_proj", "v_proj"] });
  await expectSwept(
    h,
    [on, off, alone(h.sites, h.sites[0] ?? "")],
    [9, 13, 20].map((length) => prompt(h, length)),
  );
});

it("a site that is off is the base's there, be its term infinite", async () => {
  const h = await begun("lora");
  const [broken = "", other = ""] = h.sites;
  const before = await logitsOf(h, [prompt(h, 5)], [off, alone(h.sites, other)]);
  h.adaptation.sites[0]?.trained["loraB"]?.data.fill(Infinity);
  const after = await logitsOf(h, [prompt(h, 5)], [off, alone(h.sites, other), alone(h.sites, broken)]);
  expect(after.slice(0, 2)).toEqual(before);
  expect(after[2]?.[0]?.every(Number.isNaN)).toBe(true);
});

it("many worlds go through batches of one shape and of a bounded number of tokens, with the numbers of each world alone", async () => {
  const h = await begun("lora");
  const prompts = [prompt(h, 9), prompt(h, 2)];
  const worlds = Array.from({ length: 41 }, (_, i): World => ({ setting: { strengths: { a: i / 10 } }, edits: [] }));
  const sizes: number[] = [];
  const programs = new Proxy(h.programs, {
    get(target, name): unknown {
      if (name !== "logitsAt") return Reflect.get(target, name);
      return (...given: Parameters<TrainingPrograms["logitsAt"]>) => {
        sizes.push(given[0].rows * given[0].positions);
        return target.logitsAt(...given);
      };
    },
  });
  const found = await liveLogits({ programs, name: "a" }, { prompts, worlds });
  const { rows, positions } = liveBatch(prompts, worlds.length, h.model.config.nCtx);
  expect(sizes).toEqual([rows * positions, rows * positions, rows * positions]);
  expect(rows * positions).toBeLessThanOrEqual(512);
  for (const w of [0, 13, 27, 40]) {
    const single = await logitsOf(h, prompts, worlds.slice(w, w + 1));
    for (const p of prompts.keys()) expect(relativeError(found[w]?.[p] ?? none, single[0]?.[p] ?? none)).toBeLessThan(tolerance);
  }
});

describe("refused by name", () => {
  const gate = { adapter: "a", site: "blocks.0.attn.qkv", component: null, value: 0 };
  const edited = (edit: Partial<WorldEdit>): World => ({
    ...on,
    edits: [{ hook: "blocks.1.hook_mlp_out", position: null, head: null, source: "other", ...edit }],
  });
  it.each<[string, World, RegExp]>([
    ["another adapter", { ...on, setting: { strengths: { b: 1 } } }, /adapter "b" is not the one in training/],
    [
      "a site that is not adapted",
      { ...on, setting: { ...on.setting, components: [{ ...gate, site: "blocks.0.attn.qvk" }] } },
      /"blocks\.0\.attn\.qvk".*blocks\.0\.attn\.qkv/,
    ],
    [
      "a single component",
      { ...on, setting: { ...on.setting, components: [{ ...gate, component: 2 }] } },
      /component 2 of blocks\.0\.attn\.qkv.*probes\.analyses/,
    ],
    ["a hook", edited({ hook: "blocks.1.hook_mlp_oot" }), /"blocks\.1\.hook_mlp_oot" is unknown.*hook_mlp_out/],
    ["a source", edited({ source: "clean" }), /source "clean" of a prompt of 4 tokens has no values for "blocks\.1\.hook_mlp_out"/],
    ["a place behind the prompt", edited({ position: 4 }), /position 4.*no such place in a prompt of 4 tokens/],
    ["a head where there is none", edited({ head: 0 }), /has no heads/],
    ["values of another shape", edited({ source: "short" }), /is \[1, 3, 32\]; expected \[1, 4, 32\]/],
  ])("%s", async (_, world, message) => {
    const h = await begun("lora");
    const value = (length: number) => ({
      "blocks.1.hook_mlp_out": float32(new Float32Array(length * h.model.config.dModel), [1, length, h.model.config.dModel]),
    });
    const given = prompt(h, 4, { sources: { other: value(4), short: value(3) } });
    await expect(logitsOf(h, [given], [on, world])).rejects.toThrow(message);
  });

  it("a strength where all weights are trained, an empty prompt, a task that is none, and a run that was cancelled", async () => {
    const h = await begun("lora");
    await expect(logitsOf(h, [{ ids: [] }], [on])).rejects.toThrow(/no tokens/);
    await expect(logitsOf(h, [prompt(h, 4, { task: 1 })], [on])).rejects.toThrow(/task 1 of a prompt is none of the run's; expected 0 to 0/);
    const request = { prompts: [prompt(h, 4)], worlds: [on], signal: AbortSignal.abort() };
    await expect(liveLogits(live(h), request)).rejects.toThrow(/cancelled/);
    const full = new TrainingPrograms(
      h.programs.engine,
      startAdaptation(h.model, { method: "full", options: {}, sites: siteParams.parse({}), labels: [], tasks: [], seed: 0, runKey: "full" }),
    );
    await expect(liveLogits({ programs: full, name: "a" }, { prompts: [prompt(h, 4)], worlds: [off] })).rejects.toThrow(/all weights are trained/);
    const [whole] = await liveLogits({ programs: full, name: "a" }, { prompts: [prompt(h, 4)], worlds: [on] });
    const [base] = await logitsOf(h, [prompt(h, 4)], [off]);
    expect(relativeError(whole?.[0] ?? none, base?.[0] ?? none)).toBeLessThan(tolerance);
  });
});
