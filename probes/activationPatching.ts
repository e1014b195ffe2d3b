/**
 * Activation patching: every place of one run put into the other, one at a time, measured at the answer.
 * Places: residual stream, attention and MLP output by layer × position, head outputs by layer × head; four metrics from one pass.
 */
import * as z from "zod";
import { sampleIndices, uniform } from "../server/linalg/random.ts";
import { sweep, type SweepRequest } from "../server/runs/sweep.ts";
import { AnswerMeter } from "./causal/answerMetrics.ts";
import { first, isOne, isZero, plannerCheck } from "./causal/checks.ts";
import { contrasts, contrastSides, contrastWords } from "./causal/contrast.ts";
import { measured, measuredSweep } from "./causal/measuredSweep.ts";
import { nullBands, nullFields } from "./causal/nulls.ts";
import { patchArrays, patchCells, placeNames, places, tileEvents, type Cell } from "./causal/patchCells.ts";
import { chanceDraws, directionDraws } from "./causal/patchChance.ts";
import { patchFigures } from "./causal/patchFigures.ts";
import { clearPart, patchFinding } from "./causal/patchFinding.ts";
import { askedOf, refuseSameAnswers, runSide } from "./causal/question.ts";
import { defineProbe } from "./defineProbe.ts";
import { everyHookFired, firedHooks } from "./hooksFired.ts";
import { promptPairFields } from "./promptPair.ts";
import type { NullBand, ProbeEvent } from "./result.ts";

const chance = "random directions of equal norm";

export const activationPatching = defineProbe({
  title: "Patching",
  summary: "Which activations carry the behaviour from one run to the other?",
  source: "Zhang & Nanda 2023, arXiv 2309.16042; names as in TransformerLens patching.py",
  needs: "activations",
  adapters: { min: 0, max: 16 },
  params: z.strictObject({
    ...promptPairFields,
    contrast: z.enum(contrasts).default("adaptedIntoBase").describe("Which run is patched into which"),
    activations: z.array(z.enum(placeNames)).min(1).default(["resid_pre", "attn_out", "mlp_out", "heads"]).describe("What is patched"),
    ...nullFields(chance, 32),
  }),
  async *run(subject, options, signal): AsyncGenerator<ProbeEvent, void, void> {
    const runner = subject.runner!;
    const { activations, contrast, seed } = options;
    const { from, into } = contrastSides(subject, contrast, options.clean, options.corrupted);
    const { answer, counterAnswer } = askedOf(subject, from.prompt, options);
    const position = from.prompt.ids.length - 1;
    const { ids, tokens } = into.prompt;
    const sizes = { nLayers: runner.model.config.nLayers, nHeads: runner.model.config.nHeads, positions: ids.length };
    const layers = Array.from({ length: sizes.nLayers }, (_, layer) => layer);
    const last = places.resid_post.hook(sizes.nLayers - 1);
    const hooks = [...new Set([...activations.flatMap((name) => layers.map((layer) => places[name].hook(layer))), last])];
    const asked = { runner, position, signal };
    const fromRun = await runSide(asked, from, hooks);
    const intoRun = await runSide(asked, into, hooks);
    const meter = new AnswerMeter(answer, counterAnswer, fromRun.logits, intoRun.logits);
    refuseSameAnswers(
      meter.fromDiff,
      meter.intoDiff,
      (diff) => `both runs have the logit difference ${diff} at the answer; there is nothing to restore. Choose other answers or prompts`,
    );

    yield* patchArrays(activations, sizes);
    const figures = (nulls: readonly NullBand[]) => patchFigures(contrast, activations, tokens, sizes, nulls);
    for (const figure of figures([])) yield { type: "figure", figure };

    const fired = new Set(firedHooks(hooks, fromRun.taps, intoRun.taps));
    const cells = patchCells(activations, sizes, into.setting).filter(({ world }) => world.edits.every(({ hook }) => fired.has(hook)));
    const worlds = cells.map(({ world }) => world);
    const sources = { from: fromRun.taps, self: intoRun.taps };
    const request: SweepRequest = { ...asked, tokens: ids, setting: into.setting, worlds, sources };
    const values = new Float32Array(cells.length).fill(NaN);
    yield* measuredSweep(
      request,
      "worlds",
      (tile) =>
        tileEvents(
          tile.flatMap(({ index, logits }) => {
            const [cell, numbers] = [cells[index], meter.measure(logits)];
            values[index] = numbers.normalized;
            return cell ? [{ cell, numbers }] : [];
          }),
        ),
      2 * runner.tapBytes(hooks, 1, ids.length),
    );

    yield* selfChecks(request, meter, cells, fired.has(last) ? last : null);
    yield everyHookFired(hooks, fromRun.taps, intoRun.taps);
    const chosen = sampleIndices(cells.length, options.nullSamples, uniform(seed)).flatMap((index) => cells[index] ?? []);
    const nulls = nullBands("normalized", await directionDraws(request, meter, chosen, seed), chance);
    for (const figure of figures(nulls)) yield { type: "figure", figure };
    const [band] = nulls;
    const found = band && (await clearPart(cells, values, band, position, (those) => chanceDraws(request, meter, those, { from, into, seed })));
    if (band && found) yield { type: "finding", text: patchFinding(found, band, tokens, contrastWords[contrast].restored) };
  },
});

/** Own values into themselves change nothing; the whole last residual restores all; the planner equals one forward pass a world. */
async function* selfChecks(request: SweepRequest, meter: AnswerMeter, cells: readonly Cell[], last: string | null): AsyncGenerator<ProbeEvent, void, void> {
  const middle = cells[Math.floor(cells.length / 2)]?.world;
  const own = [cells[0]?.world, middle, cells.at(-1)?.world].flatMap((world) => world ?? []);
  const self = own.map((world) => ({ ...world, edits: world.edits.map((edit) => ({ ...edit, source: "self" })) }));
  const drift = await measured({ ...request, worlds: self }, (logits) => Math.abs(meter.measure(logits).normalized));
  yield isZero("own values into own run", Math.max(...drift));
  const head = request.runner.adapters.some((adapter) => adapter.sites.has("unembed") || adapter.saved.some((saved) => saved.segment === "unembed"));
  if (!head && last !== null) {
    const edits = [{ hook: last, position: null, head: null, source: "from" }];
    yield isOne("whole last residual", meter.measure(await first(sweep({ ...request, worlds: [{ setting: request.setting, edits }] }))).normalized);
  }
  yield await plannerCheck(request, middle);
}
