/** The learning rate of each step: a linear warm-up, then constant, linear to 0, or a half cosine to 0, as transformers' schedules. */
import type { OptimizerParams } from "./trainingParams.ts";

type ScheduleParams = Pick<OptimizerParams, "learningRate" | "schedule" | "warmupSteps">;

/**
 * @param step steps already done, from 0
 * @see transformers/optimization.py, get_linear_schedule_with_warmup and its relatives
 */
export function learningRateAt(step: number, totalSteps: number, { learningRate, schedule, warmupSteps }: ScheduleParams): number {
  if (step < warmupSteps) return (learningRate * step) / Math.max(1, warmupSteps);
  const left = (totalSteps - step) / Math.max(1, totalSteps - warmupSteps);
  switch (schedule) {
    case "constant":
      return learningRate;
    case "linear":
      return learningRate * Math.max(0, left);
    case "cosine":
      return learningRate * Math.max(0, 0.5 * (1 + Math.cos(Math.PI * (1 - left))));
    default:
      return schedule satisfies never;
  }
}
