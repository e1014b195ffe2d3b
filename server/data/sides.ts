/** The two sides of a dataset, to train on and held out, and their labels and tasks as numbers. */
import { inField } from "../errors.ts";
import { malformedLine } from "../formats/textLines.ts";
import { didYouMean } from "../nearNames.ts";
import { quoted } from "../quoted.ts";
import type { DataParams } from "./dataParams.ts";
import type { Dataset, Example } from "./example.ts";
import type { DatasetLimits, ReadExample } from "./readExamples.ts";
import { heldOutIndices } from "./split.ts";

export interface Sides {
  readonly train: readonly ReadExample[];
  readonly validation: readonly ReadExample[];
}

/** @param read the examples of a file */
export function sidesOf(data: DataParams, { seed }: DatasetLimits, read: (file: string) => readonly ReadExample[]): Sides {
  const { path, validationPath, validationFraction } = data;
  const train = inField("data.path", () => read(path));
  if (validationPath !== null) return { train, validation: inField("data.validationPath", () => read(validationPath)) };
  if (validationFraction === 0) return { train, validation: [] };
  const groups = train.map(({ label, task }) => JSON.stringify([label, task]));
  const heldOut = new Set(heldOutIndices(groups, validationFraction, seed));
  return { train: train.filter((_, i) => !heldOut.has(i)), validation: train.filter((_, i) => heldOut.has(i)) };
}

/** With labels and tasks as numbers. @throws "data.malformed" for an example whose name is not among them */
export function numbered(data: DataParams, { train, validation }: Sides, labels: readonly string[], tasks: readonly string[]): Dataset {
  const { path, validationPath } = data;
  const heldOut = { file: validationPath ?? path, field: validationPath === null ? "data.path" : "data.validationPath" };
  const labelIndex = indexOf(labels, "label", heldOut);
  const taskIndex = indexOf(tasks, "task", heldOut);
  const side = (examples: readonly ReadExample[]): Example[] =>
    examples.map(({ tokens, lossWeights, label, task, line }) => ({
      tokens,
      lossWeights,
      label: label === null ? null : labelIndex(label, line),
      task: taskIndex(task, line),
    }));
  return { train: side(train), validation: side(validation), labels, tasks, cut: [...train, ...validation].filter(({ isCut }) => isCut).length };
}

/** Distinct and sorted; none where there is none. */
export function namesOf(examples: readonly ReadExample[], of: (example: ReadExample) => string | null): string[] {
  const distinct = [...new Set(examples.map(of).filter((name) => name !== null))];
  const areNumbers = distinct.every((name) => Number.isFinite(Number(name)));
  return distinct.sort((a, b) => (areNumbers ? Number(a) - Number(b) : 0) || (a < b ? -1 : 1));
}

/** @param heldOut where the held-out examples are, the only ones whose name can be unknown */
function indexOf(names: readonly string[], what: string, { file, field }: { file: string; field: string }): (name: string, line: number) => number {
  const indices = new Map(names.map((name, i) => [name, i]));
  return (name, line) => {
    const index = indices.get(name);
    if (index === undefined)
      throw malformedLine(file, line, `found the ${what} ${quoted(name)}, which no training example has; expected one of theirs, ${didYouMean(name, names)}`, {
        field,
      });
    return index;
  };
}
