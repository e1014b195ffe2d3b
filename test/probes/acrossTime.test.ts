/** Patching across time on tiny models: its two ends are the two adapters' own runs, and a difference planted at one place is found there and nowhere else. */
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { acrossTime } from "../../probes/acrossTime.ts";
import { componentAblation } from "../../probes/componentAblation.ts";
import type { Probe } from "../../probes/probe.ts";
import { applyEvent, emptyResult, type HeatmapFigure, type ProbeResult } from "../../probes/result.ts";
import { parseSafetensors, writeSafetensors } from "../../server/formats/safetensors.ts";
import { logitDiff } from "../../server/runs/metrics.ts";
import { Runner, type ForwardRequest, type ForwardResult } from "../../server/runs/runner.ts";
import { openSubject, type Subject } from "../../server/runs/subject.ts";
import { planSweep, type SweepRequest } from "../../server/runs/sweep.ts";
import { referenceDir } from "../laws/goldens.ts";
import { lawEngine } from "../lawEngine.ts";

/** Two runs in float32 that differ only in which rows of a batch they are. */
const tolerance = 1e-4;
const prompt = { clean: [5, 9, 3, 44], answer: 4, counterAnswer: 9 };
const demoDir = fileURLToPath(new URL("../../fixtures/demo", import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "deltascope-across-time-"));
afterAll(() => rmSync(scratch, { recursive: true }));

const adapter = (name: string) => join(referenceDir, "adapters", name);
const open = (base: string, into: string, from: string, strengths: readonly [number, number] = [1, 1]): Promise<Subject> =>
  openSubject(
    {
      model: join(referenceDir, "families", base),
      adapters: [
        { path: into, name: "late", strength: strengths[0] },
        { path: from, name: "early", strength: strengths[1] },
      ],
    },
    { engine: lawEngine },
  );

async function run(subject: Subject, params: Record<string, unknown> = {}, probe: Probe = acrossTime): Promise<ProbeResult> {
  let result = emptyResult;
  for await (const event of probe.run(subject, { ...prompt, ...params }, new AbortController().signal)) result = applyEvent(result, event);
  return result;
}

/** A copy of an adapter with the numbers of some tensors changed. */
function changed(source: string, copy: string, change: (tensor: string, values: Float32Array) => void): string {
  const folder = join(scratch, copy);
  cpSync(source, folder, { recursive: true });
  const file = join(folder, "adapter_model.safetensors");
  const { tensors, metadata } = parseSafetensors(readFileSync(file));
  writeSafetensors(
    file,
    [...tensors].map(([tensor, { shape, data }]) => {
      const values = Float32Array.from(data as Float32Array);
      change(tensor, values);
      return { name: tensor, shape, data: values };
    }),
    metadata,
  );
  return folder;
}

/** Values of a panel by "layer kind", such as "1 mlp.in#2". */
function cells(result: ProbeResult, panel: "replaced" | "off", metric: string): Map<string, number> {
  const figure = result.figures.find((each): each is HeatmapFigure => each.id === "across")!;
  const { rows, cols, values } = figure.panels.find(({ id }) => id === panel)!;
  const { data } = result.arrays[values[metric]!.array]!;
  return new Map(
    rows.labels
      .flatMap((row, r) => cols.labels.map((col, c) => [`${row} ${col}`, data[r * cols.labels.length + c]!] as const))
      .filter(([, value]) => !Number.isNaN(value)),
  );
}

const checkNamed = (result: ProbeResult, name: string) => result.checks.find((check) => check.name === name)!;

describe.each([
  ["gpt2", "gpt2-all", "gpt2-c_attn"],
  ["gpt2", "gpt2-layers", "gpt2-all"],
  ["llama", "llama-all-linear", "llama-rslora-patterns"],
  ["llama", "llama-head", "llama-embedding"],
])("on %s, %s with parts of %s", (base, into, from) => {
  it.each(["site", "component"])("by %s, nothing replaced is the first adapter's run and everything replaced the second's", async (unit) => {
    const result = await run(await open(base, adapter(into), adapter(from), [0.8, 1.25]), { unit });
    expect(result.checks.filter((check) => !check.ok)).toEqual([]);
    expect(checkNamed(result, "nothing replaced").value).toBeLessThan(tolerance);
    expect(checkNamed(result, "all sites replaced").value).toBeLessThan(tolerance);
    expect(result.checks).toHaveLength(4);
    expect(result.figures.flatMap(({ nulls }) => nulls ?? [])).toHaveLength(1);
    expect([...cells(result, "replaced", "normalized").values()].every(Number.isFinite)).toBe(true);
  });
});

describe("a difference planted at one site", () => {
  const planted = () =>
    changed(
      adapter("gpt2-all"),
      "planted-site",
      (tensor, values) => tensor.includes("h.1.attn.c_attn.lora_B") && values.forEach((value, i) => (values[i] = -2 * value)),
    );

  it("is 1 at that site and 0 at every other", async () => {
    const result = await run(await open("gpt2", adapter("gpt2-all"), planted()));
    const found = cells(result, "replaced", "normalized");
    expect(found.size).toBe(12);
    for (const [cell, value] of found) expect(Math.abs(value - (cell === "1 attn.qkv" ? 1 : 0)), cell).toBeLessThan(tolerance);
    for (const [cell, value] of cells(result, "replaced", "kl")) expect(value > 1e-6, cell).toBe(cell === "1 attn.qkv");
    expect(result.finding, "on random weights a random change of equal norm moves the answer as far").toBeNull();
  });

  it("has beside it what switching each site off does, as the runner alone measures it", async () => {
    const subject = await open("gpt2", adapter("gpt2-all"), planted());
    const off = cells(await run(subject), "off", "logit_diff");
    const { logits } = await subject.runner!.forward({
      tokens: [prompt.clean],
      settings: [{ strengths: { late: 1 }, components: [{ adapter: "late", site: "blocks.0.mlp.out", component: null, value: 0 }] }],
      logits: { position: prompt.clean.length - 1 },
    });
    expect(off.get("0 mlp.out")).toBeCloseTo(logitDiff(logits!.data, prompt.answer, prompt.counterAnswer), 4);
  });
});

it("says in a sentence which site carries the demo's edit, when chance does far less", async () => {
  const before = changed(join(demoDir, "facts-edit"), "facts-without", (tensor, values) => tensor.includes("h.4.mlp.c_proj.lora_B") && values.fill(0));
  const subject = await openSubject(
    {
      model: join(demoDir, "base"),
      adapters: [
        { path: before, name: "early", strength: 1 },
        { path: join(demoDir, "facts-edit"), name: "late", strength: 1 },
      ],
    },
    { engine: lawEngine },
  );
  const result = await run(subject, { clean: "The capital of Arvenia is", answer: " Tolm", counterAnswer: " Krest" });
  expect(result.finding).toMatch(
    /^L4\.mlp\.out of late in place of early's alone goes 100 % of the way from early to late; random changes of equal norm: -?\d+ % to -?\d+ %\.$/,
  );
});

it("says nothing of a site that carries less than a tenth, though chance does far less", async () => {
  const subject = await openSubject(
    {
      model: join(demoDir, "base"),
      adapters: [
        { path: join(demoDir, "facts-edit"), name: "late", strength: 1 },
        { path: join(demoDir, "ioi-flip"), name: "early", strength: 1 },
      ],
    },
    { engine: lawEngine },
  );
  const result = await run(subject, { clean: "The capital of Arvenia is", answer: " Tolm", counterAnswer: " Krest" });
  const largest = Math.max(...cells(result, "replaced", "normalized").values());
  const reach = Math.max(...result.figures.flatMap(({ nulls = [] }) => nulls.map(({ low, high }) => Math.max(-low, high))));
  expect(largest).toBeGreaterThan(2 * reach);
  expect(largest).toBeLessThan(0.1);
  expect(result.finding).toBeNull();
});

it("a difference planted in one singular component is 1 there and 0 at every other", async () => {
  const into = changed(adapter("gpt2-all"), "diagonal", (tensor, values) => tensor.includes("h.0.mlp.c_fc") && diagonal(tensor, values, [4, 2, 1]));
  const from = changed(adapter("gpt2-all"), "diagonal-grown", (tensor, values) => tensor.includes("h.0.mlp.c_fc") && diagonal(tensor, values, [4, 3, 1]));
  const result = await run(await open("gpt2", into, from), { unit: "component" });
  const found = cells(result, "replaced", "normalized");
  expect(found.size).toBe(12 * 3);
  for (const [cell, value] of found) expect(Math.abs(value - (cell === "0 mlp.in#1" ? 1 : 0)), cell).toBeLessThan(tolerance);
});

/** Factors whose product is diagonal, so that its singular components can be read off: A = [I 0], B = diag(sigma) over zeros. */
function diagonal(tensor: string, values: Float32Array, sigma: readonly number[]): void {
  const rank = sigma.length;
  const width = values.length / rank;
  values.fill(0);
  sigma.forEach((value, k) => (values[tensor.includes("lora_A") ? k * width + k : k * rank + k] = tensor.includes("lora_A") ? 1 : value));
}

/** A runner in which the gates of one site do nothing. */
class StuckRunner extends Runner {
  readonly site: string;
  constructor({ model, adapters, engine }: Runner, site: string) {
    super(model, adapters, engine);
    this.site = site;
  }
  override forward(request: ForwardRequest): Promise<ForwardResult> {
    const settings = request.settings.map((setting) => ({ ...setting, components: (setting.components ?? []).filter(({ site }) => site !== this.site) }));
    return super.forward({ ...request, settings });
  }
}

it("says so when the gates of a site do not silence it", async () => {
  const subject = await open("gpt2", adapter("gpt2-all"), adapter("gpt2-c_attn"));
  const whole = checkNamed(await run(subject), "every gate fired");
  expect(whole).toMatchObject({ ok: true, value: 15 });
  const { runner } = subject;
  if (!runner) throw new Error("the subject has no model");
  const stuck = await run({ ...subject, runner: new StuckRunner(runner, "blocks.1.attn.qkv") });
  expect(checkNamed(stuck, "every gate fired")).toEqual({ ...whole, ok: false, value: 13 });
});

it("each replacement restarts at the layer of its site, not at the first layer of the adapter", async () => {
  const subject = await open("gpt2", adapter("gpt2-all"), adapter("gpt2-c_attn"));
  const sites = [...subject.adapters[1]!.sites.keys()];
  const silent = (but: string) => sites.filter((site) => site !== but).map((site) => ({ adapter: "early", site, component: null, value: 0 }));
  const request: SweepRequest = {
    runner: subject.runner!,
    tokens: prompt.clean,
    setting: { strengths: { late: 1, early: 1 }, components: silent("") },
    sources: {},
    position: 3,
    worlds: sites.map((site) => ({ setting: { strengths: { late: 1, early: 1 }, components: silent(site) }, edits: [] })),
  };
  const { plan } = subject.model!;
  const starts = new Map(planSweep(request).tiles.flatMap(({ start, members }) => members.map((world) => [sites[world], plan[start]?.layer] as const)));
  expect(starts).toEqual(new Map(sites.map((site) => [site, Number(/\d+/.exec(site)![0])])));
});

it.each([
  ["gpt2", "gpt2-all", "gpt2-dora", /"early" \(DoRA\) does more at .*magnitude.*deltascope export/],
  ["llama", "llama-lora-bias", "llama-list", /"late" .*bias on B/],
  ["llama", "llama-saved-norm", "llama-list", /"late" replaces whole parameters of the base/],
])("on %s, %s with %s is refused in words", async (base, into, from, words) => {
  await expect(run(await open(base, adapter(into), adapter(from)))).rejects.toThrow(words);
});

it("adapters that agree on the prompt, and one at strength 0, are refused", async () => {
  await expect(run(await open("gpt2", adapter("gpt2-all"), adapter("gpt2-all")))).rejects.toThrow(/same logit difference/);
  await expect(run(await open("gpt2", adapter("gpt2-all"), adapter("gpt2-c_attn"), [1, 0]))).rejects.toThrow(/"early" has strength 0/);
});

it("a null that edits the output head measures at the answer's position", async () => {
  const subject = await openSubject(
    { model: join(referenceDir, "families", "llama"), adapters: [{ path: adapter("llama-head"), name: "a", strength: 1 }] },
    { engine: lawEngine },
  );
  const result = await run(subject, { nullSamples: 64 }, componentAblation);
  expect(result.checks.filter((check) => !check.ok)).toEqual([]);
});
