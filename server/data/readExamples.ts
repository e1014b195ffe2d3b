/** Examples of one data file, encoded, each with its line and with its label and task as names. */
import { inField, WorkbenchError } from "../errors.ts";
import { kindOf, readRecords, recordFormat, type DataRecord } from "../formats/records.ts";
import { isBlank, malformedLine } from "../formats/textLines.ts";
import type { Tokenizer } from "../formats/tokenizer.ts";
import type { DataParams, TaskKind } from "./dataParams.ts";
import { ExampleEncoder, type EncodedExample } from "./encodeExample.ts";
import { quoted } from "../quoted.ts";

export interface DatasetLimits {
  /** Positions that the model has; examples are cut to them when `maxLength` is more. */
  readonly nCtx: number;
  /** Of the split. */
  readonly seed: number;
  /** Rows of the model's embedding; a token beyond them is an error. */
  readonly dVocab?: number;
}

export interface ReadExample extends EncodedExample {
  readonly line: number;
  /** As `DataRecord.letters`. */
  readonly letters: number;
  /** Null unless it is a classification. */
  readonly label: string | null;
  readonly task: string;
}

/** The one task of data without a task column. */
const onlyTask = "all";

/**
 * Examples are read as they are taken.
 * @param file `data.path` or `data.validationPath`
 * @param lookLetters as for `readRecords`
 * @throws as `readRecords`; "data.malformed" with the line for a part that is missing, empty or of another type, and for an
 * example without a token that the loss counts; "prompt.unknownToken" for a token that the model has not
 */
export function* readExamples(
  file: string,
  data: DataParams,
  tokenizer: Tokenizer,
  { nCtx, dVocab = Infinity }: DatasetLimits,
  lookLetters?: number,
): Generator<ReadExample> {
  const maxLength = Math.min(data.maxLength, nCtx);
  const encoder = new ExampleEncoder(tokenizer, maxLength);
  const columns = { ...data.columns, ...(recordFormat(file) === "txt" ? { text: "text" } : {}) };
  const read: readonly ColumnName[] = [...parts[data.task], ...(columns.task === null ? [] : (["task"] as const))];
  const needed = read.flatMap((part) => columns[part] ?? []);
  const fieldOf = (column: string): string | undefined => {
    const part = read.find((name) => columns[name] === column);
    return part && columnField(part);
  };
  const { task } = columns;
  const taskOf = (record: DataRecord) => (task === null ? onlyTask : inField(columnField("task"), () => nameOf(record, task, file)));
  for (const record of readRecords(file, needed, fieldOf, lookLetters)) {
    const text = (part: TextPart) => inField(columnField(part), () => textOf(record, columns[part], file));
    const encoded = encoders[data.task](encoder, text);
    const unknown = encoded.tokens.find((id) => id >= dVocab);
    if (unknown !== undefined)
      throw new WorkbenchError(
        "prompt.unknownToken",
        `${file}, line ${record.line}: found token ${unknown} (${JSON.stringify(tokenizer.tokenText(unknown))}); expected ids ` +
          `below ${dVocab}, the rows of the model's embedding`,
      );
    if (data.task === "classification" ? encoded.tokens.length === 0 : encoded.lossWeights.every((weight) => weight === 0)) {
      throw malformedLine(
        file,
        record.line,
        `found no token that the loss would count${encoded.isCut ? ` within the first ${maxLength} tokens` : ""}; expected ` +
          (data.task === "completion" ? "a completion of one token or more" : "a text of two tokens or more"),
      );
    }
    yield {
      ...encoded,
      line: record.line,
      letters: record.letters,
      label: data.task === "classification" ? inField(columnField("label"), () => nameOf(record, columns.label, file)) : null,
      task: taskOf(record),
    };
  }
}

type ColumnName = keyof DataParams["columns"];
const columnField = (part: ColumnName): string => `data.columns.${part}`;
type TextPart = "text" | "prompt" | "completion";

const parts: Record<TaskKind, readonly (TextPart | "label")[]> = { text: ["text"], completion: ["prompt", "completion"], classification: ["text", "label"] };

const encoders: Record<TaskKind, (encoder: ExampleEncoder, text: (part: TextPart) => string) => EncodedExample> = {
  text: (encoder, text) => encoder.text(text("text")),
  completion: (encoder, text) => encoder.completion(text("prompt"), text("completion")),
  classification: (encoder, text) => encoder.classified(text("text")),
};

function textOf({ fields, line }: DataRecord, column: string, file: string): string {
  const value = fields[column];
  if (typeof value !== "string") throw malformedLine(file, line, `found ${kindOf(value)} as ${quoted(column)}; expected a text`);
  if (isBlank(value)) throw malformedLine(file, line, `found an empty ${quoted(column)}; expected a text`);
  return value;
}

/** Labels and tasks may be numbers and truth values in JSON; they are names here. */
function nameOf({ fields, line }: DataRecord, column: string, file: string): string {
  const value = fields[column];
  if (typeof value !== "string" && typeof value !== "number" && typeof value !== "boolean")
    throw malformedLine(file, line, `found ${kindOf(value)} as ${quoted(column)}; expected a name or a number`);
  const name = String(value).trim();
  if (name === "") throw malformedLine(file, line, `found an empty ${quoted(column)}; expected a name or a number`);
  return name;
}
