/**
 * Activation patching: every place of one run put into the other, one at a time, measured at the answer.
 * Places: residual stream, attention and MLP output by layer × position, head outputs by layer × head; four metrics from one pass.
 */
import * as z from "zod";
import { WorkbenchError } from "../server/errors.ts";
import { naiveSweep, planSweep, sweep, type SweepRequest } from "../server/runs/sweep.ts";
import type { World } from "../server/runs/worlds.ts";
import { float32, type FloatTensor } from "../server/tensors/hostTensor.ts";
import { AnswerMeter, answerMetrics, metricIds, type MetricId } from "./answerMetrics.ts";
import { contrasts, contrastSides, contrastWords } from "./contrast.ts";
import { defineProbe } from "./defineProbe.ts";
import { promptPairFields, readToken } from "./promptPair.ts";
import { central95, randomDirection, sampleIndices, uniform } from "./random.ts";
import type { HeatmapFigure, NullBand, ProbeEvent } from "./result.ts";

/** What can be patched: the hook, and the second axis of its panel. */
const places = {
  resid_pre: { title: "Residual stream", note: "before the block", hook: (layer: number) => `blocks.${layer}.hook_resid_pre`, by: "position" },
  resid_mid: { title: "Residual stream", note: "between attention and MLP", hook: (layer: number) => `blocks.${layer}.hook_resid_mid`, by: "position" },
  resid_post: { title: "Residual stream", note: "after the block", hook: (layer: number) => `blocks.${layer}.hook_resid_post`, by: "position" },
  attn_out: { title: "Attention output", note: "", hook: (layer: number) => `blocks.${layer}.hook_attn_out`, by: "position" },
  mlp_out: { title: "MLP output", note: "", hook: (layer: number) => `blocks.${layer}.hook_mlp_out`, by: "position" },
  heads: { title: "Head outputs", note: "all positions", hook: (layer: number) => `blocks.${layer}.attn.hook_z`, by: "head" },
} as const;
const placeNames = ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "heads"] as const;
type PlaceName = (typeof placeNames)[number];

const params = z.strictObject({
  ...promptPairFields,
  contrast: z.enum(contrasts).default("adaptedIntoBase").describe("Which run is patched into which"),
  activations: z.array(z.enum(placeNames)).min(1).default(["resid_pre", "attn_out", "mlp_out", "heads"]).describe("What is patched"),
  nullSamples: z.int().min(0).max(512).default(32).describe("Random directions of equal norm that the null is made of"),
  seed: z.int().min(0).default(7).describe("Seed of the null"),
});
type Params = z.infer<typeof params>;

/** A world of the sweep and the array cells its four numbers go to. */
interface Cell {
  readonly world: World;
  readonly prefix: string;
  readonly offset: number;
}

export const activationPatching = defineProbe<Params>({
  title: "Patching",
  summary: "Which activations carry the behaviour from one run to the other?",
  source: "Zhang & Nanda 2023, arXiv 2309.16042; names as in TransformerLens patching.py",
  needs: "activations",
  adapters: { min: 0, max: 16 },
  params,
  async *run(subject, options, signal): AsyncGenerator<ProbeEvent, void, void> {
    const runner = subject.runner!;
    const { from, into } = contrastSides(subject, options.contrast, options.clean, options.corrupted);
    const words = contrastWords[options.contrast];
    const answer = readToken(subject, options.answer, "answer");
    const counterAnswer = readToken(subject, options.counterAnswer, "counterAnswer");
    const position = from.prompt.ids.length - 1;
    const { nLayers, nHeads } = runner.model.config;
    const positions = into.prompt.ids.length;
    const hooks = [
      ...new Set([
        ...options.activations.flatMap((name) => Array.from({ length: nLayers }, (_, layer) => places[name].hook(layer))),
        `blocks.${nLayers - 1}.hook_resid_post`,
      ]),
    ];

    const run = (side: typeof from) => runner.forward({ tokens: [side.prompt.ids], settings: [side.setting], taps: hooks, logits: { position }, signal });
    const fromRun = await run(from);
    const intoRun = await run(into);
    const meter = new AnswerMeter(answer, counterAnswer, fromRun.logits!.data, intoRun.logits!.data);
    if (Math.abs(meter.fromDiff - meter.intoDiff) < 1e-6) {
      throw new WorkbenchError(
        "probe.notApplicable",
        `both runs have the logit difference ${meter.fromDiff.toPrecision(4)} at the answer; there is nothing to restore. Choose other answers or prompts`,
      );
    }

    const blocks = options.activations.filter((name) => places[name].by === "position");
    const withHeads = options.activations.includes("heads");
    for (const id of metricIds) {
      if (blocks.length > 0) yield { type: "array", name: id, shape: [blocks.length, nLayers, positions], axes: ["activation", "layer", "position"] };
      if (withHeads) yield { type: "array", name: `heads.${id}`, shape: [nLayers, nHeads], axes: ["layer", "head"] };
    }
    const figures = (nulls: readonly NullBand[]) => describe(options, words, into.prompt.tokens, nLayers, nHeads, nulls);
    for (const figure of figures([])) yield { type: "figure", figure };

    const cells = [
      ...blocks.flatMap((name, panel) => positionCells(name, panel, nLayers, positions, into.setting)),
      ...(withHeads ? headCells(nLayers, nHeads, into.setting) : []),
    ];
    const request: SweepRequest = {
      runner,
      tokens: into.prompt.ids,
      setting: into.setting,
      position,
      signal,
      worlds: cells.map((cell) => cell.world),
      sources: { from: fromRun.taps, self: intoRun.taps },
    };
    const plan = planSweep(request);
    yield { type: "cost", worlds: cells.length, bytes: plan.bytes + 2 * runner.tapBytes(hooks, 1, positions) };
    yield { type: "progress", done: 0, total: cells.length, unit: "worlds" };

    const { dVocab } = runner.model.config;
    const normalizedValues = new Map<number, number>();
    let done = 0;
    for await (const tile of sweep(request)) {
      const measured = tile.worlds.map((_, row) => meter.measure(tile.logits.data.subarray(row * dVocab, (row + 1) * dVocab)));
      tile.worlds.forEach((index, row) => normalizedValues.set(index, measured[row]!.normalized));
      yield* tileEvents(
        tile.worlds.map((index) => cells[index]!),
        measured,
      );
      done += tile.worlds.length;
      yield { type: "progress", done, total: cells.length, unit: "worlds" };
    }

    const fired = hooks.filter((hook) => fromRun.taps[hook] && intoRun.taps[hook]).length;
    yield* selfChecks(request, meter, cells, fired, hooks.length, nLayers);
    const nulls = options.nullSamples > 0 ? await nullBand(request, meter, cells, options) : [];
    for (const figure of figures(nulls)) yield { type: "figure", figure };
    const finding = describeFinding(cells, normalizedValues, nulls[0], into.prompt.tokens, words.restored);
    if (finding) yield { type: "finding", text: finding };
  },
});

function positionCells(name: PlaceName, panel: number, nLayers: number, positions: number, setting: World["setting"]): Cell[] {
  return Array.from({ length: nLayers * positions }, (_, flat) => ({
    world: { setting, edits: [{ hook: places[name].hook(Math.floor(flat / positions)), position: flat % positions, head: null, source: "from" }] },
    prefix: "",
    offset: panel * nLayers * positions + flat,
  }));
}

function headCells(nLayers: number, nHeads: number, setting: World["setting"]): Cell[] {
  return Array.from({ length: nLayers * nHeads }, (_, flat) => ({
    world: { setting, edits: [{ hook: places.heads.hook(Math.floor(flat / nHeads)), position: null, head: flat % nHeads, source: "from" }] },
    prefix: "heads.",
    offset: flat,
  }));
}

/** One event a metric for each run of neighbouring cells. */
function* tileEvents(cells: readonly Cell[], measured: readonly Record<MetricId, number>[]): Generator<ProbeEvent> {
  let start = 0;
  for (let i = 1; i <= cells.length; i++) {
    const continues = i < cells.length && cells[i]!.prefix === cells[start]!.prefix && cells[i]!.offset === cells[i - 1]!.offset + 1;
    if (continues) continue;
    for (const id of metricIds) {
      yield {
        type: "tile",
        array: `${cells[start]!.prefix}${id}`,
        offset: cells[start]!.offset,
        data: Float32Array.from(measured.slice(start, i), (m) => m[id]),
      };
    }
    start = i;
  }
}

/** Own values into themselves change nothing; the whole last residual restores all; the planner equals one forward pass a world. */
async function* selfChecks(
  request: SweepRequest,
  meter: AnswerMeter,
  cells: readonly Cell[],
  fired: number,
  hookCount: number,
  nLayers: number,
): AsyncGenerator<ProbeEvent, void, void> {
  const { dVocab } = request.runner.model.config;
  const first = (tiles: AsyncGenerator<{ logits: FloatTensor }>) => collect(tiles, dVocab);
  const middle = cells[Math.floor(cells.length / 2)]!.world;
  const self = await first(
    sweep({
      ...request,
      worlds: [cells[0]!.world, middle, cells.at(-1)!.world].map((world) => ({ ...world, edits: world.edits.map((edit) => ({ ...edit, source: "self" })) })),
    }),
  );
  const drift = Math.max(...self.map((logits) => Math.abs(meter.measure(logits).normalized)));
  yield { type: "check", check: { name: "own values into own run", ok: drift <= 1e-4, value: drift, expected: "0 within 1e-4" } };

  const head = request.runner.adapters.some((adapter) => adapter.sites.has("unembed") || adapter.saved.some((saved) => saved.segment === "unembed"));
  if (!head) {
    const all = await first(
      sweep({
        ...request,
        worlds: [{ setting: request.setting, edits: [{ hook: `blocks.${nLayers - 1}.hook_resid_post`, position: null, head: null, source: "from" }] }],
      }),
    );
    const restored = meter.measure(all[0]!).normalized;
    yield { type: "check", check: { name: "whole last residual", ok: Math.abs(restored - 1) <= 1e-3, value: restored, expected: "1 within 1e-3" } };
  }
  const fast = (await first(sweep({ ...request, worlds: [middle] })))[0]!;
  const slow = (await first(naiveSweep({ ...request, worlds: [middle] })))[0]!;
  const scale = slow.reduce((max, value) => Math.max(max, Math.abs(value)), 1e-9);
  const error = slow.reduce((max, value, i) => Math.max(max, Math.abs(value - fast[i]!)), 0) / scale;
  yield { type: "check", check: { name: "planner against one forward pass", ok: error <= 1e-4, value: error, expected: "logits equal within 1e-4" } };
  yield { type: "check", check: { name: "every hook fired", ok: fired === hookCount, value: fired, expected: `${hookCount} hooks` } };
}

async function collect(tiles: AsyncGenerator<{ logits: FloatTensor }>, dVocab: number): Promise<Float32Array[]> {
  const rows: Float32Array[] = [];
  for await (const { logits } of tiles) for (let at = 0; at < logits.data.length; at += dVocab) rows.push(logits.data.slice(at, at + dVocab));
  return rows;
}

/** The same cells with the difference turned to a random direction of the same norm. */
async function nullBand(request: SweepRequest, meter: AnswerMeter, cells: readonly Cell[], options: Params): Promise<NullBand[]> {
  const next = uniform(options.seed);
  const chosen = sampleIndices(cells.length, options.nullSamples, next).map((index) => cells[index]!);
  const hooks = new Set(chosen.flatMap((cell) => cell.world.edits.map((edit) => edit.hook)));
  const random = Object.fromEntries([...hooks].map((hook) => [hook, randomised(request.sources["self"]![hook]!, request.sources["from"]![hook]!, next)]));
  const worlds = chosen.map(({ world }) => ({ ...world, edits: world.edits.map((edit) => ({ ...edit, source: "null" })) }));
  const rows = await collect(sweep({ ...request, worlds, sources: { ...request.sources, null: random } }), request.runner.model.config.dVocab);
  const { low, high } = central95(rows.map((logits) => meter.measure(logits).normalized));
  return [{ metric: "normalized", low, high, words: `95 % of ${rows.length} random directions of equal norm` }];
}

/** into + a random direction as long as (from − into), for each vector over the last axis. */
function randomised(into: FloatTensor, from: FloatTensor, next: () => number): FloatTensor {
  const width = into.shape.at(-1)!;
  const data = into.data.slice();
  for (let at = 0; at < data.length; at += width) {
    let sum = 0;
    for (let i = at; i < at + width; i++) sum += (from.data[i]! - into.data[i]!) ** 2;
    const direction = randomDirection(width, Math.sqrt(sum), next);
    for (let i = 0; i < width; i++) data[at + i]! += direction[i]!;
  }
  return float32(data, into.shape);
}

function describe(
  options: Params,
  words: { done: string; restored: string },
  tokens: readonly string[],
  nLayers: number,
  nHeads: number,
  nulls: readonly NullBand[],
): HeatmapFigure[] {
  const metrics = answerMetrics(
    words.restored,
    options.contrast.startsWith("adapted")
      ? "adapted"
      : options.contrast.startsWith("base")
        ? "base"
        : options.contrast.startsWith("clean")
          ? "clean"
          : "corrupted",
  );
  const subtitle = `${words.done}, one activation at a time · 1 = ${words.restored}`;
  const layers = { name: "layer", labels: Array.from({ length: nLayers }, (_, layer) => String(layer)) } as const;
  const figures: HeatmapFigure[] = [];
  const blocks = options.activations.filter((name) => places[name].by === "position");
  if (blocks.length > 0) {
    figures.push({
      kind: "heatmap",
      id: "positions",
      title: "Patching by layer and position",
      subtitle,
      metrics,
      nulls,
      panels: blocks.map((name, panel) => ({
        id: name,
        title: places[name].note ? `${places[name].title} · ${places[name].note}` : places[name].title,
        rows: layers,
        cols: { name: "position", labels: tokens },
        values: Object.fromEntries(metricIds.map((id) => [id, { array: id, at: [panel] }])),
      })),
    });
  }
  if (options.activations.includes("heads")) {
    figures.push({
      kind: "heatmap",
      id: "heads",
      title: "Patching by head",
      subtitle: `${words.done}, one head's output at all positions · 1 = ${words.restored}`,
      metrics,
      nulls,
      panels: [
        {
          id: "heads",
          title: "Head outputs",
          rows: layers,
          cols: { name: "head", labels: Array.from({ length: nHeads }, (_, head) => String(head)) },
          values: Object.fromEntries(metricIds.map((id) => [id, { array: `heads.${id}` }])),
        },
      ],
    });
  }
  return figures;
}

/** A sentence only when the data clear the null twice over: where the residual stream carries the behaviour, else the strongest part. */
function describeFinding(
  cells: readonly Cell[],
  values: ReadonlyMap<number, number>,
  band: NullBand | undefined,
  tokens: readonly string[],
  restored: string,
): string | null {
  if (!band) return null;
  const margin = 2 * Math.max(Math.abs(band.low), Math.abs(band.high), 0.05);
  const ranked = [...values].filter(([, value]) => Number.isFinite(value)).sort((a, b) => b[1] - a[1]);
  const percent = (value: number) => `${Math.round(value * 100)} %`;
  const chance = `random directions of equal norm: ${percent(band.low)} to ${percent(band.high)}`;
  const editOf = (index: number) => cells[index]!.world.edits[0]!;
  const behaviour = restored.replace(" restored", "");
  const streams = ranked.filter(([index]) => editOf(index).hook.endsWith("hook_resid_pre"));
  const top = streams[0];
  if (top && top[1] >= margin) {
    const edit = editOf(top[0]);
    const layer = layerOf(edit.hook);
    const earlier = streams.find(([index]) => layerOf(editOf(index).hook) === layer - 1 && editOf(index).position === edit.position);
    const elsewhere = streams.find(([index]) => editOf(index).position !== edit.position);
    const before = earlier ? ` (${percent(earlier[1])} a layer earlier)` : "";
    const others = elsewhere ? `; no other token brings back more than ${percent(elsewhere[1])}` : "";
    return `The residual stream at “${tokens[edit.position!]!.trim()}” before layer ${layer} alone brings back ${percent(top[1])} of the ${behaviour}${before}${others}; ${chance}.`;
  }
  const part = ranked.find(([index]) => !editOf(index).hook.includes("resid"));
  if (!part || part[1] < margin) return null;
  const edit = editOf(part[0]);
  const layer = layerOf(edit.hook);
  const where =
    edit.head !== null
      ? `Head L${layer}H${edit.head}`
      : `The ${edit.hook.includes("attn") ? "attention" : "MLP"} output of layer ${layer} at “${tokens[edit.position!]!.trim()}”`;
  return `${where} alone brings back ${percent(part[1])} of the ${behaviour}; ${chance}.`;
}

function layerOf(hook: string): number {
  return Number(/blocks\.(\d+)/.exec(hook)![1]);
}
