/** Component ablation: each singular component of each adapter site switched off, one at a time, as rows of a few batches. */
import * as z from "zod";
import { WorkbenchError } from "../server/errors.ts";
import { sampleIndices, uniform } from "../server/linalg/random.ts";
import { klDivergence } from "../server/runs/metrics.ts";
import type { Runner } from "../server/runs/runner.ts";
import { sweep, type SweepRequest } from "../server/runs/sweep.ts";
import { baseSetting, strengthOf, type AdapterSetting, type ComponentGate, type World } from "../server/runs/worlds.ts";
import { componentColumns } from "./axes.ts";
import { first, isOne, isZero, plannerCheck } from "./causal/checks.ts";
import { componentGrid, componentLabel, componentMetrics, strongestBars, type Component } from "./causal/componentFigures.ts";
import { measuredSweep } from "./causal/measuredSweep.ts";
import { beatsDraws, clearsNull, nullBands, nullFields } from "./causal/nulls.ts";
import { askedOf, refuseSameAnswers, runSide } from "./causal/question.ts";
import { randomTermDraws } from "./causal/randomTerms.ts";
import { chanceWords, percent } from "./causal/words.ts";
import { defineProbe } from "./defineProbe.ts";
import { promptPairFields, readPrompt } from "./promptPair.ts";
import type { NullBand, ProbeEvent } from "./result.ts";

const { clean, answer, counterAnswer } = promptPairFields;
const chance = "random rank-one terms of equal norm";
/** Random terms drawn in the place of the component that a finding would name. */
const ownDraws = 24;

export const componentAblation = defineProbe({
  title: "Components",
  summary: "Which singular components of the adapter does the behaviour need?",
  source: "components of ΔW = U Σ Vᵀ by site; effect as a share of the base-to-adapted logit difference",
  needs: "activations",
  adapters: { min: 1, max: 16 },
  params: z.strictObject({
    ...{ clean, answer, counterAnswer },
    ...nullFields(chance, 24),
    strongest: z.int().min(1).max(200).default(24).describe("How many components the bar figure shows"),
  }),
  async *run(subject, options, signal): AsyncGenerator<ProbeEvent, void, void> {
    const runner = subject.runner!;
    const prompt = readPrompt(subject, options.clean, "clean");
    const { position, diff } = askedOf(subject, prompt, options);
    const components = allComponents(runner, subject.setting);
    if (components.length === 0) throw new WorkbenchError("probe.notApplicable", "no adapter is on, so there is no component to switch off");

    const logitsOf = async (setting: AdapterSetting) => (await runSide({ runner, position, signal }, { prompt, setting })).logits;
    const adapted = await logitsOf(subject.setting);
    const [adaptedDiff, baseDiff] = [diff(adapted), diff(await logitsOf(baseSetting))];
    refuseSameAnswers(
      adaptedDiff,
      baseDiff,
      (both) => `the adapter does not move the logit difference on this prompt (${both} with and without it); choose another prompt or answers`,
    );
    const effectOf = (logits: Float32Array): number => (adaptedDiff - diff(logits)) / (adaptedDiff - baseDiff);

    const { axis, columns } = componentColumns(components);
    const { nLayers } = runner.model.config;
    for (const { id } of componentMetrics) {
      yield { type: "array", name: id, shape: [components.length], axes: ["component"] };
      yield { type: "array", name: `grid.${id}`, shape: [nLayers, axis.labels.length], axes: ["layer", "component"] };
    }
    yield { type: "figure", figure: componentGrid(nLayers, axis, []) };

    const worlds = components.map((component): World => ({ setting: { ...subject.setting, components: [{ ...gateOf(component), value: 0 }] }, edits: [] }));
    const request: SweepRequest = { runner, tokens: prompt.ids, setting: subject.setting, worlds, sources: {}, position, signal };
    const effects = new Float32Array(components.length).fill(NaN);
    yield* measuredSweep(request, "components", function* (tile): Generator<ProbeEvent> {
      for (const { index, logits } of tile) {
        const values = { effect: effectOf(logits), logit_diff: diff(logits), kl: klDivergence(adapted, logits) };
        effects[index] = values.effect;
        const cell = (components[index]?.layer ?? 0) * axis.labels.length + (columns[index] ?? 0);
        for (const [id, value] of Object.entries(values)) {
          yield { type: "tile", array: id, offset: index, data: Float32Array.of(value) };
          yield { type: "tile", array: `grid.${id}`, offset: cell, data: Float32Array.of(value) };
        }
      }
    });

    yield* selfChecks(request, effectOf);
    // The embedding has no hook of what an adapter adds.
    const drawn = sampleIndices(components.length, options.nullSamples, uniform(options.seed)).flatMap((index) => components[index] ?? []);
    const inside = drawn.filter(({ site }) => site !== "embed");
    const nulls = nullBands("effect", await randomTermDraws(request, inside, options.seed, effectOf), chance);
    yield { type: "figure", figure: componentGrid(nLayers, axis, nulls) };
    const measured = components.map((of, index) => ({ of, effect: effects[index] ?? NaN }));
    yield* strongestBars(measured.toSorted((a, b) => Math.abs(b.effect) - Math.abs(a.effect)).slice(0, options.strongest), nulls);

    const [band] = nulls;
    const clear = band ? measured.filter(({ effect }) => clearsNull(effect, band)).sort((a, b) => b.effect - a.effect) : [];
    const [top] = clear;
    if (!band || !top || !(top.effect > 0)) return;
    const ownPlace = Array.from({ length: ownDraws }, () => top.of);
    const isAboveChance =
      top.of.site === "embed" || beatsDraws(top.effect, await randomTermDraws(request, ownPlace, options.seed, effectOf), components.length);
    if (isAboveChance) yield { type: "finding", text: findingOf(top, clear.length, components.length, band) };
  },
});

const gateOf = ({ adapter, site, component }: Component): Omit<ComponentGate, "value"> => ({ adapter, site, component });

function allComponents(runner: Runner, setting: AdapterSetting): Component[] {
  return runner.adapters
    .filter((adapter) => strengthOf(setting, adapter.name) !== 0)
    .flatMap((adapter) =>
      [...adapter.sites.values()].flatMap((site) =>
        Array.from({ length: site.rank }, (_, component) => ({ layer: site.layer, site: site.site, adapter: adapter.name, component })),
      ),
    );
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

/** How many components are clear of chance, and what the strongest of them does alone. */
function findingOf({ of, effect }: { readonly of: Component; readonly effect: number }, clear: number, all: number, band: NullBand): string {
  const does = `switching off ${componentLabel(of)} alone loses ${percent(effect)} of the adapter's effect`;
  return `${clear} of ${all} components clear the null; ${does} (${chanceWords("random terms of equal norm", band)}).`;
}
