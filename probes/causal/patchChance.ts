/** What patching gives by chance: the same cells with the difference turned to random directions, and where adapters are contrasted, null adapters. */
import { uniform } from "../../server/linalg/random.ts";
import type { SweepRequest } from "../../server/runs/sweep.ts";
import { AnswerMeter } from "./answerMetrics.ts";
import type { Side } from "./contrast.ts";
import { difference, sum, turned } from "./directions.ts";
import { measured } from "./measuredSweep.ts";
import { nullRunner } from "./nullAdapter.ts";
import type { Cell } from "./patchCells.ts";
import { runSide } from "./question.ts";

/** Runs in which nothing is to be found, for what a sentence would claim. */
const chanceRuns = 12;

const hooksOf = (cells: readonly Cell[]): string[] => [...new Set(cells.flatMap(({ world }) => world.edits.map(({ hook }) => hook)))];

/**
 * The same cells with the difference turned to a random direction of the same norm: into + random, as long as (from − into), for each vector over the
 * last axis.
 */
export async function directionDraws(request: SweepRequest, meter: AnswerMeter, chosen: readonly Cell[], seed: number): Promise<number[]> {
  const next = uniform(seed + 1);
  const { self = {}, from = {} } = request.sources;
  const random = Object.fromEntries(
    hooksOf(chosen).flatMap((hook) => (self[hook] && from[hook] ? [[hook, sum(self[hook], turned(difference(from[hook], self[hook]), next))]] : [])),
  );
  const worlds = chosen.map(({ world }) => ({ ...world, edits: world.edits.map((edit) => ({ ...edit, source: "null" })) }));
  return await measured({ ...request, worlds, sources: { ...request.sources, null: random } }, (logits) => meter.measure(logits).normalized);
}

/**
 * The largest of these cells where nothing is to be found: with null adapters when adapters are contrasted, as any adapter's effect comes through some part;
 * else with the first cell's difference in random directions.
 */
export async function* chanceDraws(
  request: SweepRequest,
  meter: AnswerMeter,
  those: readonly Cell[],
  { from, into, seed }: { readonly from: Side; readonly into: Side; readonly seed: number },
): AsyncGenerator<number, void, void> {
  const isOfAdapters = from.setting !== into.setting;
  for (let draw = 0; draw < chanceRuns; draw++) {
    const runner = isOfAdapters ? nullRunner(request.runner, seed * chanceRuns + draw) : null;
    if (!runner) {
      yield* await directionDraws(request, meter, those.slice(0, 1), seed + 2 + draw);
      continue;
    }
    const drawn = { ...request, runner };
    const fromRun = await runSide(drawn, from, hooksOf(those));
    const intoRun = await runSide(drawn, into);
    const ownMeter = new AnswerMeter(meter.answer, meter.counterAnswer, fromRun.logits, intoRun.logits);
    const values = await measured(
      { ...drawn, worlds: those.map(({ world }) => world), sources: { from: fromRun.taps } },
      (logits) => ownMeter.measure(logits).normalized,
    );
    const finite = values.filter(Number.isFinite);
    if (finite.length > 0) yield finite.reduce((most, value) => Math.max(most, value));
  }
}
