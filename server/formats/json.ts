/** JSON from strangers: bounded in size and depth, UTF-8 only, and a syntax error says its line and column. */
import { closeSync, readFileSync } from "node:fs";
import type { JSONPath } from "jsonc-parser";
import { WorkbenchError, type ErrorCode } from "../errors.ts";
import { fileKind } from "./fileKind.ts";
import { openForReading } from "./openFile.ts";
import { deepestNesting, isTooDeep, jsonFault } from "./strictJson.ts";
import { quoted } from "../quoted.ts";

/** No config of a released model comes near this; tokenizers pass their own bound. */
const defaultMaxBytes = 16 * 2 ** 20;

/**
 * @throws "file.notFound", "file.unreadable"; `code` (default "config.malformed") when it is too long, not UTF-8 or not JSON
 */
export function readJson(file: string, { maxBytes = defaultMaxBytes, code = "config.malformed" }: { maxBytes?: number; code?: ErrorCode } = {}): unknown {
  const { fd, stat } = openForReading(file);
  try {
    if (stat.size > maxBytes) throw new WorkbenchError(code, `${file} has ${stat.size} bytes; expected at most ${maxBytes}`);
    return parseJson(readFileSync(fd), file, code);
  } finally {
    closeSync(fd);
  }
}

/**
 * @param strict as safetensors reads its headers: no key twice in one object, no byte order mark, whole numbers where `wholeAt` says so
 * @throws `code` when the bytes are not UTF-8, not JSON, or nested more than 127 deep
 */
export function parseJson(bytes: Uint8Array, where: string, code: ErrorCode, strict?: { readonly wholeAt: (path: JSONPath) => boolean }): unknown {
  const kind = fileKind(bytes);
  if (kind !== null) throw new WorkbenchError(code, `${where} ${kind}`);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: strict !== undefined }).decode(bytes);
  } catch (cause) {
    throw new WorkbenchError(code, `${where} is not UTF-8; expected JSON text in UTF-8`, { cause });
  }
  if (isTooDeep(text)) throw new WorkbenchError(code, `${where} is nested more than ${deepestNesting} deep; expected a config as libraries write it`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const fault = jsonFault(text);
    const constant = /[:[,]\s*(-?Infinity|NaN)\b/.exec(text)?.[1];
    if (constant !== undefined)
      throw new WorkbenchError(code, `${where} holds ${constant}, which Python writes and JSON does not have; expected a finite number`, { cause });
    const place = fault ? ` (${fault.what} at line ${fault.line}, column ${fault.column})` : "";
    throw new WorkbenchError(code, `${where} is not JSON${place}; expected a JSON object`, { cause });
  }
  if (strict) {
    const fault = jsonFault(text, strict.wholeAt);
    if (fault)
      throw new WorkbenchError(code, `${where} has ${quoted(fault.what).slice(1, -1)} at line ${fault.line}, column ${fault.column}; expected strict JSON`);
  }
  return value;
}
