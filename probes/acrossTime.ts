/** Patching across time: at one site (or singular component) of one adapter, the update of another on the same base; usually two checkpoints of one run. */
import * as z from "zod";
import type { LoadedAdapter } from "../server/adapters/loadAdapter.ts";
import { WorkbenchError } from "../server/errors.ts";
import { sampleIndices, uniform } from "../server/linalg/random.ts";
import { klDivergence, normalized } from "../server/runs/metrics.ts";
import type { SweepRequest } from "../server/runs/sweep.ts";
import { strengthOf, type AdapterSetting, type World } from "../server/runs/worlds.ts";
import type { FloatTensor } from "../server/tensors/hostTensor.ts";
import { acrossFigure, exchangeMetrics, exchanges, gridOf } from "./causal/acrossFigure.ts";
import { deltaHooks, everythingReplaced, nothingReplaced, pairOf, partsOf, replaced, switchedOff, type Pair, type Part } from "./causal/adapterPair.ts";
import { isSameRun, plannerCheck } from "./causal/checks.ts";
import { measuredSweep } from "./causal/measuredSweep.ts";
import { beatsDraws, clearsNull, nullBands, nullFields } from "./causal/nulls.ts";
import { askedOf, refuseSameAnswers, runSide } from "./causal/question.ts";
import { randomChangeDraws } from "./causal/randomChanges.ts";
import { chanceWords, percent } from "./causal/words.ts";
import { defineProbe } from "./defineProbe.ts";
import { promptPairFields, readPrompt } from "./promptPair.ts";
import type { NullBand, ProbeEvent } from "./result.ts";
import { siteLabel } from "./siteGrid.ts";

const { clean, answer, counterAnswer } = promptPairFields;
const chance = "random changes of equal norm";
/** Random changes drawn in the place of the part that a finding would name. */
const ownDraws = 24;

export const acrossTime = defineProbe({
  title: "Across time",
  summary: "Which part of one checkpoint's adapter makes another behave like it?",
  source: "patching as in Zhang & Nanda 2023, arXiv 2309.16042, of updates instead of activations; components of ΔW = U Σ Vᵀ by site",
  needs: "activations",
  adapters: { min: 2, max: 2 },
  params: z.strictObject({
    ...{ clean, answer, counterAnswer },
    unit: z
      .enum(["site", "component"])
      .default("site")
      .describe("What is replaced at a time: a site's whole update, or its k-th singular component by the other's k-th"),
    ...nullFields(chance, 24),
  }),
  async *run(subject, options, signal): AsyncGenerator<ProbeEvent, void, void> {
    const runner = subject.runner!;
    const prompt = readPrompt(subject, options.clean, "clean");
    const { position, diff } = askedOf(subject, prompt, options);
    const pair = pairOf(subject);
    const parts = partsOf(pair, options.unit);

    const alone = async ({ name }: LoadedAdapter) => {
      const setting = { strengths: { [name]: strengthOf(pair, name) } };
      return (await runSide({ runner, position, signal }, { prompt, setting })).logits;
    };
    const [into, from] = [await alone(pair.into), await alone(pair.from)];
    const names = `"${pair.into.name}" and "${pair.from.name}"`;
    refuseSameAnswers(
      diff(into),
      diff(from),
      (both) => `${names} have the same logit difference on this prompt (${both}), so there is nothing to carry over; choose another prompt, answers or steps`,
    );
    const carriedBy = (logits: Float32Array): number => normalized(diff(logits), diff(into), diff(from));

    const grid = gridOf(parts, runner.model.config.nLayers);
    for (const kind of exchanges)
      for (const id of exchangeMetrics)
        yield { type: "array", name: `${kind}.${id}`, shape: [grid.rows.labels.length, grid.cols.labels.length], axes: ["layer", options.unit] };
    yield { type: "figure", figure: acrossFigure(pair, grid, options.unit, []) };

    const setting: AdapterSetting = { strengths: pair.strengths, components: nothingReplaced(pair) };
    const gates = { replaced, off: switchedOff };
    const worlds = exchanges.flatMap((kind) =>
      parts.map((part): World => ({ setting: { strengths: pair.strengths, components: gates[kind](pair, part) }, edits: [] })),
    );
    const request: SweepRequest = { runner, tokens: prompt.ids, setting, worlds, sources: {}, position, signal };
    const carried = new Float32Array(parts.length);
    yield* measuredSweep(
      request,
      "worlds",
      function* (tile): Generator<ProbeEvent> {
        for (const { index, logits } of tile) {
          const [part, kind] = [index % parts.length, index < parts.length ? "replaced" : "off"];
          const values = { normalized: carriedBy(logits), logit_diff: diff(logits), kl: klDivergence(into, logits) };
          if (kind === "replaced") carried[part] = values.normalized;
          for (const id of exchangeMetrics) yield { type: "tile", array: `${kind}.${id}`, offset: grid.cells[part] ?? 0, data: Float32Array.of(values[id]) };
        }
      },
      runner.tapBytes(
        deltaHooks(pair).map(({ hook }) => hook),
        2,
        prompt.ids.length,
      ),
    );

    yield* selfChecks(request, pair, into, from);
    const drawn = (at: readonly Part[], count: number, seed: number) => randomChangeDraws(request, pair, at, { count, seed }, carriedBy);
    const { nullSamples, seed } = options;
    const chosen = sampleIndices(parts.length, nullSamples, uniform(seed)).flatMap((index) => parts[index] ?? []);
    const nulls = nullBands("normalized", await drawn(chosen, nullSamples, seed), chance);
    yield { type: "figure", figure: acrossFigure(pair, grid, options.unit, nulls) };

    const [band] = nulls;
    const [top] = parts.map((part, index) => ({ part, value: carried[index] ?? 0 })).sort((a, b) => b.value - a.value);
    if (!band || !top || !(top.value > 0) || !clearsNull(top.value, band)) return;
    const isAboveChance = top.part.site.site === "embed" || beatsDraws(top.value, await drawn([top.part], ownDraws, seed + 1), parts.length);
    if (isAboveChance) yield { type: "finding", text: findingOf(pair, top.part, top.value, band) };
  },
});

/** Nothing replaced is the one adapter's run, all sites replaced the other's; a gate at 0 silences its site; the planner equals one pass a world. */
async function* selfChecks(request: SweepRequest, pair: Pair, into: Float32Array, from: Float32Array): AsyncGenerator<ProbeEvent, void, void> {
  const { runner, tokens, setting, position, signal } = request;
  const everything: AdapterSetting = { strengths: pair.strengths, components: everythingReplaced(pair) };
  const hooks = deltaHooks(pair);
  const both = await runner.forward({
    tokens: [tokens, tokens],
    settings: [setting, everything],
    taps: hooks.map(({ hook }) => hook),
    logits: { position },
    ...(signal ? { signal } : {}),
  });
  const rowOf = ({ data }: FloatTensor, row: number) => data.subarray((row * data.length) / 2, ((row + 1) * data.length) / 2);
  const logits = both.logits;
  if (!logits) throw new WorkbenchError("internal", "internal: logits were asked for and did not come");
  yield isSameRun("nothing replaced", rowOf(logits, 0), into, `the run of ${pair.into.name}, `);
  yield isSameRun("all sites replaced", rowOf(logits, 1), from, `the run of ${pair.from.name}, `);
  const isSilent = (tensor: FloatTensor, row: number) => rowOf(tensor, row).every((value) => value === 0);
  const silent = hooks.filter(({ hook, adapter }) => {
    const added = both.taps[hook];
    return added && isSilent(added, adapter === pair.from ? 0 : 1);
  }).length;
  const expected = `${hooks.length} sites that add nothing when off`;
  yield { type: "check", check: { name: "every gate fired", ok: silent === hooks.length, value: silent, expected } };
  yield await plannerCheck(request, request.worlds[Math.floor(request.worlds.length / 4)]);
}

function findingOf({ into, from }: Pair, { site, component }: Part, carried: number, band: NullBand): string {
  const name = `${siteLabel(site)}${component === null ? "" : `#${component}`}`;
  return (
    `${name} of ${from.name} in place of ${into.name}'s alone goes ${percent(carried)} of the way from ${into.name} to ${from.name}; ` +
    `${chanceWords(chance, band)}.`
  );
}
