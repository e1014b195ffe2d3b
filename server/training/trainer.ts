/**
 * The training loop. Everything random is a function of the seed and the step, and every checkpoint holds all that changes,
 * so a run that was killed goes on from its last checkpoint to the numbers it would have had.
 */
import { inField, WorkbenchError } from "../errors.ts";
import type { LoadedModel } from "../models/loadModel.ts";
import type { Engine } from "../tensors/engine.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import { randomStream } from "../linalg/random.ts";
import { adaptationRequest, startAdaptation, trainedTensors, type Adaptation } from "./adaptation.ts";
import { checkpointSteps, removeCheckpoint, removeTorn, restoreCheckpoint, writeCheckpoint, type BestSoFar } from "./checkpoint.ts";
import { BatchPlan, evaluationBatches } from "../data/batches.ts";
import type { Batch, Dataset } from "../data/example.ts";
import { AdamW } from "./optimizer.ts";
import { checkRates, parameterRules } from "./parameterRules.ts";
import { trainingPlan, type TrainingPlan } from "./trainingPlan.ts";
import { trainStep, type StepNumbers } from "./trainStep.ts";
import { TrainingPrograms } from "./trainingPrograms.ts";
import type { TrainingParams } from "./trainingParams.ts";

export interface StepRecord extends StepNumbers {
  readonly type: "step";
  /** Steps done, counting this one. */
  readonly step: number;
  readonly tokens: number;
  readonly seconds: number;
}
export interface EvaluationRecord {
  readonly type: "evaluation";
  readonly step: number;
  /** Mean over the held-out tokens, in nats. */
  readonly loss: number;
  /** Share of the held-out predictions (tokens, or labels) that were right. */
  readonly accuracy: number;
  readonly isBest: boolean;
}
export type TrainingEvent =
  | StepRecord
  | EvaluationRecord
  | { readonly type: "checkpoint"; readonly step: number }
  | { readonly type: "ended"; readonly step: number; readonly reason: "finished" | "patience" | "paused" };

export interface TrainerOptions {
  readonly model: LoadedModel;
  readonly params: TrainingParams;
  readonly dataset: Dataset;
  readonly engine: Engine;
  /** Where checkpoints go; a run that has some there goes on from the last. */
  readonly folder: string;
  /** The caller's own files in each checkpoint. */
  readonly saveMore?: (dir: string) => void;
}

let runs = 0;

export class Trainer {
  readonly adaptation: Adaptation;
  readonly programs: TrainingPrograms;
  readonly plan: TrainingPlan;
  readonly #options: TrainerOptions;
  readonly #optimizer: AdamW;
  readonly #batches: BatchPlan;
  readonly #evaluation: readonly Batch[];
  #step = 0;
  #best: BestSoFar = null;
  #stopped = false;
  #engines: readonly string[];
  /** The step of the best evaluation before the present best. */
  #superseded: number | null = null;
  #gradients: Readonly<Record<string, Float32Array>> = {};
  #resumedFrom: { readonly folder: string; readonly step: number } | null = null;

  constructor(options: TrainerOptions) {
    const { model, params, dataset, engine } = options;
    this.#options = options;
    this.#engines = [engine.name];
    // Frozen tensors are held by the engine under this key, and a process may train many runs.
    const runKey = `run${process.pid}-${runs++}`;
    this.adaptation = startAdaptation(model, adaptationRequest(params, { labels: dataset.labels, tasks: dataset.tasks, runKey }));
    this.programs = new TrainingPrograms(engine, this.adaptation);
    const rules = parameterRules(this.adaptation);
    checkRates(
      params.optimizer,
      rules,
      trainedTensors(this.adaptation).map(({ parameter }) => parameter),
    );
    this.#optimizer = new AdamW(params.optimizer, rules);
    this.#batches = new BatchPlan(dataset.train, { batchSize: params.batchSize, seed: params.seed, shuffle: params.data.shuffle, nCtx: model.config.nCtx });
    this.#evaluation = evaluationBatches(dataset.validation, params.batchSize, model.config.nCtx);
    this.plan = trainingPlan(params, this.#batches.batchesPerEpoch);
  }

  /** Steps done. */
  get step(): number {
    return this.#step;
  }

  /** Of the last step, before clipping, by key of the trained tensor. */
  get gradients(): Readonly<Record<string, Float32Array>> {
    return this.#gradients;
  }

  /** That it was trained on, in their turn, from the start of the run that it goes on with; more than one give other last bits than one. */
  get engines(): readonly string[] {
    return this.#engines;
  }

  /** The checkpoint that `prepare` went on from. */
  get resumedFrom(): { readonly folder: string; readonly step: number } | null {
    return this.#resumedFrom;
  }

  /** Goes on from the last checkpoint, or from the one that the run branches from, or starts. @throws as `restoreCheckpoint` */
  async prepare(): Promise<void> {
    const { folder, params, engine } = this.#options;
    removeTorn(folder);
    const own = checkpointSteps(folder).at(-1);
    const from = own === undefined ? params.startFrom : { folder, step: own };
    if (!from) {
      await this.#learnInputs();
      return;
    }
    const restored = () => restoreCheckpoint(from.folder, from.step, this.adaptation, this.#optimizer);
    const { step, best, stopped, engines } = own === undefined ? inField("startFrom", restored) : restored();
    this.#step = step;
    this.#best = best;
    this.#stopped = stopped && own !== undefined;
    this.#engines = engines.at(-1) === engine.name ? engines : [...engines, engine.name];
    this.#resumedFrom = from;
  }

  /** @param signal aborting it stops before the next pass, without a checkpoint @param isPaused asked between steps; true writes a checkpoint and ends */
  async *run(signal: AbortSignal, isPaused: () => boolean = () => false): AsyncGenerator<TrainingEvent, void, void> {
    const { totalSteps, evaluateEvery, checkpointEvery } = this.plan;
    if (this.#step === 0 && this.#resumedFrom === null && this.#evaluation.length > 0) yield await this.#evaluate(signal);
    while (!this.#isDone()) {
      if (isPaused()) {
        yield this.#checkpoint();
        yield { type: "ended", step: this.#step, reason: "paused" };
        return;
      }
      yield await this.#oneStep(signal);
      let isBest = false;
      if (this.#evaluation.length > 0 && (this.#step % evaluateEvery === 0 || this.#step === totalSteps)) {
        const before = this.#best?.step;
        const evaluation = await this.#evaluate(signal);
        isBest = evaluation.isBest;
        if (isBest) this.#superseded = before ?? null;
        yield evaluation;
      }
      // The best so far is always there to be opened.
      if (this.#step % checkpointEvery === 0 || isBest || this.#isDone()) yield this.#checkpoint();
    }
    yield { type: "ended", step: this.#step, reason: this.#stopped ? "patience" : "finished" };
  }

  #isDone(): boolean {
    return this.#step >= this.plan.totalSteps || this.#stopped;
  }

  async #oneStep(signal: AbortSignal): Promise<StepRecord> {
    const { params } = this.#options;
    const { totalSteps } = this.plan;
    const started = performance.now();
    const batches = Array.from({ length: params.accumulate }, (_, i) => this.#batches.at(this.#step * params.accumulate + i));
    const state = { step: this.#step, totalSteps, optimizer: this.#optimizer };
    const { gradients, ...numbers } = await trainStep(this.programs, batches, state, params, signal).catch((error: unknown) => {
      throw this.#withKept(error);
    });
    this.#gradients = gradients;
    this.#step++;
    const tokens = batches.reduce((sum, batch) => sum + batch.last.reduce((total, last) => total + last + 1, 0), 0);
    return { type: "step", step: this.#step, ...numbers, tokens, seconds: (performance.now() - started) / 1000 };
  }

  /** An error of a step that diverged says which checkpoint is still good. */
  #withKept(error: unknown): unknown {
    if (!(error instanceof WorkbenchError) || error.code !== "training.diverged") return error;
    // The weights of a checkpoint at this very step are those that gave this loss; earlier ones gave a finite one.
    const last = checkpointSteps(this.#options.folder).findLast((step) => step < this.#step);
    const kept = last === undefined ? "no checkpoint has a finite loss" : `the last checkpoint with a finite loss is of step ${last}`;
    return new WorkbenchError(error.code, `${error.message}; ${kept}. Try a smaller learning rate`, { cause: error });
  }

  async #evaluate(signal: AbortSignal): Promise<EvaluationRecord> {
    let [loss, correct, weight] = [0, 0, 0];
    for (const batch of this.#evaluation) {
      if (signal.aborted) throw new WorkbenchError("job.cancelled", "cancelled");
      const scores = await this.programs.scores(batch);
      scores.weights.forEach((w, i) => {
        loss += w === 0 ? 0 : w * scores.nll[i]!;
        correct += w * scores.correct[i]!;
        weight += w;
      });
    }
    loss /= weight;
    const isBest = this.#best === null || loss < this.#best.loss;
    this.#best = isBest || !this.#best ? { loss, step: this.#step, since: 0 } : { ...this.#best, since: this.#best.since + 1 };
    const { patience } = this.#options.params;
    this.#stopped = patience !== null && this.#best.since >= patience;
    return { type: "evaluation", step: this.#step, loss, accuracy: correct / weight, isBest };
  }

  #checkpoint(): TrainingEvent {
    const { folder, params, saveMore } = this.#options;
    const state = { step: this.#step, best: this.#best, stopped: this.#stopped, engines: this.#engines };
    writeCheckpoint(folder, this.adaptation, this.#optimizer, state, saveMore);
    const steps = checkpointSteps(folder);
    // A checkpoint that was there as the best alone goes with its title.
    const old = this.#superseded;
    this.#superseded = null;
    if (old !== null && old !== this.#step && old % this.plan.checkpointEvery !== 0 && steps.includes(old)) removeCheckpoint(folder, old);
    const removable = steps.filter((step) => step !== this.#best?.step && step !== this.#step && step !== old);
    for (const step of removable.slice(0, Math.max(0, steps.length - params.keepCheckpoints))) removeCheckpoint(folder, step);
    return { type: "checkpoint", step: this.#step };
  }

  /** The method's look at the inputs of its sites, before the first step. */
  async #learnInputs(): Promise<void> {
    const { method, options, sites, tasks } = this.adaptation;
    if (!method?.learnInputs) return;
    const { seed, batchSize } = this.#options.params;
    const { train } = this.#options.dataset;
    const { nCtx } = this.#options.model.config;
    const programs = this.programs;
    await method.learnInputs({
      options,
      sites,
      tasks,
      runKey: `learned${process.pid}-${runs++}`,
      random: (...labels) => randomStream(seed, "learn", ...labels),
      async *inputs({ fraction }) {
        const plan = new BatchPlan(train, { batchSize, seed, shuffle: true, nCtx });
        const count = Math.max(1, Math.round(plan.batchesPerEpoch * fraction));
        for (let index = 0; index < count; index++) {
          const batch = plan.at(index);
          const found = await programs.siteInputs(batch);
          yield new Map([...found].map(([site, x]) => [site, withoutPadding(x, batch)]));
        }
      },
    });
    programs.forgetWeights();
  }
}

/** Rows of real tokens only: `[rows · positions, d]` → `[tokens, d]`. */
function withoutPadding(x: FloatTensor, { rows, positions, last }: Batch): FloatTensor {
  const d = x.shape[1]!;
  const lengths = Array.from(last, (place) => place + 1);
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const data = new Float32Array(total * d);
  let at = 0;
  for (let row = 0; row < rows; row++) {
    data.set(x.data.subarray(row * positions * d, (row * positions + lengths[row]!) * d), at);
    at += lengths[row]! * d;
  }
  return float32(data, [total, d]);
}
