/** Patching across time: at one site (or singular component) of one adapter, the update of another on the same base; usually two checkpoints of one run. */
import * as z from "zod";
import type { LoadedAdapter } from "../server/adapters/loadAdapter.ts";
import type { SiteAdapter } from "../server/adapters/method.ts";
import { WorkbenchError } from "../server/errors.ts";
import { klDivergence, logitDiff, normalized } from "../server/runs/metrics.ts";
import { adapterHookName, type AdapterHook } from "../server/models/siteNames.ts";
import type { Subject } from "../server/runs/subject.ts";
import type { SweepRequest } from "../server/runs/sweep.ts";
import type { AdapterSetting, ComponentGate, World } from "../server/runs/worlds.ts";
import { float32, type FloatTensor } from "../server/tensors/hostTensor.ts";
import { isSameRun, plannerCheck } from "./causal/checks.ts";
import { measured, measuredSweep } from "./causal/measuredSweep.ts";
import { beatsDraws, clearsNull, nullBands, nullFields } from "./causal/nulls.ts";
import { chanceWords, percent } from "./causal/words.ts";
import { defineProbe } from "./defineProbe.ts";
import { promptPairFields, readPrompt, readToken } from "./promptPair.ts";
import { randomDirection, sampleIndices, uniform } from "../server/linalg/random.ts";
import type { Axis, HeatmapFigure, Metric, NullBand, ProbeEvent } from "./result.ts";
import { siteKind, siteLabel } from "./siteGrid.ts";

const params = z.strictObject({
  clean: promptPairFields.clean,
  answer: promptPairFields.answer,
  counterAnswer: promptPairFields.counterAnswer,
  unit: z
    .enum(["site", "component"])
    .default("site")
    .describe("What is replaced at a time: a site's whole update, or its k-th singular component by the other's k-th"),
  ...nullFields("random changes of equal norm", 24),
});
type Params = z.infer<typeof params>;

/** One site, or one component of it, by which the two adapters are exchanged. */
interface Part {
  readonly site: SiteAdapter;
  /** Null: all of the site. */
  readonly component: number | null;
}

/** The adapter patched into (t′), and the one its parts come from (t). */
interface Pair {
  readonly into: LoadedAdapter;
  readonly from: LoadedAdapter;
  readonly strengths: Readonly<Record<string, number>>;
  /** The sites of both, in the order of the layers. */
  readonly sites: readonly SiteAdapter[];
}

/** Random changes drawn in the place of the part that a finding would name. */
const ownDraws = 24;
const kinds = ["replaced", "off"] as const;
const metricIds = ["normalized", "logit_diff", "kl"] as const;

export const acrossTime = defineProbe<Params>({
  title: "Across time",
  summary: "Which part of one checkpoint's adapter makes another behave like it?",
  source: "patching as in Zhang & Nanda 2023, arXiv 2309.16042, of updates instead of activations; components of ΔW = U Σ Vᵀ by site",
  needs: "activations",
  adapters: { min: 2, max: 2 },
  params,
  async *run(subject, options, signal): AsyncGenerator<ProbeEvent, void, void> {
    const runner = subject.runner!;
    const prompt = readPrompt(subject, options.clean, "clean");
    const answer = readToken(subject, options.answer, "answer");
    const counterAnswer = readToken(subject, options.counterAnswer, "counterAnswer");
    const position = prompt.ids.length - 1;
    const pair = pairOf(subject);
    const parts = partsOf(pair, options.unit);

    const alone = async ({ name }: LoadedAdapter) =>
      (await runner.forward({ tokens: [prompt.ids], settings: [{ strengths: { [name]: pair.strengths[name]! } }], logits: { position }, signal })).logits!.data;
    const into = await alone(pair.into);
    const from = await alone(pair.from);
    const [intoDiff, fromDiff] = [logitDiff(into, answer, counterAnswer), logitDiff(from, answer, counterAnswer)];
    if (Math.abs(fromDiff - intoDiff) < 1e-6) {
      throw new WorkbenchError(
        "probe.notApplicable",
        `"${pair.into.name}" and "${pair.from.name}" have the same logit difference on this prompt (${intoDiff.toPrecision(4)}), ` +
          `so there is nothing to carry over; choose another prompt, answers or steps`,
      );
    }
    const measure = (logits: Float32Array): Record<(typeof metricIds)[number], number> => {
      const diff = logitDiff(logits, answer, counterAnswer);
      return { normalized: normalized(diff, intoDiff, fromDiff), logit_diff: diff, kl: klDivergence(into, logits) };
    };

    const grid = gridOf(parts, runner.model.config.nLayers);
    for (const kind of kinds)
      for (const id of metricIds)
        yield { type: "array", name: `${kind}.${id}`, shape: [grid.rows.labels.length, grid.cols.labels.length], axes: ["layer", options.unit] };
    yield { type: "figure", figure: describe(pair, grid, options.unit, []) };

    const setting: AdapterSetting = { strengths: pair.strengths, components: nothingReplaced(pair) };
    const worlds = kinds.flatMap((kind) =>
      parts.map((part): World => ({
        setting: { strengths: pair.strengths, components: kind === "replaced" ? replaced(pair, part) : switchedOff(pair, part) },
        edits: [],
      })),
    );
    const request: SweepRequest = { runner, tokens: prompt.ids, setting, worlds, sources: {}, position, signal };
    const hooks = deltaHooks(pair).map(({ hook }) => hook);
    const carried = new Float32Array(parts.length);
    yield* measuredSweep(
      request,
      "worlds",
      function* (worlds): Generator<ProbeEvent> {
        for (const { index, logits } of worlds) {
          const part = index % parts.length;
          const kind = index < parts.length ? "replaced" : "off";
          const values = measure(logits);
          if (kind === "replaced") carried[part] = values.normalized;
          for (const id of metricIds) yield { type: "tile", array: `${kind}.${id}`, offset: grid.cells[part] ?? 0, data: Float32Array.of(values[id]) };
        }
      },
      runner.tapBytes(hooks, 2, prompt.ids.length),
    );

    yield* selfChecks(request, pair, into, from);
    const carriedBy = (logits: Float32Array): number => measure(logits).normalized;
    const chosen = sampleIndices(parts.length, options.nullSamples, uniform(options.seed)).flatMap((index) => parts[index] ?? []);
    const draws = await nullDraws(request, pair, chosen, options.nullSamples, options.seed, carriedBy);
    const nulls = nullBands("normalized", draws, "random changes of equal norm");
    yield { type: "figure", figure: describe(pair, grid, options.unit, nulls) };
    const top = [...carried.keys()].sort((a, b) => (carried[b] ?? 0) - (carried[a] ?? 0))[0] ?? 0;
    const own = await nullDraws(request, pair, parts.slice(top, top + 1), ownDraws, options.seed + 1, carriedBy);
    const isClear = beatsDraws(carried[top] ?? NaN, own, parts.length) || parts[top]?.site.site === "embed";
    const finding = isClear ? describeFinding(pair, parts[top], carried[top] ?? NaN, nulls[0]) : null;
    if (finding) yield { type: "finding", text: finding };
  },
});

/** @throws "probe.notApplicable" when one is off, or has what gates cannot carry from one to the other */
function pairOf({ adapters, setting, model }: Subject): Pair {
  const [into, from] = [adapters[0]!, adapters[1]!];
  for (const adapter of [into, from]) {
    if ((setting.strengths[adapter.name] ?? 0) === 0)
      throw new WorkbenchError("probe.notApplicable", `adapter "${adapter.name}" has strength 0; Across time exchanges parts of two adapters that are on`);
    const beyond = [...adapter.sites.values()].find((site) => site.beyondLowRank !== null);
    if (beyond)
      throw new WorkbenchError(
        "probe.notApplicable",
        `adapter "${adapter.name}" (${adapter.method.title}) does more at ${beyond.site} than add a low-rank product: ` +
          `${beyond.beyondLowRank}; Across time exchanges low-rank updates, so make the nearest LoRA of both with "deltascope export" and compare those`,
      );
    // PEFT saves the whole embedding beside its adapter, as it was in the base: that replaces nothing.
    const saved = adapter.saved.find(({ segment, param, weight }) => !equal(weight.data(), model!.weights(segment)[param]!.data()));
    if (saved)
      throw new WorkbenchError(
        "probe.notApplicable",
        `adapter "${adapter.name}" replaces whole parameters of the base ("${saved.key}"), which belong to no site; Across time ` +
          `takes adapters whose updates are all at sites`,
      );
  }
  const sites = [...into.sites.values(), ...[...from.sites.values()].filter(({ site }) => !into.sites.has(site))].sort((a, b) => a.layer - b.layer);
  return { into, from, strengths: { [into.name]: setting.strengths[into.name]!, [from.name]: setting.strengths[from.name]! }, sites };
}

function equal(x: Float32Array, y: Float32Array): boolean {
  return x.length === y.length && x.every((value, i) => value === y[i]);
}

function partsOf({ into, from, sites }: Pair, unit: Params["unit"]): Part[] {
  if (unit === "site") return sites.map((site) => ({ site, component: null }));
  return sites.flatMap((site) => Array.from({ length: Math.max(rankAt(into, site), rankAt(from, site)) }, (_, component) => ({ site, component })));
}

/** 0 where the adapter has no such site: its update there is 0. */
function rankAt(adapter: LoadedAdapter, { site }: SiteAdapter): number {
  return adapter.sites.get(site)?.rank ?? 0;
}

function off(adapter: LoadedAdapter, { site, component }: Part): ComponentGate[] {
  return (component ?? 0) < rankAt(adapter, site) ? [{ adapter: adapter.name, site: site.site, component, value: 0 }] : [];
}

/** The run patched into: every site of the other adapter off. */
function nothingReplaced({ from, sites }: Pair): ComponentGate[] {
  return sites.flatMap((site) => off(from, { site, component: null }));
}

/** The part of `into` off, the same part of `from` on, all else of `from` off. */
function replaced(pair: Pair, part: Part): ComponentGate[] {
  const { into, from, sites } = pair;
  const elsewhere = sites.filter(({ site }) => site !== part.site.site).flatMap((site) => off(from, { site, component: null }));
  const beside =
    part.component === null
      ? []
      : Array.from({ length: rankAt(from, part.site) }, (_, component) => component).filter((component) => component !== part.component);
  return [...elsewhere, ...beside.flatMap((component) => off(from, { site: part.site, component })), ...off(into, part)];
}

/** The part of `into` off and nothing in its place. */
function switchedOff(pair: Pair, part: Part): ComponentGate[] {
  return [...nothingReplaced(pair), ...off(pair.into, part)];
}

interface Grid {
  readonly rows: Axis;
  readonly cols: Axis;
  /** Flat place of each part. */
  readonly cells: readonly number[];
}

function gridOf(parts: readonly Part[], nLayers: number): Grid {
  const kindOf = ({ site, component }: Part) => (component === null ? siteKind(site) : `${siteKind(site)}#${component}`);
  const labels = [...new Set(parts.map(kindOf))];
  return {
    rows: { name: "layer", labels: Array.from({ length: nLayers }, (_, layer) => String(layer)) },
    cols: { name: parts[0]!.component === null ? "site" : "component", labels },
    cells: parts.map((part) => part.site.layer * labels.length + labels.indexOf(kindOf(part))),
  };
}

function describe({ into, from, sites }: Pair, grid: Grid, unit: Params["unit"], nulls: readonly NullBand[]): HeatmapFigure {
  const metrics: readonly Metric[] = [
    { id: "normalized", label: "normalised logit difference", unit: `0 = ${into.name}, 1 = ${from.name}`, scale: "diverging", domain: [-1, 1] },
    { id: "logit_diff", label: "logit difference", unit: "logits", scale: "diverging" },
    { id: "kl", label: `KL from the run of ${into.name}`, unit: "nats", scale: "sequential" },
  ];
  const single = sites.filter(({ site }) => !into.sites.has(site) || !from.sites.has(site)).length;
  const words = unit === "site" ? "one site's update" : "the k-th singular component of one site";
  const titles = { replaced: `Replaced by ${from.name}'s`, off: "Switched off, for comparison" };
  return {
    kind: "heatmap",
    id: "across",
    title: `${from.name} into ${into.name}`,
    subtitle:
      `${into.name} with ${words} replaced by ${from.name}'s · beside it the same switched off, with nothing in its ` +
      `place${single > 0 ? ` · at ${single} of ${sites.length} sites only one of them has an update; the other's is 0` : ""}`,
    metrics,
    nulls,
    panels: kinds.map((kind) => ({
      id: kind,
      title: titles[kind],
      rows: grid.rows,
      cols: grid.cols,
      values: Object.fromEntries(metricIds.map((id) => [id, { array: `${kind}.${id}` }])),
    })),
  };
}

/** What each adapter adds at each site; the embedding has no such hook. */
function deltaHooks({ into, from, sites }: Pair): { readonly hook: string; readonly adapter: LoadedAdapter }[] {
  return sites
    .filter(({ site }) => site !== "embed")
    .flatMap(({ site }) =>
      [into, from].filter((adapter) => adapter.sites.has(site)).map((adapter) => ({ hook: adapterHookName(site, adapter.name, "hook_delta"), adapter })),
    );
}

/** Nothing replaced is the one adapter's run, all sites replaced the other's; a gate at 0 silences its site; the planner equals one pass a world. */
async function* selfChecks(request: SweepRequest, pair: Pair, into: Float32Array, from: Float32Array): AsyncGenerator<ProbeEvent, void, void> {
  const { runner, tokens, setting, position, signal } = request;
  const everything: AdapterSetting = { strengths: pair.strengths, components: pair.sites.flatMap((site) => off(pair.into, { site, component: null })) };
  const hooks = deltaHooks(pair);
  const both = await runner.forward({
    tokens: [tokens, tokens],
    settings: [setting, everything],
    taps: hooks.map(({ hook }) => hook),
    logits: { position },
    ...(signal ? { signal } : {}),
  });
  const rowOf = (tensor: FloatTensor, row: number) => tensor.data.subarray((row * tensor.data.length) / 2, ((row + 1) * tensor.data.length) / 2);
  const logits = both.logits;
  if (!logits) throw new WorkbenchError("internal", "internal: logits were asked for and did not come");
  yield isSameRun("nothing replaced", rowOf(logits, 0), into, `the run of ${pair.into.name}, `);
  yield isSameRun("all sites replaced", rowOf(logits, 1), from, `the run of ${pair.from.name}, `);
  const silent = hooks.filter(({ hook, adapter }) => rowOf(both.taps[hook]!, adapter === pair.from ? 0 : 1).every((value) => value === 0)).length;
  yield {
    type: "check",
    check: { name: "every gate fired", ok: silent === hooks.length, value: silent, expected: `${hooks.length} sites that add nothing when off` },
  };

  yield await plannerCheck(request, request.worlds[Math.floor(request.worlds.length / 4)]);
}

/** In place of the change δ_from − δ_into that a replacement makes to what its site adds, one in a random direction and as long, token by token. */
async function nullDraws(
  request: SweepRequest,
  pair: Pair,
  parts: readonly Part[],
  count: number,
  seed: number,
  carriedBy: (logits: Float32Array) => number,
): Promise<number[]> {
  const { runner, setting, tokens, signal } = request;
  const next = uniform(seed);
  const chosen = parts.filter(({ site }) => site.site !== "embed");
  // The other's hook where it has one: it adds 0 in the run patched into, so the random change stands beside an update that stays.
  const carrier = ({ site }: Part) => (pair.from.sites.has(site.site) ? pair.from : pair.into);
  const hookOf = (part: Part, hook: AdapterHook) => adapterHookName(part.site.site, carrier(part).name, hook);
  const taps = [...new Set(chosen.flatMap((part) => [hookOf(part, "hook_in"), hookOf(part, "hook_delta")]))];
  const run = await runner.forward({ tokens: [tokens], settings: [setting], taps, logits: "none", ...(signal ? { signal } : {}) });
  // Parts in which the two agree would make chance look smaller than it is.
  const changes = chosen
    .map((part) => ({ hook: hookOf(part, "hook_delta"), change: changeOf(pair, part, run.taps[hookOf(part, "hook_in")]!) }))
    .filter(({ change }) => change.some((value) => value !== 0));
  if (changes.length === 0) return [];
  const sources: Record<string, Record<string, FloatTensor>> = {};
  const worlds = Array.from({ length: count }, (_, i): World => {
    const { hook, change } = changes[i % changes.length]!;
    sources[`null${i}`] = { [hook]: withRandomChange(run.taps[hook]!, change, next) };
    return { setting, edits: [{ hook, position: null, head: null, source: `null${i}` }] };
  });
  return await measured({ ...request, worlds, sources }, carriedBy);
}

/** δ_from − δ_into of one part at the site's inputs x `[1, pos, dIn]` → `[pos, dOut]`. */
function changeOf({ into, from, strengths }: Pair, { site, component }: Part, x: FloatTensor): Float32Array {
  const { dIn, dOut } = site;
  const positions = x.data.length / dIn;
  const change = new Float32Array(positions * dOut);
  for (const [adapter, sign] of [
    [from, 1],
    [into, -1],
  ] as const) {
    const own = adapter.sites.get(site.site);
    if (!own || (component ?? 0) >= own.rank) continue;
    const [read, write] = [own.weights()["read"]!.data(), own.weights()["write"]!.data()];
    const factor = sign * strengths[adapter.name]!;
    const [first, end] = component === null ? [0, own.rank] : [component, component + 1];
    for (let token = 0; token < positions; token++) {
      for (let k = first; k < end; k++) {
        let dot = 0;
        for (let i = 0; i < dIn; i++) dot += read[k * dIn + i]! * x.data[token * dIn + i]!;
        for (let o = 0; o < dOut; o++) change[token * dOut + o]! += factor * dot * write[o * own.rank + k]!;
      }
    }
  }
  return change;
}

function withRandomChange(delta: FloatTensor, change: Float32Array, next: () => number): FloatTensor {
  const width = delta.shape.at(-1)!;
  const data = delta.data.slice();
  for (let at = 0; at < data.length; at += width) {
    const norm = Math.sqrt(change.subarray(at, at + width).reduce((sum, value) => sum + value * value, 0));
    const direction = randomDirection(width, norm, next);
    for (let i = 0; i < width; i++) data[at + i]! += direction[i]!;
  }
  return float32(data, delta.shape);
}

/** A sentence only when a part is clear of chance, also of random changes in its own place. */
function describeFinding({ into, from }: Pair, part: Part | undefined, carried: number, band: NullBand | undefined): string | null {
  if (!band || !part || !(carried > 0) || !clearsNull(carried, band)) return null;
  const name = `${siteLabel(part.site)}${part.component === null ? "" : `#${part.component}`}`;
  return (
    `${name} of ${from.name} in place of ${into.name}'s alone goes ${percent(carried)} of the way from ${into.name} to ` +
    `${from.name}; ${chanceWords("random changes of equal norm", band)}.`
  );
}
