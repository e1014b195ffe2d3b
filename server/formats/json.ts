/** JSON from strangers: bounded, UTF-8 only, and a syntax error says the line and column. */
import { closeSync, fstatSync, readFileSync } from "node:fs";
import { WorkbenchError, type ErrorCode } from "../errors.ts";
import { openForReading } from "./openFile.ts";

/** No config of a released model comes near this; tokenizers pass their own bound. */
const defaultMaxBytes = 16 * 2 ** 20;

/**
 * @throws "file.notFound", "file.unreadable"; `code` (default "config.malformed") when it is too long, not UTF-8 or not JSON
 */
export function readJson(file: string, { maxBytes = defaultMaxBytes, code = "config.malformed" }: { maxBytes?: number; code?: ErrorCode } = {}): unknown {
  const fd = openForReading(file);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new WorkbenchError("file.unreadable", `${file} is not a regular file; expected JSON`);
    if (stat.size > maxBytes) throw new WorkbenchError(code, `${file} has ${stat.size} bytes; expected at most ${maxBytes}`);
    return parseJson(readFileSync(fd), file, code);
  } finally {
    closeSync(fd);
  }
}

/** @throws `code` when the bytes are not UTF-8 or not JSON */
export function parseJson(bytes: Uint8Array, where: string, code: ErrorCode): unknown {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new WorkbenchError(code, `${where} is not UTF-8; expected JSON text in UTF-8`, { cause });
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new WorkbenchError(code, `${where} is not JSON${placeOf(message, text)}; expected a JSON object`, { cause });
  }
}

/** V8 gives an offset ("… in JSON at position 17"), or nothing when the text just ends. */
function placeOf(message: string, text: string): string {
  const position = /at position (\d+)/.exec(message)?.[1];
  const offset = position === undefined ? text.length : Number(position);
  const before = text.slice(0, offset).split("\n");
  const what = message.replace(/ in JSON at position .*/s, "").slice(0, 120);
  return ` (${what} at line ${before.length}, column ${before.at(-1)!.length + 1})`;
}
