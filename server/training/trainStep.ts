/** One step of training: some passes, one update, and what the method does beside it. */
import { WorkbenchError } from "../errors.ts";
import { randomStream } from "../linalg/random.ts";
import type { Batch } from "../data/example.ts";
import { siteKey, trainedTensors, type Adaptation } from "./adaptation.ts";
import { nonFinitePlace } from "./nonFinite.ts";
import type { AdamW } from "./optimizer.ts";
import { learningRateAt } from "./schedule.ts";
import type { TrainingParams } from "./trainingParams.ts";
import { lossWeight } from "./lossRows.ts";
import type { LossAndGradients, TrainingPrograms } from "./trainingPrograms.ts";

type Gradients = Readonly<Record<string, Float32Array>>;

/** With the trained tensors of the programs' adaptation, all that a step changes and all that it depends on. */
export interface StepState {
  /** Steps done before this one. */
  readonly step: number;
  readonly totalSteps: number;
  /** Holds the moments. */
  readonly optimizer: AdamW;
}
export interface StepNumbers {
  /** Mean over the predicted tokens of the step, in nats; without the penalty. */
  readonly loss: number;
  readonly penalty: number;
  readonly learningRate: number;
  /** Of all gradients together, before clipping. */
  readonly gradientNorm: number;
  /** What the method did beside the update, in words. */
  readonly note: string | null;
}
export interface StepOutcome extends StepNumbers {
  /** Before clipping, by key of the trained tensor. */
  readonly gradients: Gradients;
}
type StepParams = Pick<TrainingParams, "seed" | "dropout" | "labelSmoothing" | "optimizer">;

/**
 * θ ← AdamW(θ, ∇ Σ_passes loss): the loss is the mean over what all passes predict together. Everything random is a function of
 * `params.seed`, `state.step` and the pass, so that the same state and batches give the same numbers, bit for bit.
 *
 * Changes the trained tensors of `programs.adaptation` and the moments of `state.optimizer` in place, and these only once every pass is finite.
 * @param batches one a pass; their gradients are added
 * @param signal aborting it stops before the next pass
 * @throws "job.cancelled"; "training.diverged" saying where the first number was that is none
 */
export async function trainStep(
  programs: TrainingPrograms,
  batches: readonly Batch[],
  state: StepState,
  params: StepParams,
  signal: AbortSignal,
): Promise<StepOutcome> {
  const { adaptation } = programs;
  const { dropout, labelSmoothing, seed } = params;
  const scale = 1 / batches.reduce((sum, batch) => sum + lossWeight(batch, adaptation.head !== null), 0);
  let loss = 0;
  let penalty = 0;
  let sum: Gradients = {};
  for (const [pass, batch] of batches.entries()) {
    if (signal.aborted) throw new WorkbenchError("job.cancelled", "cancelled");
    const random = randomStream(seed, "dropout", state.step, pass);
    const out = await programs.lossAndGradients({ batch, scale, penaltyScale: 1 / batches.length, dropout, labelSmoothing, random });
    loss += out.loss;
    penalty += out.penalty;
    await refuseNonFinite(out, programs, batch, state.step);
    sum = pass === 0 ? out.gradients : added(sum, out.gradients);
  }
  // The optimizer shortens gradients in place; methods and monitors see them as they were.
  const gradients = Object.fromEntries(Object.entries(sum).map(([key, values]) => [key, values.slice()]));
  const learningRate = learningRateAt(state.step, state.totalSteps, params.optimizer);
  const gradientNorm = state.optimizer.update(trainedTensors(adaptation), sum, learningRate);
  const note = afterStep(adaptation, gradients, { ...state, step: state.step + 1 }, seed);
  return { loss, penalty, learningRate, gradientNorm, gradients, note };
}

/** The method's own change to ranks, gates or moments. @returns what it did, in words */
function afterStep(adaptation: Adaptation, gradients: Gradients, { step, totalSteps, optimizer }: StepState, seed: number): string | null {
  const { method, options, sites } = adaptation;
  if (!method?.afterStep) return null;
  const { note, resetsMoments, reshaped } = method.afterStep({
    options,
    step,
    totalSteps,
    sites,
    gradient: (site, parameter) => gradientOf(gradients, siteKey(site, parameter)),
    random: (...labels) => randomStream(seed, "step", step, ...labels),
  });
  for (const { key } of trainedTensors(adaptation)) {
    if (resetsMoments || reshaped.some((site) => key.startsWith(siteKey(site, "")))) optimizer.forget(key);
  }
  return note;
}

function gradientOf(gradients: Gradients, key: string): Float32Array {
  const found = gradients[key];
  if (!found) throw new WorkbenchError("internal", `internal: there is no gradient of "${key}"`);
  return found;
}

/** a + b, in place of a. */
function added(a: Gradients, b: Gradients): Gradients {
  for (const [key, values] of Object.entries(a)) {
    const more = gradientOf(b, key);
    for (let i = 0; i < values.length; i++) values[i] = values[i]! + more[i]!;
  }
  return a;
}

async function refuseNonFinite({ loss, penalty, gradients }: LossAndGradients, programs: TrainingPrograms, batch: Batch, step: number): Promise<void> {
  const whole = loss + penalty;
  const broken = Object.entries(gradients).find(([, values]) => values.some((value) => !Number.isFinite(value)))?.[0];
  if (Number.isFinite(whole) && broken === undefined) return;
  const found = (await nonFinitePlace(programs, batch)) ?? (broken !== undefined && Number.isFinite(whole) ? `the gradient of ${broken}` : "the loss itself");
  throw new WorkbenchError("training.diverged", `step ${step + 1}: loss is ${whole}; the first place that is not finite is ${found}`);
}
