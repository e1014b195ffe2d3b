/** Training as a run like any other: an adapter is made, and what forms inside it is streamed while it does. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { deserialize, serialize } from "node:v8";
import { WorkbenchError } from "../server/errors.ts";
import { encodeSafetensors } from "../server/formats/safetensors.ts";
import { checkpointDir } from "../server/training/checkpoint.ts";
import { loadDataset } from "../server/data/dataset.ts";
import { Watch } from "../server/training/monitors/watch.ts";
import { Trainer } from "../server/training/trainer.ts";
import { checkMemory } from "../server/training/trainingPreview.ts";
import { trainingParams, type TrainingParams } from "../server/training/trainingParams.ts";
import { defineProbe } from "./defineProbe.ts";
import { Analyses } from "./insideTraining.ts";
import { emptyResult, type Check, type ProbeEvent, type ProbeResult } from "./result.ts";
import { FigureChanges } from "./figureChanges.ts";
import { trainingArrays, trainingFigures } from "./trainingFigures.ts";
import { engineCheck, lookingCheck, trainingFinding } from "./trainingWords.ts";

export const train = defineProbe<TrainingParams>({
  title: "Training",
  summary: "Trains an adapter on your data and shows what forms inside it, step by step.",
  source: "AdamW: Loshchilov & Hutter 2017, arXiv 1711.05101; each method names its paper",
  needs: "training",
  adapters: { min: 0, max: 0 },
  params: trainingParams,

  async *run(subject, params, signal, workspace) {
    const { model, runner, tokenizer } = subject;
    if (!workspace) throw new WorkbenchError("internal", "a training run needs a folder for its checkpoints");
    if (!model || !runner) throw new WorkbenchError("probe.notApplicable", "Training needs a base model; open one first");
    if (!tokenizer) throw new WorkbenchError("tokenizer.malformed", `${model.path} has no tokenizer.json; training reads text`);
    const dataset = loadDataset(params.data, tokenizer, { nCtx: model.config.nCtx, dVocab: model.config.dVocab, seed: params.seed });
    const trainer: Trainer = new Trainer({
      model,
      params,
      dataset,
      engine: runner.engine,
      folder: workspace.folder,
      saveMore: (dir) => saveResult(dir, watch, analyses.result, trainer),
    });
    const analyses = new Analyses(params.probes.analyses, trainer.adaptation);
    checkMemory(trainer.adaptation, { tokenizer, params, dataset });
    await trainer.prepare();
    const watch: Watch = new Watch({ adaptation: trainer.adaptation, programs: trainer.programs, plan: trainer.plan, params, tokenizer });
    const from = trainer.resumedFrom;
    if (from?.folder === workspace.folder) {
      const dir = checkpointDir(from.folder, from.step);
      watch.restore(dir);
      analyses.restore(savedAnalyses(dir));
    }
    const live = { base: subject, adaptation: trainer.adaptation, folder: workspace.folder, name: params.name };

    yield* trainingArrays(watch);
    const figures = new FigureChanges();
    yield* figures.events(watch);
    yield* tileEvents(watch.tiles());
    yield* resultEvents(analyses.result);
    for (const check of engineCheck(trainer.engines)) yield { type: "check", check };
    yield progress(trainer);
    yield* tileEvents(await watch.prepare(trainer.step, signal));
    for await (const event of trainer.run(signal, () => workspace.isPaused())) {
      const [looks, counted, started] = [watch.looks, watch.lookingSeconds, performance.now()];
      yield* tileEvents(await watch.after(event, trainer.gradients));
      if (event.type === "step") {
        yield progress(trainer);
        yield* analyses.after(event.step, event.step === trainer.plan.totalSteps, live, signal);
      }
      // Figures change with their markers, which come with looks and notes.
      if (watch.looks !== looks || event.type !== "step" || event.note !== null) {
        yield* figures.events(watch);
        yield* words(watch, event.type === "ended" && event.reason !== "paused");
      }
      // All between two steps is looking: what the monitors took is counted, the rest is what was yielded and whoever took it.
      watch.spent((performance.now() - started) / 1000 - (watch.lookingSeconds - counted));
    }
  },
});

function* tileEvents(tiles: ReturnType<Watch["tiles"]>): Generator<ProbeEvent> {
  for (const tile of tiles) yield { type: "tile", ...tile };
}

type Progress = Extract<ProbeEvent, { type: "progress" }>;
const progress = ({ step, plan }: Trainer): Progress => ({ type: "progress", done: step, total: plan.totalSteps, unit: "steps" });

function* words(watch: Watch, isEnded: boolean): Generator<ProbeEvent> {
  const text = trainingFinding(watch);
  if (text !== null) yield { type: "finding", text };
  yield { type: "check", check: shareCheck(watch, isEnded) };
}

/** One check that is brought up to date, not one for each share. */
const shareCheck = (watch: Watch, isEnded: boolean): Check => ({ ...lookingCheck(watch, isEnded), name: "share of step time spent looking" });

/** Everything so far, in a checkpoint's folder: what is shown of a run whose server was killed, and what it goes on from. */
function saveResult(dir: string, watch: Watch, analyses: ProbeResult, trainer: Trainer): void {
  watch.save(dir);
  const arrays = [
    ...watch.arrays().map(({ name, shape, axes }) => ({ name, shape, axes, data: watch.numbers(name) })),
    ...Object.entries(analyses.arrays).map(([name, array]) => ({ name, ...array })),
  ];
  writeFileSync(join(dir, "arrays.safetensors"), encodeSafetensors(arrays.map(({ name, shape, data }) => ({ name, shape, data }))));
  const { done, total, unit } = progress(trainer);
  const result = {
    figures: [...trainingFigures(watch), ...analyses.figures],
    checks: [...engineCheck(trainer.engines), shareCheck(watch, false), ...analyses.checks],
    finding: trainingFinding(watch),
    progress: { done, total, unit },
    arrays: Object.fromEntries(arrays.map(({ name, shape, axes }) => [name, { shape, axes }])),
  };
  writeFileSync(join(dir, "figures.json"), `${JSON.stringify(result)}\n`);
  writeFileSync(join(dir, analysesFile), serialize(analyses));
}

const analysesFile = "analyses.bin";

/** What probes showed up to a checkpoint; nothing where the run is older than they are. */
function savedAnalyses(dir: string): ProbeResult {
  const file = join(dir, analysesFile);
  return existsSync(file) ? (deserialize(readFileSync(file)) as ProbeResult) : emptyResult;
}

function* resultEvents({ arrays, figures, checks }: ProbeResult): Generator<ProbeEvent> {
  for (const [name, { shape, axes, data }] of Object.entries(arrays)) {
    yield { type: "array", name, shape, axes };
    yield { type: "tile", array: name, offset: 0, data };
  }
  for (const figure of figures) yield { type: "figure", figure };
  for (const check of checks) yield { type: "check", check };
}
