/** Records of a data file: JSON Lines, CSV, or plain text, one at a time, each with the line on which it begins. */
import { extname } from "node:path";
import { WorkbenchError } from "../errors.ts";
import { didYouMean } from "../nearNames.ts";
import { csvRecords } from "./csv.ts";
import { deepestNesting, isTooDeep } from "./strictJson.ts";
import { isBlank, malformedLine, textLines } from "./textLines.ts";
import { quoted } from "../quoted.ts";

export interface DataRecord {
  readonly line: number;
  /** Of its text in the file, without line ends and quotes. */
  readonly letters: number;
  /** By column or key; a plain text has one, "text". */
  readonly fields: Readonly<Record<string, unknown>>;
}

export const recordFormats = ["jsonl", "csv", "txt"] as const;
export type RecordFormat = (typeof recordFormats)[number];

/** @throws "data.unsupported" when the name ends otherwise */
export function recordFormat(file: string): RecordFormat {
  const found = extname(file).slice(1).toLowerCase();
  const format = recordFormats.find((name) => name === found);
  if (format === undefined)
    throw new WorkbenchError(
      "data.unsupported",
      `${file}: found ${found === "" ? "no extension" : `the extension ".${found}"`}; expected .jsonl, .csv or .txt`,
    );
  return format;
}

/**
 * @param columns that every record must have
 * Records are read as they are taken: whoever stops early reads no more of the file. Plain text is looked through first for blank lines.
 * @param fieldOf the parameter that names a column, for the error when it is missing
 * @param lookLetters how far plain text is looked through; texts whose first blank line comes later are then lines
 * @throws "data.unsupported", "file.notFound", "file.unreadable"; "data.malformed" with the line; "data.empty" when there is no record
 */
export function* readRecords(
  file: string,
  columns: readonly string[],
  fieldOf: FieldOfColumn = () => undefined,
  lookLetters = Infinity,
): Generator<DataRecord> {
  const format = recordFormat(file);
  let isEmpty = true;
  for (const record of readers[format](file, columns, fieldOf, lookLetters)) {
    isEmpty = false;
    yield record;
  }
  if (isEmpty) throw new WorkbenchError("data.empty", `${file}: found no record; expected at least one example`);
}

type FieldOfColumn = (column: string) => string | undefined;
type Reader = (file: string, columns: readonly string[], fieldOf: FieldOfColumn, lookLetters: number) => Generator<DataRecord>;

const readers: Record<RecordFormat, Reader> = {
  *jsonl(file, columns, fieldOf) {
    for (const { number, text } of textLines(file)) {
      const fields = jsonObject(text, number, file);
      checkColumns(columns, Object.keys(fields), number, file, fieldOf);
      yield { line: number, letters: text.length, fields };
    }
  },

  *csv(file, columns, fieldOf) {
    let header: readonly string[] | null = null;
    for (const { line, fields } of csvRecords(textLines(file), file)) {
      if (header === null) {
        const names = new Set<string>();
        const twice = fields.find((name) => names.has(name) || names.add(name).size === 0);
        if (twice !== undefined) throw malformedLine(file, line, `found column ${quoted(twice)} twice; expected names that differ`);
        checkColumns(columns, fields, line, file, fieldOf);
        header = fields;
      } else {
        if (fields.length !== header.length)
          throw malformedLine(file, line, `found ${fields.length} field${fields.length === 1 ? "" : "s"}; expected ${header.length}, as the first line has`);
        const letters = fields.reduce((sum, field) => sum + field.length, 0);
        yield { line, letters, fields: Object.fromEntries(header.map((name, i) => [name, fields[i]!])) };
      }
    }
  },

  /** Blocks between blank lines if there is any blank line between texts, else lines. */
  *txt(file, columns, fieldOf, lookLetters) {
    const missing = columns.find((name) => name !== "text");
    if (missing !== undefined)
      throw new WorkbenchError(
        "data.unsupported",
        `${file}: found plain text, which has no column ${quoted(missing)}; expected a .jsonl or .csv file for it, or the task "text"`,
        { field: fieldOf(missing) },
      );
    if (!hasBlankLine(file, lookLetters)) {
      for (const { number, text } of textLines(file)) if (!isBlank(text)) yield textBlock({ line: number, lines: [text] });
      return;
    }
    let block: { readonly line: number; readonly lines: string[] } | null = null;
    for (const { number, text } of textLines(file)) {
      if (!isBlank(text)) (block ??= { line: number, lines: [] }).lines.push(text);
      else if (block !== null) {
        yield textBlock(block);
        block = null;
      }
    }
    if (block !== null) yield textBlock(block);
  },
};

function textBlock({ line, lines }: { readonly line: number; readonly lines: readonly string[] }): DataRecord {
  const text = lines.join("\n");
  return { line, letters: text.length, fields: { text } };
}

/** Between texts: not before the first or after the last. */
function hasBlankLine(file: string, lookLetters: number): boolean {
  let hasText = false;
  let letters = 0;
  for (const { text } of textLines(file)) {
    if ((letters += text.length) > lookLetters) return false;
    if (!isBlank(text)) hasText = true;
    else if (hasText) return true;
  }
  return false;
}

function jsonObject(text: string, line: number, file: string): Readonly<Record<string, unknown>> {
  if (isBlank(text)) throw malformedLine(file, line, "found a blank line; expected one JSON object on each line");
  if (isTooDeep(text)) throw malformedLine(file, line, `found JSON nested more than ${deepestNesting} deep; expected an object of texts and labels`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw malformedLine(file, line, `found no JSON (${syntaxError(cause)}); expected one JSON object on each line`, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformedLine(file, line, `found ${kindOf(value)}; expected a JSON object`);
  return value as Readonly<Record<string, unknown>>;
}

/** V8 gives an offset ("… in JSON at position 17") or quotes the text (", "{…" is not valid JSON"). */
function syntaxError(cause: unknown): string {
  const message = cause instanceof Error ? cause.message : String(cause);
  const offset = /at position (\d+)/.exec(message)?.[1];
  const what = message.replace(/ (in|after) JSON( at position .*)?$|, (\.\.\.)?".*is not valid JSON$/s, "").slice(0, 120);
  return offset === undefined ? what : `${what} at column ${Number(offset) + 1}`;
}

function checkColumns(columns: readonly string[], found: readonly string[], line: number, file: string, fieldOf: FieldOfColumn): void {
  const missing = columns.find((name) => !found.includes(name));
  if (missing !== undefined)
    throw malformedLine(file, line, `found no ${quoted(missing)}; expected that column, ${didYouMean(missing, found)}`, { field: fieldOf(missing) });
}

/** "a list", "a number": what a JSON value is, for messages. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "a list" : `${typeof value === "object" ? "an" : "a"} ${typeof value}`;
}
