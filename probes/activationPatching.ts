/**
 * Activation patching: every place of one run put into the other, one at a time, measured at the answer.
 * Places: residual stream, attention and MLP output by layer × position, head outputs by layer × head; four metrics from one pass.
 */
import * as z from "zod";
import { WorkbenchError } from "../server/errors.ts";
import { sweep, type SweepRequest } from "../server/runs/sweep.ts";
import type { World } from "../server/runs/worlds.ts";
import { float32, type FloatTensor } from "../server/tensors/hostTensor.ts";
import { headAxis, layerAxis, positionAxis } from "./axes.ts";
import { AnswerMeter, answerMetrics, metricIds, type MetricId } from "./causal/answerMetrics.ts";
import { first, isOne, isZero, plannerCheck } from "./causal/checks.ts";
import { contrasts, contrastSides, contrastWords, type Side } from "./causal/contrast.ts";
import { measured, measuredSweep } from "./causal/measuredSweep.ts";
import { turned } from "./causal/directions.ts";
import { nullRunner } from "./causal/nullAdapter.ts";
import { beatsDraws, clearsNull, nullBands, nullFields } from "./causal/nulls.ts";
import { chanceWords, percent } from "./causal/words.ts";
import { defineProbe } from "./defineProbe.ts";
import { promptPairFields, readToken } from "./promptPair.ts";
import { sampleIndices, uniform } from "../server/linalg/random.ts";
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
  ...nullFields("random directions of equal norm", 32),
});
type Params = z.infer<typeof params>;

/** Runs in which nothing is to be found, for what a sentence would claim. */
const chanceRuns = 12;

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
    const values = new Float32Array(cells.length).fill(NaN);
    yield* measuredSweep(
      request,
      "worlds",
      function* (worlds): Generator<ProbeEvent> {
        const rows = worlds.map(({ index, logits }) => ({ cell: cells[index], numbers: meter.measure(logits), index }));
        for (const { index, numbers } of rows) values[index] = numbers.normalized;
        yield* tileEvents(
          rows.flatMap(({ cell }) => cell ?? []),
          rows.map(({ numbers }) => numbers),
        );
      },
      2 * runner.tapBytes(hooks, 1, positions),
    );

    const fired = hooks.filter((hook) => fromRun.taps[hook] && intoRun.taps[hook]).length;
    yield* selfChecks(request, meter, cells, fired, hooks.length, nLayers);
    const draws = await directionDraws(
      request,
      meter,
      sampleIndices(cells.length, options.nullSamples, uniform(options.seed)).flatMap((index) => cells[index] ?? []),
      options.seed,
    );
    const nulls = nullBands("normalized", draws, "random directions of equal norm");
    for (const figure of figures(nulls)) yield { type: "figure", figure };
    const found =
      nulls[0] && (await clearPart(cells, values, nulls[0], position, (those) => chanceDraws(request, meter, those, { from, into, seed: options.seed })));
    const finding = found && nulls[0] ? describeFinding(found, nulls[0], into.prompt.tokens, words.restored) : null;
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
  const middle = cells[Math.floor(cells.length / 2)]?.world;
  const own = [cells[0]?.world, middle, cells.at(-1)?.world].flatMap((world) => world ?? []);
  const self = own.map((world) => ({ ...world, edits: world.edits.map((edit) => ({ ...edit, source: "self" })) }));
  const drift = await measured({ ...request, worlds: self }, (logits) => Math.abs(meter.measure(logits).normalized));
  yield isZero("own values into own run", Math.max(...drift));
  const head = request.runner.adapters.some((adapter) => adapter.sites.has("unembed") || adapter.saved.some((saved) => saved.segment === "unembed"));
  if (!head) {
    const edits = [{ hook: `blocks.${nLayers - 1}.hook_resid_post`, position: null, head: null, source: "from" }];
    yield isOne("whole last residual", meter.measure(await first(sweep({ ...request, worlds: [{ setting: request.setting, edits }] }))).normalized);
  }
  yield await plannerCheck(request, middle);
  yield { type: "check", check: { name: "every hook fired", ok: fired === hookCount, value: fired, expected: `${hookCount} hooks` } };
}

/** The same cells with the difference turned to a random direction of the same norm. */
async function directionDraws(request: SweepRequest, meter: AnswerMeter, chosen: readonly Cell[], seed: number): Promise<number[]> {
  const next = uniform(seed + 1);
  const hooks = new Set(chosen.flatMap((cell) => cell.world.edits.map((edit) => edit.hook)));
  const { self = {}, from = {} } = request.sources;
  const random = Object.fromEntries([...hooks].flatMap((hook) => (self[hook] && from[hook] ? [[hook, randomised(self[hook], from[hook], next)]] : [])));
  const worlds = chosen.map(({ world }) => ({ ...world, edits: world.edits.map((edit) => ({ ...edit, source: "null" })) }));
  return await measured({ ...request, worlds, sources: { ...request.sources, null: random } }, (logits) => meter.measure(logits).normalized);
}

/**
 * The largest of these cells where nothing is to be found: with null adapters when adapters are contrasted, as any adapter's effect comes through some part;
 * else with the first cell's difference in random directions.
 */
async function* chanceDraws(
  request: SweepRequest,
  meter: AnswerMeter,
  those: readonly Cell[],
  { from, into, seed }: { readonly from: Side; readonly into: Side; readonly seed: number },
): AsyncGenerator<number, void, void> {
  const isOfAdapters = from.setting !== into.setting;
  const hooks = [...new Set(those.flatMap(({ world }) => world.edits.map(({ hook }) => hook)))];
  for (let draw = 0; draw < chanceRuns; draw++) {
    const runner = isOfAdapters ? nullRunner(request.runner, seed * chanceRuns + draw) : null;
    if (!runner) {
      yield* await directionDraws(request, meter, those.slice(0, 1), seed + 2 + draw);
      continue;
    }
    const run = async ({ prompt, setting }: Side) =>
      await runner.forward({
        tokens: [prompt.ids],
        settings: [setting],
        taps: hooks,
        logits: { position: request.position },
        ...(request.signal ? { signal: request.signal } : {}),
      });
    const [fromRun, intoRun] = [await run(from), await run(into)];
    if (!fromRun.logits || !intoRun.logits) continue;
    const ownMeter = new AnswerMeter(meter.answer, meter.counterAnswer, fromRun.logits.data, intoRun.logits.data);
    const values = await measured(
      { ...request, runner, worlds: those.map(({ world }) => world), sources: { from: fromRun.taps } },
      (logits) => ownMeter.measure(logits).normalized,
    );
    const finite = values.filter(Number.isFinite);
    if (finite.length > 0) yield finite.reduce((most, value) => Math.max(most, value));
  }
}

/** into + a random direction as long as (from − into), for each vector over the last axis. */
function randomised(into: FloatTensor, from: FloatTensor, next: () => number): FloatTensor {
  const change = turned(
    float32(
      from.data.map((value, i) => value - (into.data[i] ?? 0)),
      from.shape,
    ),
    next,
  );
  return float32(
    into.data.map((value, i) => value + (change.data[i] ?? 0)),
    into.shape,
  );
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
  const layers = layerAxis(nLayers);
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
        place: { site: name },
        title: places[name].note ? `${places[name].title} · ${places[name].note}` : places[name].title,
        rows: layers,
        cols: positionAxis(tokens),
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
          cols: headAxis(nHeads),
          values: Object.fromEntries(metricIds.map((id) => [id, { array: `heads.${id}` }])),
        },
      ],
    });
  }
  return figures;
}

interface FoundPart {
  readonly edit: World["edits"][number];
  readonly value: number;
}

/** What a sentence may be about, the most telling first: one head, one part at one token, the stream at a token that is not asked at. */
const kindsOfPart: readonly ((edit: World["edits"][number], position: number) => boolean)[] = [
  ({ head }) => head !== null,
  ({ head, hook }) => head === null && !hook.includes("resid"),
  ({ hook, position: at }, position) => hook.endsWith("hook_resid_pre") && at !== position,
];

/** The first kind whose largest value is clear of the null and of what the largest of as many gives by chance. */
async function clearPart(
  cells: readonly Cell[],
  values: Float32Array,
  band: NullBand,
  position: number,
  chance: (those: readonly Cell[]) => AsyncGenerator<number, void, void>,
): Promise<FoundPart | null> {
  const ranked = cells
    .flatMap((cell, i) => cell.world.edits.slice(0, 1).map((edit) => ({ cell, edit, value: values[i] ?? NaN })))
    .filter(({ value }) => Number.isFinite(value))
    .sort((a, b) => b.value - a.value);
  for (const isOfKind of kindsOfPart) {
    const those = ranked.filter(({ edit }) => isOfKind(edit, position));
    const [top] = those;
    if (!top || !(top.value > 0) || !clearsNull(top.value, band)) continue;
    const draws: number[] = [];
    for await (const draw of chance(those.map(({ cell }) => cell))) {
      draws.push(draw);
      if (draw >= top.value) break;
    }
    if (beatsDraws(top.value, draws)) return top;
  }
  return null;
}

/** Which part alone brings the behaviour back, and what chance does. */
function describeFinding({ edit, value }: FoundPart, band: NullBand, tokens: readonly string[], restored: string): string {
  const layer = layerOf(edit.hook);
  const token = `“${(tokens[edit.position ?? 0] ?? "").trim()}”`;
  const where = edit.hook.includes("resid")
    ? `The residual stream at ${token} before layer ${layer}`
    : edit.head !== null
      ? `Head L${layer}H${edit.head}`
      : `The ${edit.hook.includes("attn") ? "attention" : "MLP"} output of layer ${layer} at ${token}`;
  return `${where} alone brings back ${percent(value)} of the ${restored.replace(" restored", "")}; ${chanceWords("random directions of equal norm", band)}.`;
}

function layerOf(hook: string): number {
  return Number(/blocks\.(\d+)/.exec(hook)?.[1] ?? 0);
}
