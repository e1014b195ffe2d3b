/** Every probe of the registry on a small subject: defaults parse, numbers are final and finite, labels fit axes, abort stops it. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { figureRefs } from "../../client/figures/aboutFigure.ts";
import { probes } from "../../probes/registry.ts";
import { applyEvent, emptyResult, slice, type Axis, type Figure, type ProbeResult } from "../../probes/result.ts";
import { Runner, type ForwardRequest, type ForwardResult } from "../../server/runs/runner.ts";
import { openSubject, type Subject } from "../../server/runs/subject.ts";
import { readGolden, referenceDir, relativeError } from "./goldens.ts";
import { lawEngine } from "../lawEngine.ts";

let subject: Subject;
let pair: Subject;
const open = (...adapters: readonly string[]) =>
  openSubject(
    {
      model: join(referenceDir, "families", "gpt2"),
      adapters: adapters.map((folder, i) => ({ path: join(referenceDir, "adapters", folder), name: "ab"[i]!, strength: 1 })),
    },
    { engine: lawEngine },
  );
beforeAll(async () => {
  subject = await open("gpt2-all");
  pair = await open("gpt2-all", "gpt2-c_attn");
});

/** Training changes weights and writes a folder; it is held to the same and more by its own tests. */
type Looking = Exclude<keyof typeof probes, "train">;
const params: Record<Looking, Record<string, unknown>> = {
  adapterHealth: { prompt: [5, 6, 7, 8] },
  deltaSpectrum: {},
  activationPatching: { clean: [5, 6, 7, 8], answer: 4, counterAnswer: 9 },
  componentAblation: { clean: [5, 6, 7, 8], answer: 4, counterAnswer: 9 },
  logitLens: { prompt: [5, 6, 7, 8] },
  attentionPatterns: { prompt: [5, 6, 7, 8] },
  acrossTime: { clean: [5, 6, 7, 8], answer: 4, counterAnswer: 9 },
};
const subjectOf = (name: Looking): Subject => (probes[name].adapters.min > 1 ? pair : subject);
const names = Object.keys(params) as Looking[];

async function run(name: Looking, raw: Record<string, unknown>, of = subjectOf(name)): Promise<ProbeResult> {
  let result = emptyResult;
  for await (const event of probes[name].run(of, raw, new AbortController().signal)) result = applyEvent(result, event);
  return result;
}

const axesOf = (figure: Figure): readonly Axis[] => {
  if (figure.kind === "heatmap") return figure.panels.flatMap(({ rows, cols }) => [rows, cols]);
  return figure.kind === "tokenGrid" ? [figure.rows, figure.cols] : [];
};

describe.each(names)("%s", (name) => {
  it("ends with finite numbers, figures whose labels are as long as their axes, and every self-check passed", async () => {
    const result = await run(name, params[name]);
    expect(result.figures.length).toBeGreaterThan(0);
    for (const [array, { data }] of Object.entries(result.arrays)) expect(data.every(Number.isFinite), array).toBe(true);
    for (const figure of result.figures) {
      for (const { ref, shape } of figureRefs(figure)) {
        const found = slice(result.arrays, ref).shape;
        expect(
          shape.map((size, axis) => size ?? found[axis]),
          `${figure.id}: ${ref.array}`,
        ).toEqual(found);
      }
    }
    for (const { places, labels } of result.figures.flatMap(axesOf)) {
      expect(places).toHaveLength(labels.length);
      expect(new Set(places.map((place) => JSON.stringify(place))).size).toBe(labels.length);
    }
    expect(result.checks.length).toBeGreaterThan(0);
    expect(result.checks.filter((check) => !check.ok)).toEqual([]);
  });

  it("refuses a parameter it does not know, by name", async () => {
    await expect(run(name, { ...params[name], nonsense: 1 })).rejects.toThrow(/nonsense/);
  });

  it("stops when aborted", async () => {
    const controller = new AbortController();
    controller.abort();
    const drained = (async () => {
      for await (const event of probes[name].run(subjectOf(name), params[name], controller.signal)) void event;
    })();
    await expect(drained).rejects.toThrow(/cancelled/);
  });
});

/** A runner in which one hook gives nothing, and the other hooks and the logits are as they were. */
class DeafRunner extends Runner {
  readonly hook: string;
  constructor({ model, adapters, engine }: Runner, hook: string) {
    super(model, adapters, engine);
    this.hook = hook;
  }
  override async forward(request: ForwardRequest): Promise<ForwardResult> {
    const result = await super.forward(request);
    return { ...result, taps: Object.fromEntries(Object.entries(result.taps).filter(([name]) => name !== this.hook)) };
  }
}

it.each<[Looking, string, number]>([
  ["activationPatching", "blocks.1.attn.hook_z", 4],
  ["activationPatching", "blocks.0.hook_resid_pre", 4],
  ["logitLens", "blocks.1.hook_resid_pre", 4],
  ["attentionPatterns", "blocks.2.attn.hook_pattern", 4 * 4 * 4],
])("%s says so when %s does not fire, and leaves %i cells of a panel empty", async (name, hook, empty) => {
  const whole = await run(name, params[name]);
  const { runner } = subject;
  if (!runner) throw new Error("the subject has no model");
  const result = await run(name, params[name], { ...subject, runner: new DeafRunner(runner, hook) });
  const fired = (of: ProbeResult) => of.checks.find((check) => check.name === "every hook fired");
  expect(fired(whole)?.ok).toBe(true);
  expect(fired(result)).toEqual({ ...fired(whole), ok: false, value: (fired(whole)?.value ?? 0) - 1 });
  const missing = Object.values(result.arrays).map(({ data }) => data.filter(Number.isNaN).length);
  expect(missing).toContain(empty);
  for (const [array, { data }] of Object.entries(result.arrays))
    data.forEach((value, i) => expect(Number.isNaN(value) || value === whole.arrays[array]?.data[i], `${array} ${i}`).toBe(true));
});

it("the spectrum probe has the singular values of W_adapted − W_base", async () => {
  const golden = readGolden("adapters", "gpt2-all", "golden.safetensors");
  const result = await run("deltaSpectrum", { alignWith: 0 });
  for (const site of subject.adapters[0]!.sites.values()) {
    const found = result.arrays[`${site.site}.singular_values`]!.data;
    expect(relativeError(found, golden.floats(`singular_values.${site.modulePath}`).slice(0, found.length))).toBeLessThan(1e-5);
  }
});

it("component effects of a site sum to more than none: the strongest component matters more than the null", async () => {
  const result = await run("componentAblation", params.componentAblation);
  const strongest = Math.max(...result.arrays["effect"]!.data.map(Math.abs));
  expect(strongest).toBeGreaterThan(0.05);
});

it("two adapters in one batch add up as peft's do", async () => {
  const golden = readGolden("additive", readdirSync(join(referenceDir, "additive"))[0]!);
  const adapters = ["first", "second"].map((name) => ({ path: join(referenceDir, "adapters", golden.metadata[name]!), name, strength: 1 }));
  const both = await openSubject({ model: join(referenceDir, "families", golden.metadata["base"]!), adapters }, { engine: lawEngine });
  const ids = golden.ids("ids");
  for (const [part, strengths] of [
    ["first", { first: 1 }],
    ["second", { second: 1 }],
    ["first_second", { first: 1, second: 1 }],
  ] as const) {
    const { logits } = await both.runner!.forward({ tokens: ids, settings: [{ strengths }], logits: "all" });
    expect(relativeError(logits!.data, golden.floats(part)), part).toBeLessThan(1e-4);
  }
});
