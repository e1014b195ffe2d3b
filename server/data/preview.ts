/** What a dataset holds, counted, and its first examples as the model would see them. */
import { quantileSorted } from "d3-array";
import type { Tokenizer } from "../formats/tokenizer.ts";
import type { Dataset, Example } from "./example.ts";

export interface PreviewedExample {
  /** Texts as `Tokenizer.tokenText` gives them. */
  readonly tokens: readonly string[];
  /** As `Example.lossWeights`. */
  readonly lossWeights: readonly number[];
  readonly label: string | null;
  /** Null when there is one task. */
  readonly task: string | null;
}

export interface DatasetPreview {
  /** False when only the beginnings of large files were read: every count is then of those, "at least". */
  readonly isWhole: boolean;
  /** Examples to train on. */
  readonly examples: number;
  /** Examples held out. */
  readonly validation: number;
  /** Tokens of the training examples, without padding: what one epoch reads. */
  readonly tokens: number;
  /** Predictions that the loss of one epoch counts: tokens, or one label an example. */
  readonly lossTokens: number;
  /** Examples, held out or not, that were cut at the longest length. */
  readonly cut: number;
  /** Tokens of a training example: least, quartiles (linear between ranks) and most. */
  readonly lengths: { readonly least: number; readonly lower: number; readonly median: number; readonly upper: number; readonly most: number };
  readonly labels: readonly string[];
  /** Training examples of each label. */
  readonly labelCounts: readonly number[];
  readonly tasks: readonly string[];
  /** Training examples of each task. */
  readonly taskCounts: readonly number[];
  readonly first: readonly PreviewedExample[];
}

const previewed = 3;

export function previewOf({ train, validation, labels, tasks, cut }: Dataset, tokenizer: Tokenizer, isWhole = true): DatasetPreview {
  const lengths = train.map(({ tokens }) => tokens.length).sort((a, b) => a - b);
  const quartile = (p: number) => quantileSorted(lengths, p)!;
  const count = (names: readonly string[], of: (example: Example) => number | null) => {
    const counts = names.map(() => 0);
    for (const example of train) {
      const index = of(example);
      if (index !== null) counts[index]!++;
    }
    return counts;
  };
  return {
    isWhole,
    examples: train.length,
    validation: validation.length,
    tokens: lengths.reduce((sum, length) => sum + length, 0),
    lossTokens:
      labels.length > 0 ? train.length : train.reduce((sum, { lossWeights }) => sum + lossWeights.reduce((n, weight) => n + (weight === 0 ? 0 : 1), 0), 0),
    cut,
    lengths: { least: lengths[0]!, lower: quartile(0.25), median: quartile(0.5), upper: quartile(0.75), most: lengths.at(-1)! },
    labels,
    labelCounts: count(labels, ({ label }) => label),
    tasks,
    taskCounts: count(tasks, ({ task }) => task),
    first: train.slice(0, previewed).map(({ tokens, lossWeights, label, task }) => ({
      tokens: Array.from(tokens, (id) => tokenizer.tokenText(id)),
      lossWeights: [...lossWeights],
      label: label === null ? null : labels[label]!,
      task: tasks.length === 1 ? null : tasks[task]!,
    })),
  };
}
