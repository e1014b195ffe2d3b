/** Finds where a forward pass first has a number that is none. */
import type { Batch } from "../data/example.ts";
import { trainedTensors } from "./adaptation.ts";
import type { TrainingPrograms } from "./trainingPrograms.ts";

/** In words: a trained tensor, or the first hook in the order of the forward pass; null when all of it is finite. */
export async function nonFinitePlace(programs: TrainingPrograms, batch: Batch): Promise<string | null> {
  const broken = trainedTensors(programs.adaptation).find(({ tensor }) => tensor.data.some((value) => !Number.isFinite(value)));
  if (broken) return `the parameter ${broken.key}`;
  for (const { hook, largest } of await programs.hookMaxima(batch)) if (!Number.isFinite(largest)) return `the activation ${hook}`;
  return null;
}
