/** The numbers of every step and evaluation as arrays of bounded length: loss, rate, gradient norm, speed, held-out scores. */
import type { EvaluationRecord, StepRecord } from "./trainer.ts";
import type { TrainingPlan } from "./trainingPlan.ts";
import type { Tile } from "./monitors/monitor.ts";

/** More steps than this share points: a point is then the mean of its steps. */
const mostPoints = 2000;

export const stepArrays = ["step", "loss", "loss_smoothed", "penalty", "learning_rate", "gradient_norm_all", "tokens_per_second"] as const;
export const evaluationArrays = ["evaluation_step", "validation_loss", "validation_accuracy"] as const;
type StepArray = (typeof stepArrays)[number];
type EvaluationArray = (typeof evaluationArrays)[number];

export interface CurvesState {
  readonly smoothed: { readonly sum: number; readonly weight: number };
  readonly open: Readonly<Record<string, number>> & { readonly steps: number };
  readonly evaluations: number;
}

export class StepCurves {
  readonly points: number;
  readonly evaluations: number;
  readonly #firstStep: number;
  readonly #lastStep: number;
  readonly #stepsPerPoint: number;
  readonly #keep: number;
  #smoothed = { sum: 0, weight: 0 };
  /** Sums of the point that is being filled, and its steps. */
  #open: Record<string, number> & { steps: number } = { steps: 0 };
  #evaluated = 0;

  constructor({ totalSteps, evaluateEvery }: TrainingPlan, firstStep: number) {
    const steps = Math.max(1, totalSteps - firstStep);
    this.#firstStep = firstStep;
    this.#lastStep = totalSteps;
    this.#stepsPerPoint = Math.ceil(steps / mostPoints);
    this.points = Math.ceil(steps / this.#stepsPerPoint);
    // One before the first step, one every so often, one at the end.
    this.evaluations = Math.min(mostPoints, Math.floor(steps / evaluateEvery) + 2);
    this.#keep = 1 - 1 / this.smoothing;
  }

  /** Steps that the smoothed loss looks back on: it is their exponential mean. */
  get smoothing(): number {
    return Math.round(Math.min(100, Math.max(5, (this.#lastStep - this.#firstStep) / 50)));
  }

  /** Points of the arrays that a step fills, once all its steps are there. */
  step(record: StepRecord): Tile[] {
    this.#smoothed = { sum: this.#keep * this.#smoothed.sum + (1 - this.#keep) * record.loss, weight: this.#keep * this.#smoothed.weight + (1 - this.#keep) };
    const values: Record<StepArray, number> = {
      step: record.step,
      loss: record.loss,
      loss_smoothed: this.#smoothed.sum / this.#smoothed.weight,
      penalty: record.penalty,
      learning_rate: record.learningRate,
      gradient_norm_all: record.gradientNorm,
      tokens_per_second: record.tokens / record.seconds,
    };
    for (const name of stepArrays) this.#open[name] = (this.#open[name] ?? 0) + values[name];
    this.#open.steps++;
    const index = Math.floor((record.step - this.#firstStep - 1) / this.#stepsPerPoint);
    const isFull = (record.step - this.#firstStep) % this.#stepsPerPoint === 0 || record.step === this.#lastStep;
    if (!isFull || index < 0 || index >= this.points) return [];
    const { steps, ...sums } = this.#open;
    this.#open = { steps: 0 };
    return stepArrays.map((array) => ({ array, offset: index, data: Float32Array.of(array === "step" ? record.step : sums[array]! / steps) }));
  }

  evaluation({ step, loss, accuracy }: EvaluationRecord): Tile[] {
    if (this.#evaluated >= this.evaluations) return [];
    const offset = this.#evaluated++;
    const values: Record<EvaluationArray, number> = { evaluation_step: step, validation_loss: loss, validation_accuracy: accuracy };
    return evaluationArrays.map((array) => ({ array, offset, data: Float32Array.of(values[array]) }));
  }

  state(): CurvesState {
    return { smoothed: this.#smoothed, open: { ...this.#open }, evaluations: this.#evaluated };
  }

  restore({ smoothed, open, evaluations }: CurvesState): void {
    this.#smoothed = { ...smoothed };
    this.#open = { ...open };
    this.#evaluated = evaluations;
  }
}
