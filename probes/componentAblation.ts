/** Component ablation: each singular component of each adapter site switched off, one at a time, as rows of a few batches. */
import * as z from "zod";
import { WorkbenchError } from "../server/errors.ts";
import type { Runner } from "../server/runs/runner.ts";
import { adapterHookName, siteKind, type AdapterHook } from "../server/models/siteNames.ts";
import { sweep, type SweepRequest } from "../server/runs/sweep.ts";
import { baseSetting, strengthOf, type AdapterSetting, type ComponentGate, type World } from "../server/runs/worlds.ts";
import { float32, type FloatTensor } from "../server/tensors/hostTensor.ts";
import { klDivergence, logitDiff } from "../server/runs/metrics.ts";
import { first, isOne, isZero, plannerCheck } from "./causal/checks.ts";
import { measured, measuredSweep } from "./causal/measuredSweep.ts";
import { beatsDraws, clearsNull, nullBands, nullFields } from "./causal/nulls.ts";
import { chanceWords, percent } from "./causal/words.ts";
import { defineProbe } from "./defineProbe.ts";
import { promptPairFields, readPrompt, readToken } from "./promptPair.ts";
import { randomDirection, sampleIndices, uniform } from "../server/linalg/random.ts";
import type { BarsFigure, HeatmapFigure, Metric, NullBand, Place, ProbeEvent } from "./result.ts";

const params = z.strictObject({
  clean: promptPairFields.clean,
  answer: promptPairFields.answer,
  counterAnswer: promptPairFields.counterAnswer,
  ...nullFields("random rank-one terms of equal norm", 24),
  strongest: z.int().min(1).max(200).default(24).describe("How many components the bar figure shows"),
});
type Params = z.infer<typeof params>;

interface Component extends Place {
  readonly layer: number;
  readonly site: string;
  readonly adapter: string;
  readonly component: number;
}

/** Random terms drawn in the place of the component that a finding would name. */
const ownDraws = 24;

const metrics: readonly Metric[] = [
  { id: "effect", label: "share of the adapter's effect", unit: "1 = the whole effect is lost when switched off", scale: "diverging" },
  { id: "logit_diff", label: "logit difference", unit: "logits", scale: "diverging" },
  { id: "kl", label: "KL from the adapted run", unit: "nats", scale: "sequential" },
];

export const componentAblation = defineProbe<Params>({
  title: "Components",
  summary: "Which singular components of the adapter does the behaviour need?",
  source: "components of ΔW = U Σ Vᵀ by site; effect as a share of the base-to-adapted logit difference",
  needs: "activations",
  adapters: { min: 1, max: 16 },
  params,
  async *run(subject, options, signal): AsyncGenerator<ProbeEvent, void, void> {
    const runner = subject.runner!;
    const prompt = readPrompt(subject, options.clean, "clean");
    const answer = readToken(subject, options.answer, "answer");
    const counterAnswer = readToken(subject, options.counterAnswer, "counterAnswer");
    const position = prompt.ids.length - 1;
    const components = allComponents(runner, subject.setting);
    if (components.length === 0) throw new WorkbenchError("probe.notApplicable", "no adapter is on, so there is no component to switch off");

    const logitsOf = async (setting: AdapterSetting) =>
      (await runner.forward({ tokens: [prompt.ids], settings: [setting], logits: { position }, signal })).logits!.data;
    const adapted = await logitsOf(subject.setting);
    const base = await logitsOf(baseSetting);
    const adaptedDiff = logitDiff(adapted, answer, counterAnswer);
    const baseDiff = logitDiff(base, answer, counterAnswer);
    if (Math.abs(adaptedDiff - baseDiff) < 1e-6) {
      throw new WorkbenchError(
        "probe.notApplicable",
        `the adapter does not move the logit difference on this prompt (${adaptedDiff.toPrecision(4)} with and without it); choose another prompt or answers`,
      );
    }
    const effect = (diff: number) => (adaptedDiff - diff) / (adaptedDiff - baseDiff);

    const columns = columnLabels(components);
    const { nLayers } = runner.model.config;
    const cells = components.map((component) => component.layer * columns.length + columns.indexOf(columnLabel(component)));
    for (const { id } of metrics) {
      yield { type: "array", name: id, shape: [components.length], axes: ["component"] };
      yield { type: "array", name: `grid.${id}`, shape: [nLayers, columns.length], axes: ["layer", "component"] };
    }
    yield { type: "figure", figure: gridFigure(nLayers, columns, []) };

    const worlds = components.map((component): World => ({
      setting: { ...subject.setting, components: [{ adapter: component.adapter, site: component.site, component: component.component, value: 0 }] },
      edits: [],
    }));
    const request: SweepRequest = { runner, tokens: prompt.ids, setting: subject.setting, worlds, sources: {}, position, signal };
    const effects = new Float32Array(components.length).fill(NaN);
    yield* measuredSweep(request, "components", function* (worlds): Generator<ProbeEvent> {
      for (const { index, logits } of worlds) {
        const diff = logitDiff(logits, answer, counterAnswer);
        const values = { effect: effect(diff), logit_diff: diff, kl: klDivergence(adapted, logits) };
        effects[index] = values.effect;
        for (const [id, value] of Object.entries(values)) {
          yield { type: "tile", array: id, offset: index, data: Float32Array.of(value) };
          yield { type: "tile", array: `grid.${id}`, offset: cells[index] ?? 0, data: Float32Array.of(value) };
        }
      }
    });

    const effectOf = (logits: Float32Array): number => effect(logitDiff(logits, answer, counterAnswer));
    yield* selfChecks(request, effectOf);
    const draws = await nullDraws(request, drawnComponents(components, options), options.seed, effectOf);
    const nulls = nullBands("effect", draws, "random rank-one terms of equal norm");
    yield { type: "figure", figure: gridFigure(nLayers, columns, nulls) };
    const order = [...effects.keys()].sort((a, b) => Math.abs(effects[b]!) - Math.abs(effects[a]!)).slice(0, options.strongest);
    yield* strongestBars(components, order, effects, nulls);
    const finding = await describeFinding(request, components, effects, nulls[0], options.seed, effectOf);
    if (finding) yield { type: "finding", text: finding };
  },
});

function allComponents(runner: Runner, setting: AdapterSetting): Component[] {
  return runner.adapters
    .filter((adapter) => (setting.strengths[adapter.name] ?? 0) !== 0)
    .flatMap((adapter) =>
      [...adapter.sites.values()].flatMap((site) =>
        Array.from({ length: site.rank }, (_, component) => ({ layer: site.layer, site: site.site, adapter: adapter.name, component })),
      ),
    );
}

/** "mlp.in#0", with the adapter before it when several are on. */
function columnLabel(component: Component): string {
  return `${component.adapter}·${siteKind(component.site)}#${component.component}`;
}

function columnLabels(components: readonly Component[]): string[] {
  return [...new Set(components.map(columnLabel))];
}

function gridFigure(nLayers: number, columns: readonly string[], nulls: readonly NullBand[]): HeatmapFigure {
  const oneAdapter = new Set(columns.map((column) => column.split("·")[0])).size === 1;
  return {
    kind: "heatmap",
    id: "components",
    title: "Every component of every site",
    subtitle: "Each singular component of ΔW switched off alone · share of the adapter's effect on the answer that is lost",
    metrics,
    nulls,
    panels: [
      {
        id: "components",
        title: "Components by layer and site",
        rows: { name: "layer", labels: Array.from({ length: nLayers }, (_, layer) => String(layer)) },
        cols: { name: "component", labels: oneAdapter ? columns.map((column) => column.slice(column.indexOf("·") + 1)) : columns },
        values: Object.fromEntries(metrics.map(({ id }) => [id, { array: `grid.${id}` }])),
      },
    ],
  };
}

function* strongestBars(components: readonly Component[], order: readonly number[], effects: Float32Array, nulls: readonly NullBand[]): Generator<ProbeEvent> {
  yield { type: "array", name: "strongest.effect", shape: [order.length], axes: ["component"] };
  yield { type: "tile", array: "strongest.effect", offset: 0, data: Float32Array.from(order, (index) => effects[index]!) };
  const figure: BarsFigure = {
    kind: "bars",
    id: "strongest",
    title: "Strongest components",
    subtitle: "Effect on the answer when switched off, as a share of the adapter's whole effect",
    metrics: [metrics[0]!],
    nulls,
    bars: order.map((index) => {
      const { layer, site, component, adapter } = components[index]!;
      return { label: `L${layer}.${siteKind(site)}#${component}`, group: adapter, place: { layer, site, component, adapter } };
    }),
    values: { effect: { array: "strongest.effect" } },
  };
  yield { type: "figure", figure };
}

/** Gates at 1 are the adapted run; all gates at 0 take the whole low-rank effect away; planner equals one pass a world. */
async function* selfChecks(request: SweepRequest, effectOf: (logits: Float32Array) => number): AsyncGenerator<ProbeEvent, void, void> {
  const gatesOf = (worlds: readonly World[]) => worlds.flatMap((world) => world.setting.components ?? []);
  const effectAt = async (components: readonly ComponentGate[]) =>
    effectOf(await first(sweep({ ...request, worlds: [{ edits: [], setting: { ...request.setting, components } }] })));
  yield isZero("component gates at 1", Math.abs(await effectAt(gatesOf(request.worlds.slice(0, 1)).map((gate) => ({ ...gate, value: 1 })))), "the adapted run");
  const onlyLowRank = request.runner.adapters.every(
    (adapter) => adapter.saved.length === 0 && [...adapter.sites.values()].every((site) => site.beyondLowRank === null),
  );
  if (onlyLowRank) yield isOne("all components off", await effectAt(gatesOf(request.worlds)), "the base run");
  yield await plannerCheck(request, request.worlds[Math.floor(request.worlds.length / 2)]);
}

/** The embedding has no hook of what an adapter adds. */
function drawnComponents(components: readonly Component[], { nullSamples, seed }: Params): Component[] {
  return sampleIndices(components.length, nullSamples, uniform(seed))
    .flatMap((index) => components[index] ?? [])
    .filter(({ site }) => site !== "embed");
}

/** In place of each of the components a random rank-one term of the same σ is taken away from what the site adds. */
async function nullDraws(request: SweepRequest, chosen: readonly Component[], seed: number, effectOf: (logits: Float32Array) => number): Promise<number[]> {
  if (chosen.length === 0) return [];
  const next = uniform(seed + 1);
  const hookOf = ({ site, adapter }: Component, hook: AdapterHook) => adapterHookName(site, adapter, hook);
  const taps = [...new Set(chosen.flatMap((component) => [hookOf(component, "hook_in"), hookOf(component, "hook_delta")]))];
  const cached = await request.runner.forward({ tokens: [request.tokens], settings: [request.setting], taps, logits: "none" });
  const sources: Record<string, Record<string, FloatTensor>> = {};
  const worlds = chosen.map((component, i): World => {
    const site = request.runner.adapters.find((adapter) => adapter.name === component.adapter)?.sites.get(component.site);
    const [delta, x] = [cached.taps[hookOf(component, "hook_delta")], cached.taps[hookOf(component, "hook_in")]];
    if (!site || !delta || !x) throw new WorkbenchError("internal", `internal: nothing was kept at ${component.site}`);
    const sigma =
      strengthOf(request.setting, component.adapter) * columnNorm(site.weights()["write"]?.data() ?? new Float32Array(), site.rank, component.component);
    sources[`null${i}`] = { [hookOf(component, "hook_delta")]: withoutRandomTerm(delta, x, sigma, next) };
    return { setting: request.setting, edits: [{ hook: hookOf(component, "hook_delta"), position: null, head: null, source: `null${i}` }] };
  });
  return await measured({ ...request, worlds, sources }, effectOf);
}

/** Norm of column k of U Σ, which is σ_k. */
function columnNorm(write: Float32Array, rank: number, k: number): number {
  let sum = 0;
  for (let at = k; at < write.length; at += rank) sum += write[at]! ** 2;
  return Math.sqrt(sum);
}

/** δ − σ (v·x) u with u and v random unit vectors. */
function withoutRandomTerm(delta: FloatTensor, x: FloatTensor, sigma: number, next: () => number): FloatTensor {
  const [dOut, dIn] = [delta.shape.at(-1)!, x.shape.at(-1)!];
  const u = randomDirection(dOut, 1, next);
  const v = randomDirection(dIn, 1, next);
  const data = delta.data.slice();
  for (let token = 0; token < data.length / dOut; token++) {
    let dot = 0;
    for (let i = 0; i < dIn; i++) dot += v[i]! * x.data[token * dIn + i]!;
    for (let o = 0; o < dOut; o++) data[token * dOut + o]! -= sigma * dot * u[o]!;
  }
  return float32(data, delta.shape);
}

/** A sentence when a component is clear of chance, also of random terms drawn in its own place and as long as it. */
async function describeFinding(
  request: SweepRequest,
  components: readonly Component[],
  effects: Float32Array,
  band: NullBand | undefined,
  seed: number,
  effectOf: (logits: Float32Array) => number,
): Promise<string | null> {
  if (!band) return null;
  const clear = [...effects.keys()].filter((index) => clearsNull(effects[index] ?? NaN, band)).sort((a, b) => (effects[b] ?? 0) - (effects[a] ?? 0));
  const top = components[clear[0] ?? -1];
  const effect = effects[clear[0] ?? -1] ?? NaN;
  if (!top || !(effect > 0)) return null;
  const own = await nullDraws(
    request,
    Array.from({ length: ownDraws }, () => top),
    seed,
    effectOf,
  );
  if (top.site !== "embed" && !beatsDraws(effect, own, components.length)) return null;
  return (
    `${clear.length} of ${components.length} components clear the null; switching off ` +
    `L${top.layer}.${siteKind(top.site)}#${top.component} alone loses ${percent(effect)} of the adapter's effect ` +
    `(${chanceWords("random terms of equal norm", band)}).`
  );
}
