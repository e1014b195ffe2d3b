/** A file of examples as a dataset: read, tokenised, and split into training and held-out by the seed. */
import { WorkbenchError } from "../../errors.ts";
import { readRecords, textColumn, type TextRecord } from "../../formats/records.ts";
import type { Tokenizer } from "../../formats/tokenizer.ts";
import { didYouMean } from "../../nearNames.ts";
import { randomStream, shuffled } from "../../tensors/random.ts";
import type { DataParams } from "../trainingParams.ts";
import type { Dataset, Example } from "./example.ts";

export interface DatasetLimits {
  /** Positions that the model has. */
  readonly nCtx: number;
  readonly seed: number;
}

interface Source {
  readonly path: string;
  readonly records: readonly TextRecord[];
}

/** @throws "data.malformed" naming file and line, "data.empty", "data.unsupported", "file.notFound" */
export function loadDataset(data: DataParams, tokenizer: Tokenizer, limits: DatasetLimits): Dataset {
  const training: Source = { path: data.path, records: readRecords(data.path) };
  const heldOut = data.validationPath === null ? null : { path: data.validationPath, records: readRecords(data.validationPath) };
  const labels = data.task === "classification" ? labelsOf(training, data.columns.label) : [];
  const tasks = data.columns.task === null ? ["all"] : namesIn([training, ...(heldOut ? [heldOut] : [])], data.columns.task);
  let cut = 0;
  const read = ({ path, records }: Source): Example[] =>
    records.map((record) => {
      const { ids, weights } = tokensOf(record, data, tokenizer, path);
      const most = Math.min(data.maxLength, limits.nCtx);
      if (ids.length > most) cut++;
      const tokens = Int32Array.from(ids.slice(0, most));
      const lossWeights = Float32Array.from(weights.slice(0, most));
      const label = data.task === "classification" ? labelIndex(record, data.columns.label, labels, path) : null;
      const isUseless = label === null ? lossWeights.every((weight) => weight === 0) : tokens.length === 0;
      if (isUseless) throw new WorkbenchError("data.malformed", `${path}, line ${record.line}: after tokenising there is no token to predict within ${most} tokens; expected a longer text, a shorter prompt or a larger maxLength`);
      return { tokens, lossWeights, label, task: data.columns.task === null ? 0 : tasks.indexOf(textColumn(record, data.columns.task, path)) };
    });
  const all = read(training);
  if (heldOut) return { train: all, validation: read(heldOut), labels, tasks, cut };
  return { ...split(all, data, limits.seed), labels, tasks, cut };
}

/** Tokens of one record, and the loss weight of predicting each; the first is never predicted. */
function tokensOf(record: TextRecord, { task, columns }: DataParams, tokenizer: Tokenizer, path: string): { ids: number[]; weights: number[] } {
  const end = tokenizer.eosId === null ? [] : [tokenizer.eosId];
  if (task !== "completion") {
    const text = textColumn(record, columns.text, path);
    if (text.trim() === "") throw new WorkbenchError("data.malformed", `${path}, line ${record.line}: "${columns.text}" is empty; expected text`);
    const { ids } = tokenizer.encode(text);
    const whole = task === "classification" ? ids : withEnd(ids, end);
    return { ids: whole, weights: whole.map((_, i) => (i === 0 || task === "classification" ? 0 : 1)) };
  }
  const prompt = textColumn(record, columns.prompt, path);
  const completion = textColumn(record, columns.completion, path);
  if (completion === "") throw new WorkbenchError("data.malformed", `${path}, line ${record.line}: "${columns.completion}" is empty; expected text`);
  const before = tokenizer.encode(prompt).ids;
  const joint = tokenizer.encode(prompt + completion).ids;
  // Where tokens join across the border the prompt's own tokens are kept, as they will be when the model is asked.
  const startsWithPrompt = before.every((id, i) => joint[i] === id);
  const whole = withEnd(startsWithPrompt ? joint : [...before, ...tokenizer.encode(completion, { addSpecial: false }).ids], end);
  return { ids: whole, weights: whole.map((_, i) => (i === 0 || i < before.length ? 0 : 1)) };
}

/** A tokenizer may end texts by itself. */
const withEnd = (ids: readonly number[], end: readonly number[]): number[] => (end.length > 0 && ids.at(-1) === end[0] ? [...ids] : [...ids, ...end]);

function labelsOf({ path, records }: Source, column: string): string[] {
  const labels = namesIn([{ path, records }], column);
  if (labels.length < 2) throw new WorkbenchError("data.malformed", `${path}: "${column}" is ${labels.map((label) => `"${label}"`).join()} in every record; expected at least two labels`);
  return labels;
}

function labelIndex(record: TextRecord, column: string, labels: readonly string[], path: string): number {
  const label = labelText(record, column, path);
  const index = labels.indexOf(label);
  if (index < 0) throw new WorkbenchError("data.malformed", `${path}, line ${record.line}: the label "${label}" is not in the training data; ${didYouMean(label, labels)}`);
  return index;
}

/** Labels and tasks may be numbers in JSON. */
function labelText(record: TextRecord, column: string, path: string): string {
  const value = record.values[column];
  return typeof value === "number" || typeof value === "boolean" ? String(value) : textColumn(record, column, path);
}

function namesIn(sources: readonly Source[], column: string): string[] {
  return [...new Set(sources.flatMap(({ path, records }) => records.map((record) => labelText(record, column, path))))].sort();
}

/** Held-out examples by the seed; of a classification the same share of each label. */
function split(examples: readonly Example[], { path, validationFraction }: DataParams, seed: number): Pick<Dataset, "train" | "validation"> {
  if (validationFraction === 0) return { train: examples, validation: [] };
  const groups = new Map<number, number[]>();
  examples.forEach(({ label }, i) => groups.set(label ?? 0, [...(groups.get(label ?? 0) ?? []), i]));
  const heldOut = new Set<number>();
  for (const [label, members] of groups) {
    const order = shuffled(members.length, randomStream(seed, "split", label));
    const count = Math.min(members.length - 1, Math.max(1, Math.round(members.length * validationFraction)));
    for (const i of order.subarray(0, count)) heldOut.add(members[i]!);
  }
  if (heldOut.size === 0) throw new WorkbenchError("data.empty", `${path}: ${examples.length} example cannot be split into training and held-out; expected at least two, or validationFraction 0`);
  return { train: examples.filter((_, i) => !heldOut.has(i)), validation: examples.filter((_, i) => heldOut.has(i)) };
}

/** What a dataset holds, before anything is trained. */
export interface DatasetPreview {
  readonly examples: number;
  readonly validation: number;
  readonly tokens: number;
  /** Tokens that are predicted. */
  readonly lossTokens: number;
  /** Examples cut to maxLength. */
  readonly cut: number;
  /** Shortest, quartiles and longest, in tokens. */
  readonly lengths: readonly [number, number, number, number, number];
  readonly labels: readonly { readonly name: string; readonly count: number }[];
  readonly tasks: readonly string[];
  readonly first: readonly { readonly tokens: readonly string[]; readonly lossWeights: readonly number[]; readonly label: string | null }[];
}

export function datasetPreview({ train, validation, labels, tasks, cut }: Dataset, tokenizer: Tokenizer): DatasetPreview {
  const all = [...train, ...validation];
  const lengths = Int32Array.from(all, ({ tokens }) => tokens.length).sort();
  const quantile = (q: number) => lengths[Math.round(q * (lengths.length - 1))]!;
  return {
    examples: train.length,
    validation: validation.length,
    tokens: all.reduce((sum, { tokens }) => sum + tokens.length, 0),
    lossTokens: all.reduce((sum, { lossWeights }) => sum + lossWeights.filter((weight) => weight > 0).length, 0),
    cut,
    lengths: [quantile(0), quantile(0.25), quantile(0.5), quantile(0.75), quantile(1)],
    labels: labels.map((name, i) => ({ name, count: all.filter(({ label }) => label === i).length })),
    tasks,
    first: train.slice(0, 3).map(({ tokens, lossWeights, label }) => ({ tokens: Array.from(tokens, (id) => tokenizer.tokenText(id)), lossWeights: [...lossWeights], label: label === null ? null : labels[label]! })),
  };
}
