/** A look at a dataset, of any size: of large files only the beginning is read. */
import { statSync } from "node:fs";
import type { Tokenizer } from "../formats/tokenizer.ts";
import type { DataParams } from "./dataParams.ts";
import { loadDataset } from "./dataset.ts";
import type { Dataset } from "./example.ts";
import { readExamples, type DatasetLimits, type ReadExample } from "./readExamples.ts";
import { namesOf, numbered, sidesOf } from "./sides.ts";

/** What is read of a large file: this much text, and this many examples however long they are. */
const beginning = { letters: 2 ** 18, examples: 3 };
/** A file up to this size is read whole. */
const wholeBytes = 4 * 2 ** 20;

/**
 * The dataset, or that of the beginnings of its files where one is large; then labels and tasks are those that were met there, and nothing
 * is refused that the rest of the file could mend.
 *
 * @throws as `loadDataset`, of what is read
 */
export function glimpseDataset(data: DataParams, tokenizer: Tokenizer, limits: DatasetLimits): { readonly dataset: Dataset; readonly isWhole: boolean } {
  const files = [data.path, ...(data.validationPath === null ? [] : [data.validationPath])];
  if (files.every((file) => bytesOf(file) <= wholeBytes)) return { dataset: loadDataset(data, tokenizer, limits), isWhole: true };
  const sides = sidesOf(data, limits, (file) => beginningOf(readExamples(file, data, tokenizer, limits, beginning.letters)));
  const met = [...sides.train, ...sides.validation];
  const dataset = numbered(
    data,
    sides,
    namesOf(met, ({ label }) => label),
    namesOf(met, ({ task }) => task),
  );
  return { dataset, isWhole: false };
}

function bytesOf(file: string): number {
  try {
    return statSync(file).size;
  } catch {
    // Reading it says what is wrong with it.
    return 0;
  }
}

function beginningOf(examples: Iterable<ReadExample>): ReadExample[] {
  const taken: ReadExample[] = [];
  let letters = 0;
  for (const example of examples) {
    taken.push(example);
    letters += example.letters;
    if (letters >= beginning.letters && taken.length >= beginning.examples) break;
  }
  return taken;
}
