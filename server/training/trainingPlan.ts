/** How many steps a run has, and how often things happen in it. */
import { WorkbenchError } from "../errors.ts";
import { mostSteps, type TrainingParams } from "./trainingParams.ts";

/** Number of steps, and how often things happen. */
export interface TrainingPlan {
  readonly totalSteps: number;
  readonly evaluateEvery: number;
  readonly checkpointEvery: number;
}

/** @throws "training.badParams" when the epochs make more steps than a run may have, or fewer passes than one step takes */
export function trainingPlan(params: TrainingParams, batchesPerEpoch: number): TrainingPlan {
  const { epochs, accumulate } = params;
  const passes = Math.max(1, Math.ceil(epochs * batchesPerEpoch));
  const totalSteps = params.steps ?? Math.ceil(passes / accumulate);
  if (totalSteps > mostSteps)
    throw new WorkbenchError(
      "training.badParams",
      `epochs: ${epochs} of ${batchesPerEpoch} batches are ${totalSteps} steps; expected at most ${mostSteps.toLocaleString("en")}`,
      { field: "epochs" },
    );
  if (params.steps === null && accumulate > passes)
    throw new WorkbenchError(
      "training.badParams",
      `accumulate is ${accumulate}, and ${epochs} epochs of ${batchesPerEpoch} batches have ${passes} forward passes in all; expected at most ` +
        `${passes}, or steps of its own`,
      { field: "accumulate" },
    );
  return {
    totalSteps,
    evaluateEvery: params.evaluateEvery ?? Math.max(1, Math.round(totalSteps / 20)),
    checkpointEvery: params.checkpointEvery ?? Math.max(1, Math.round(totalSteps / 10)),
  };
}
