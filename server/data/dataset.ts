/** A dataset from its files: examples read, split by the seed, labels and tasks numbered. */
import { WorkbenchError } from "../errors.ts";
import type { Tokenizer } from "../formats/tokenizer.ts";
import type { DataParams } from "./dataParams.ts";
import type { Dataset } from "./example.ts";
import { namesOf, numbered, sidesOf } from "./sides.ts";
import { readExamples, type DatasetLimits } from "./readExamples.ts";
import { quoted } from "../quoted.ts";

/**
 * Held out are the examples of `validationPath`; without it, a share drawn by the seed, in which labels and tasks keep theirs.
 * Labels and tasks are those of the training examples, sorted: as numbers when all are, else by code unit.
 *
 * @throws as `readExamples`; "data.empty" when nothing would be left to train on or to hold out; "data.malformed" when a
 * classification has one label, and, with the line, when a held-out example has a label or task that training has not
 */
export function loadDataset(data: DataParams, tokenizer: Tokenizer, limits: DatasetLimits): Dataset {
  const sides = sidesOf(data, limits, (file) => [...readExamples(file, data, tokenizer, limits)]);
  if (sides.validation.length === 0 && data.validationFraction > 0) {
    const found = sides.train.length === 1 ? "one example" : "no label or task with two examples";
    throw new WorkbenchError(
      "data.empty",
      `${data.path}: found ${found}, so none can be held out; expected more examples, a validationPath, or validationFraction 0`,
      { field: "data.path" },
    );
  }
  const labels = namesOf(sides.train, ({ label }) => label);
  if (labels.length === 1)
    throw new WorkbenchError("data.malformed", `${data.path}: found one label, ${quoted(labels[0])}; expected two or more to tell apart`, {
      field: "data.path",
    });
  return numbered(
    data,
    sides,
    labels,
    namesOf(sides.train, ({ task }) => task),
  );
}
