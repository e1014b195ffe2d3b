/** A dataset from its files: examples read, split by the seed, labels and tasks numbered. */
import { inField, WorkbenchError } from "../errors.ts";
import { malformedLine } from "../formats/textLines.ts";
import type { Tokenizer } from "../formats/tokenizer.ts";
import { didYouMean } from "../nearNames.ts";
import type { DataParams } from "./dataParams.ts";
import type { Dataset, Example } from "./example.ts";
import { readExamples, type DatasetLimits, type ReadExample } from "./readExamples.ts";
import { heldOutIndices } from "./split.ts";
import { quoted } from "../quoted.ts";

/**
 * Held out are the examples of `validationPath`; without it, a share drawn by the seed, in which labels and tasks keep theirs.
 * Labels and tasks are those of the training examples, sorted: as numbers when all are, else by code unit.
 *
 * @throws as `readExamples`; "data.empty" when nothing would be left to train on or to hold out; "data.malformed" when a
 * classification has one label, and, with the line, when a held-out example has a label or task that training has not
 */
export function loadDataset(data: DataParams, tokenizer: Tokenizer, limits: DatasetLimits): Dataset {
  const read = inField("data.path", () => readExamples(data.path, data, tokenizer, limits));
  const { validationPath } = data;
  const { train, validation } =
    validationPath === null
      ? splitOff(read, data, limits.seed)
      : { train: read, validation: inField("data.validationPath", () => readExamples(validationPath, data, tokenizer, limits)) };
  const heldOut = { file: validationPath ?? data.path, field: validationPath === null ? "data.path" : "data.validationPath" };
  const labels = data.task === "classification" ? sortedNames(train.map(({ label }) => label!)) : [];
  if (labels.length === 1)
    throw new WorkbenchError("data.malformed", `${data.path}: found one label, ${quoted(labels[0])}; expected two or more to tell apart`, {
      field: "data.path",
    });
  const tasks = sortedNames(train.map(({ task }) => task));
  const labelIndex = indexOf(labels, "label", heldOut);
  const taskIndex = indexOf(tasks, "task", heldOut);
  const numbered = (examples: readonly ReadExample[]): Example[] =>
    examples.map(({ tokens, lossWeights, label, task, line }) => ({
      tokens,
      lossWeights,
      label: label === null ? null : labelIndex(label, line),
      task: taskIndex(task, line),
    }));
  return { train: numbered(train), validation: numbered(validation), labels, tasks, cut: [...train, ...validation].filter(({ isCut }) => isCut).length };
}

function splitOff(
  read: readonly ReadExample[],
  { path, validationFraction }: DataParams,
  seed: number,
): { train: readonly ReadExample[]; validation: readonly ReadExample[] } {
  if (validationFraction === 0) return { train: read, validation: [] };
  const heldOut = new Set(
    heldOutIndices(
      read.map(({ label, task }) => JSON.stringify([label, task])),
      validationFraction,
      seed,
    ),
  );
  if (heldOut.size === 0)
    throw new WorkbenchError(
      "data.empty",
      `${path}: found ${read.length === 1 ? "one example" : "no label or task with two examples"}, so none can be held out; expected more examples, a ` +
        `validationPath, or validationFraction 0`,
      { field: "data.path" },
    );
  return { train: read.filter((_, i) => !heldOut.has(i)), validation: read.filter((_, i) => heldOut.has(i)) };
}

function sortedNames(names: readonly string[]): string[] {
  const distinct = [...new Set(names)];
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
