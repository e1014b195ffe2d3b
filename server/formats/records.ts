/** Records from text files: JSON Lines, CSV, or plain text; every complaint names the file and the line. */
import { readFileSync } from "node:fs";
import { extname } from "node:path";
import Papa from "papaparse";
import { WorkbenchError } from "../errors.ts";
import { didYouMean } from "../nearNames.ts";

export interface TextRecord {
  readonly values: Readonly<Record<string, unknown>>;
  /** Line of the file where it begins, from 1. */
  readonly line: number;
}

export const recordExtensions = [".jsonl", ".csv", ".txt"] as const;

/** Larger files are refused: they are held in memory as text. */
const maxBytes = 512 * 2 ** 20;

/**
 * `.jsonl`: an object a line, blank lines skipped. `.csv`: a header line, then fields as RFC 4180 has them.
 * `.txt`: one record a block of lines where the file has blank lines, else one a line; its only column is "text".
 *
 * @throws "file.notFound", "data.unsupported", "data.empty", "data.malformed" naming the line
 */
export function readRecords(path: string): TextRecord[] {
  const extension = extname(path).toLowerCase();
  const read = readers[extension];
  if (!read) throw new WorkbenchError("data.unsupported", `${path}: files that end in "${extension}" are not read; expected ${recordExtensions.join(", ")}`);
  const records = read(textOf(path), path);
  if (records.length === 0) throw new WorkbenchError("data.empty", `${path}: the file has no record; expected at least one`);
  return records;
}

/** A column that must hold text. @throws "data.malformed" with near names */
export function textColumn({ values, line }: TextRecord, column: string, path: string): string {
  if (!Object.hasOwn(values, column)) throw new WorkbenchError("data.malformed", `${path}, line ${line}: there is no "${column}"; ${didYouMean(column, Object.keys(values))}`);
  const value = values[column];
  if (typeof value !== "string") throw new WorkbenchError("data.malformed", `${path}, line ${line}: "${column}" is ${String(JSON.stringify(value)).slice(0, 60)}; expected text`);
  return value;
}

const readers: Readonly<Record<string, (text: string, path: string) => TextRecord[]>> = { ".jsonl": readJsonLines, ".csv": readCsv, ".txt": readPlainText };

function textOf(path: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw new WorkbenchError("file.notFound", `${path}: ${cause instanceof Error ? cause.message : String(cause)}; expected a file with examples`, { cause });
  }
  if (bytes.length > maxBytes) throw new WorkbenchError("data.unsupported", `${path}: the file has ${bytes.length} bytes; expected at most ${maxBytes}`);
  const text = bytes.toString("utf8");
  // Only a text that survives the way back was UTF-8; the replacement character itself is legal.
  if (text.includes("\ufffd") && !Buffer.from(text, "utf8").equals(bytes)) {
    const line = text.slice(0, text.indexOf("\ufffd")).split("\n").length;
    throw new WorkbenchError("data.malformed", `${path}, line ${line}: found bytes that are not UTF-8; expected UTF-8 text`);
  }
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
}

function readJsonLines(text: string, path: string): TextRecord[] {
  return text.split(/\r?\n/).flatMap((row, index): TextRecord[] => {
    if (row.trim() === "") return [];
    const line = index + 1;
    let value: unknown;
    try {
      value = JSON.parse(row);
    } catch (cause) {
      throw new WorkbenchError("data.malformed", `${path}, line ${line}: ${cause instanceof Error ? cause.message : String(cause)}; expected one JSON object a line`, { cause });
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new WorkbenchError("data.malformed", `${path}, line ${line}: found ${row.trim().slice(0, 40)}; expected a JSON object`);
    }
    return [{ values: Object.fromEntries(Object.entries(value)), line }];
  });
}

function readCsv(text: string, path: string): TextRecord[] {
  const { data, errors } = Papa.parse<string[]>(text, { delimiter: ",", skipEmptyLines: false });
  const quoteError = errors[0];
  if (quoteError) throw new WorkbenchError("data.malformed", `${path}, record ${(quoteError.row ?? 0) + 1}: ${quoteError.message}; expected fields as RFC 4180 has them`);
  const [header, ...rows] = data;
  if (!header || header.every((name) => name.trim() === "")) throw new WorkbenchError("data.empty", `${path}: the file has no header line; expected the names of the columns`);
  const twice = header.find((name, i) => header.indexOf(name) !== i);
  if (twice !== undefined) throw new WorkbenchError("data.malformed", `${path}, line 1: the column "${twice}" is there twice; expected different names`);
  let line = 1 + linesIn(header);
  return rows.flatMap((fields): TextRecord[] => {
    const at = line;
    line += linesIn(fields);
    if (fields.length === 1 && fields[0]!.trim() === "") return [];
    if (fields.length !== header.length) throw new WorkbenchError("data.malformed", `${path}, line ${at}: found ${fields.length} fields; expected ${header.length} (${header.join(", ")})`);
    return [{ values: Object.fromEntries(header.map((name, i) => [name, fields[i]!])), line: at }];
  });
}

/** A quoted field may hold line breaks. */
const linesIn = (fields: readonly string[]): number => 1 + fields.reduce((sum, field) => sum + (field.match(/\n/g)?.length ?? 0), 0);

function readPlainText(text: string, _path: string): TextRecord[] {
  const rows = text.split(/\r?\n/);
  const hasBlocks = /\S[^\n]*\r?\n[^\S\n]*\r?\n[\s\S]*\S/.test(text);
  if (!hasBlocks) return rows.flatMap((row, i) => (row.trim() === "" ? [] : [{ values: { text: row }, line: i + 1 }]));
  const records: TextRecord[] = [];
  let block: string[] = [];
  rows.concat("").forEach((row, i) => {
    if (row.trim() !== "") block.push(row);
    else if (block.length > 0) {
      records.push({ values: { text: block.join("\n") }, line: i + 1 - block.length });
      block = [];
    }
  });
  return records;
}
