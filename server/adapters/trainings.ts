/** Every method that can be trained; one file and one line to add one. */
import { WorkbenchError } from "../errors.ts";
import { didYouMean } from "../nearNames.ts";
import { loraTraining, rsloraTraining } from "./lora.ts";
import type { TrainingMethod } from "./training.ts";

export const trainings = {
  lora: loraTraining,
  rslora: rsloraTraining,
} satisfies Record<string, TrainingMethod>;
export type TrainingName = keyof typeof trainings;

/** @throws "training.unknownMethod" listing near names */
export function trainingNamed(name: string): TrainingMethod {
  const table: Readonly<Record<string, TrainingMethod>> = trainings;
  const found = Object.hasOwn(table, name) ? table[name] : undefined;
  if (!found) throw new WorkbenchError("training.unknownMethod", `no method is called "${name}"; ${didYouMean(name, [...Object.keys(table), "full"])}`);
  return found;
}
