/** Component ablation: each singular component of each adapter site switched off, one at a time, as rows of a few batches. */
import * as z from "zod";
import { WorkbenchError } from "../server/errors.ts";
import type { Runner } from "../server/runs/runner.ts";
import { naiveSweep, planSweep, sweep, type SweepRequest } from "../server/runs/sweep.ts";
import { baseSetting, type AdapterSetting, type World } from "../server/runs/worlds.ts";
import { float32, type FloatTensor } from "../server/tensors/hostTensor.ts";
import { klDivergence, logitDiff } from "../server/runs/metrics.ts";
import { defineProbe } from "./defineProbe.ts";
import { promptPairFields, readPrompt, readToken } from "./promptPair.ts";
import { central95, randomDirection, sampleIndices, uniform } from "./random.ts";
import type { BarsFigure, HeatmapFigure, Metric, NullBand, Place, ProbeEvent } from "./result.ts";

const params = z.strictObject({
  clean: promptPairFields.clean,
  answer: promptPairFields.answer,
  counterAnswer: promptPairFields.counterAnswer,
  nullSamples: z.int().min(0).max(256).default(24).describe("Random rank-one terms of equal norm that the null is made of"),
  strongest: z.int().min(1).max(200).default(24).describe("How many components the bar figure shows"),
  seed: z.int().min(0).default(7).describe("Seed of the null"),
});
type Params = z.infer<typeof params>;

interface Component extends Place {
  readonly layer: number;
  readonly site: string;
  readonly adapter: string;
  readonly component: number;
}

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
    const cellOf = (component: Component) => component.layer * columns.length + columns.indexOf(columnLabel(component));
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
    yield { type: "cost", worlds: worlds.length, bytes: planSweep(request).bytes };
    yield { type: "progress", done: 0, total: worlds.length, unit: "components" };
    const effects = new Float32Array(components.length).fill(NaN);
    const { dVocab } = runner.model.config;
    let done = 0;
    for await (const tile of sweep(request)) {
      for (const [row, index] of tile.worlds.entries()) {
        const logits = tile.logits.data.subarray(row * dVocab, (row + 1) * dVocab);
        const diff = logitDiff(logits, answer, counterAnswer);
        effects[index] = effect(diff);
        const values = { effect: effect(diff), logit_diff: diff, kl: klDivergence(adapted, logits) };
        for (const [id, value] of Object.entries(values)) {
          yield { type: "tile", array: id, offset: index, data: Float32Array.of(value) };
          yield { type: "tile", array: `grid.${id}`, offset: cellOf(components[index]!), data: Float32Array.of(value) };
        }
      }
      done += tile.worlds.length;
      yield { type: "progress", done, total: worlds.length, unit: "components" };
    }

    yield* selfChecks(request, effect, answer, counterAnswer);
    const nulls = options.nullSamples > 0 ? await nullBand(request, components, options, (logits) => effect(logitDiff(logits, answer, counterAnswer))) : [];
    yield { type: "figure", figure: gridFigure(nLayers, columns, nulls) };
    const order = [...effects.keys()].sort((a, b) => Math.abs(effects[b]!) - Math.abs(effects[a]!)).slice(0, options.strongest);
    yield* strongestBars(components, order, effects, nulls);
    const finding = describeFinding(components, effects, nulls[0]);
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
  return `${component.adapter}·${component.site.replace(/^blocks\.\d+\./, "")}#${component.component}`;
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
      return { label: `L${layer}.${site.replace(/^blocks\.\d+\./, "")}#${component}`, group: adapter, place: { layer, site, component, adapter } };
    }),
    values: { effect: { array: "strongest.effect" } },
  };
  yield { type: "figure", figure };
}

/** Gates at 1 are the adapted run; all gates at 0 take the whole low-rank effect away; planner equals one pass a world. */
async function* selfChecks(
  request: SweepRequest,
  effect: (diff: number) => number,
  answer: number,
  counterAnswer: number,
): AsyncGenerator<ProbeEvent, void, void> {
  const measure = async (world: World) => {
    for await (const tile of sweep({ ...request, worlds: [world] })) return tile.logits.data.slice();
    throw new WorkbenchError("internal", "a sweep of one world gave no tile");
  };
  const first = request.worlds[0]!;
  const on = await measure({ ...first, setting: { ...first.setting, components: first.setting.components!.map((gate) => ({ ...gate, value: 1 })) } });
  const drift = Math.abs(effect(logitDiff(on, answer, counterAnswer)));
  yield { type: "check", check: { name: "component gates at 1", ok: drift <= 1e-4, value: drift, expected: "the adapted run, 0 within 1e-4" } };
  const onlyLowRank = request.runner.adapters.every(
    (adapter) => adapter.saved.length === 0 && [...adapter.sites.values()].every((site) => site.beyondLowRank === null),
  );
  if (onlyLowRank) {
    const all = request.worlds.flatMap((world) => world.setting.components ?? []);
    const off = await measure({ edits: [], setting: { ...request.setting, components: all } });
    const lost = effect(logitDiff(off, answer, counterAnswer));
    yield { type: "check", check: { name: "all components off", ok: Math.abs(lost - 1) <= 1e-3, value: lost, expected: "the base run, 1 within 1e-3" } };
  }
  const middle = request.worlds[Math.floor(request.worlds.length / 2)]!;
  const fast = await measure(middle);
  for await (const tile of naiveSweep({ ...request, worlds: [middle] })) {
    const scale = tile.logits.data.reduce((max, value) => Math.max(max, Math.abs(value)), 1e-9);
    const error = tile.logits.data.reduce((max, value, i) => Math.max(max, Math.abs(value - fast[i]!)), 0) / scale;
    yield { type: "check", check: { name: "planner against one forward pass", ok: error <= 1e-4, value: error, expected: "logits equal within 1e-4" } };
  }
}

/** In place of a component, a random rank-one term of the same σ is taken away from what the site adds. */
async function nullBand(
  request: SweepRequest,
  components: readonly Component[],
  options: Params,
  effectOf: (logits: Float32Array) => number,
): Promise<NullBand[]> {
  const next = uniform(options.seed);
  const chosen = sampleIndices(components.length, options.nullSamples, next)
    .map((index) => components[index]!)
    .filter(({ site }) => site !== "embed");
  const hookOf = ({ site, adapter }: Component, hook: string) => `${site}.lora.${adapter}.${hook}`;
  const taps = [...new Set(chosen.flatMap((component) => [hookOf(component, "hook_in"), hookOf(component, "hook_delta")]))];
  const cached = await request.runner.forward({ tokens: [request.tokens], settings: [request.setting], taps, logits: "none" });
  const sources: Record<string, Record<string, FloatTensor>> = {};
  const worlds = chosen.map((component, i): World => {
    const site = request.runner.adapters.find((adapter) => adapter.name === component.adapter)!.sites.get(component.site)!;
    const strength = request.setting.strengths[component.adapter] ?? 0;
    const sigma = strength * columnNorm(site.weights()["write"]!.data(), site.rank, component.component);
    const delta = cached.taps[hookOf(component, "hook_delta")]!;
    sources[`null${i}`] = { [hookOf(component, "hook_delta")]: withoutRandomTerm(delta, cached.taps[hookOf(component, "hook_in")]!, sigma, next) };
    return { setting: request.setting, edits: [{ hook: hookOf(component, "hook_delta"), position: null, head: null, source: `null${i}` }] };
  });
  const values: number[] = [];
  const { dVocab } = request.runner.model.config;
  for await (const tile of sweep({ ...request, worlds, sources }))
    tile.worlds.forEach((_, row) => values.push(effectOf(tile.logits.data.subarray(row * dVocab, (row + 1) * dVocab))));
  const { low, high } = central95(values);
  return [{ metric: "effect", low, high, words: `95 % of ${values.length} random rank-one terms of equal norm` }];
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

function describeFinding(components: readonly Component[], effects: Float32Array, band: NullBand | undefined): string | null {
  if (!band) return null;
  const margin = 2 * Math.max(Math.abs(band.low), Math.abs(band.high), 0.05);
  const clear = [...effects.keys()].filter((index) => effects[index]! > margin).sort((a, b) => effects[b]! - effects[a]!);
  const top = clear[0];
  if (top === undefined) return null;
  const { layer, site, component } = components[top]!;
  return `${clear.length} of ${components.length} components clear the null; switching off L${layer}.${site.replace(/^blocks\.\d+\./, "")}#${component} alone loses ${Math.round(effects[top]! * 100)} % of the adapter's effect (random terms of equal norm: ${band.low.toFixed(2)} to ${band.high.toFixed(2)}).`;
}
