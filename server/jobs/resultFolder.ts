/**
 * The folder that a result is kept in, whoever computed it: arrays.safetensors, environment.json and, last, result.json.
 * Every file is written under a temporary name, put on the disk, and renamed: a folder without result.json was not finished.
 */
import { statSync } from "node:fs";
import { open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import type { NamedArray, ProbeResult } from "../../probes/result.ts";
import { WorkbenchError } from "../errors.ts";
import { diskError } from "../formats/diskFull.ts";
import { fileIdentity } from "../formats/openFile.ts";
import { float32Header, parseSafetensors } from "../formats/safetensors.ts";
import type { RunRecord, StoredResult } from "../wire.ts";
import type { LiveArray } from "./liveArray.ts";
import { figureOfFile } from "./olderFigures.ts";
import type { LiveResult, ResultOutline } from "./liveResult.ts";

const resultName = "result.json";
const arraysName = "arrays.safetensors";
/** Only what tells a result from another file; the rest was written by this program. */
const resultOutline = z.looseObject({ record: z.looseObject({}) });
/** Of a large file, at a time. */
const readBytes = 64 * 2 ** 20;
type Content = string | Iterable<Uint8Array>;

/** @param more further files, written before result.json */
export async function writeResult(folder: string, record: RunRecord, result: LiveResult, more: Readonly<Record<string, Content>> = {}): Promise<void> {
  const { outline, arrays } = result;
  if (arrays.size > 0) await replaceFile(folder, arraysName, arrayBytes(arrays));
  for (const [name, content] of Object.entries(more)) await replaceFile(folder, name, content);
  await replaceFile(folder, resultName, json(storedResult(record, outline)));
}

export function storedResult(record: RunRecord, { figures, checks, finding, cost, arrays }: ResultOutline): StoredResult {
  return { record, figures, checks, finding, cost, arrays };
}

/** The bytes of an arrays.safetensors, in pieces that are small enough to be made while serving. */
export function* arrayBytes(arrays: ReadonlyMap<string, LiveArray>): Generator<Uint8Array> {
  yield float32Header(Array.from(arrays, ([name, { shape }]) => ({ name, shape })));
  for (const array of arrays.values()) {
    for (const { buffer, byteOffset, byteLength } of array.chunks()) yield new Uint8Array(buffer, byteOffset, byteLength);
  }
}

/** @throws "run.unknown" when there is no result.json, "file.unreadable" when it cannot be read or is damaged */
export async function readStored(folder: string, id: string): Promise<StoredResult> {
  const file = join(folder, resultName);
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw isMissing(cause) ? unknownRun(id) : new WorkbenchError("file.unreadable", `${file} cannot be read: ${wordsOf(cause)}`, { cause });
  });
  try {
    const raw: unknown = JSON.parse(text);
    resultOutline.parse(raw);
    const stored = raw as StoredResult;
    return { ...stored, figures: stored.figures.map(figureOfFile) };
  } catch (cause) {
    throw new WorkbenchError("file.unreadable", `${file} is damaged (${wordsOf(cause)}); the run's other files are beside it`, {
      cause,
    });
  }
}

/**
 * The bytes of arrays.safetensors in pieces, as the file may be larger than one array of bytes; an empty file's when the run made no arrays.
 * @throws "file.unreadable" when the result has arrays and their file cannot be read
 */
export async function storedArrayBytes(folder: string, id: string): Promise<AsyncIterable<Uint8Array> | Iterable<Uint8Array>> {
  const path = join(folder, arraysName);
  const file = await open(path).catch((cause: unknown) => withoutArrays(folder, id, cause));
  return file === null ? [float32Header([])] : file.createReadStream();
}

/** Null for a run that made no arrays. @throws "file.unreadable" */
async function withoutArrays(folder: string, id: string, cause: unknown): Promise<null> {
  const { arrays } = await readStored(folder, id);
  if (isMissing(cause) && Object.keys(arrays).length === 0) return null;
  throw new WorkbenchError("file.unreadable", `${join(folder, arraysName)} cannot be read: ${wordsOf(cause)}; the numbers of run "${id}" are not there`, {
    cause,
  });
}

/** @throws as `readStored` and `storedArrayBytes` */
export async function readResult(folder: string, id: string): Promise<ProbeResult> {
  const { figures, checks, finding, cost, record, arrays: shapes } = await readStored(folder, id);
  const bytes = await readLarge(join(folder, arraysName)).catch((cause: unknown) => withoutArrays(folder, id, cause));
  const { tensors } = parseSafetensors(bytes ?? float32Header([]), `${id}/arrays.safetensors`);
  const arrays: Record<string, NamedArray> = {};
  for (const [name, { shape, axes }] of Object.entries(shapes)) {
    const data = tensors.get(name)?.data;
    if (!(data instanceof Float32Array))
      throw new WorkbenchError("file.unreadable", `arrays.safetensors of run "${id}" has no array "${name}", which its result.json names`);
    arrays[name] = { shape, axes, data };
  }
  return { figures, checks, finding, cost, progress: record.progress, arrays };
}

/** What tells the result that is there from one that is written later; null when there is none. */
export function resultIdentity(folder: string): string | null {
  const stat = statSync(join(folder, resultName), { throwIfNoEntry: false });
  return stat ? fileIdentity(stat) : null;
}

/** The run is in flight again. */
export async function removeResult(folder: string): Promise<void> {
  await rm(join(folder, resultName), { force: true });
}

/** A whole file of any size; `readFile` stops at 2 GiB. */
async function readLarge(path: string): Promise<Uint8Array> {
  const file = await open(path);
  try {
    const bytes = new Uint8Array((await file.stat()).size);
    for (let at = 0; at < bytes.length;) {
      const { bytesRead } = await file.read(bytes, at, Math.min(readBytes, bytes.length - at), at);
      if (bytesRead === 0) return bytes.subarray(0, at);
      at += bytesRead;
    }
    return bytes;
  } finally {
    await file.close();
  }
}

export function unknownRun(id: string): WorkbenchError {
  return new WorkbenchError("run.unknown", `no run is called "${id.slice(0, 80)}"`);
}

/**
 * A whole file under its name, on the disk when it resolves: what is told to be done stays after a power cut.
 * @throws "file.diskFull", leaving what was there
 */
export async function replaceFile(folder: string, name: string, content: Content): Promise<void> {
  const path = join(folder, name);
  const file = await open(`${path}.tmp`, "w");
  try {
    try {
      if (typeof content === "string") await file.writeFile(content);
      else for (const piece of content) await file.writeFile(piece);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${path}.tmp`, path);
  } catch (error) {
    await rm(`${path}.tmp`, { force: true }).catch(() => undefined);
    throw diskError(path, error);
  }
  await syncFolder(folder);
}

/** A rename is on the disk when its folder is. */
export async function syncFolder(path: string): Promise<void> {
  // Windows opens no folders.
  const folder = await open(path, "r").catch(() => null);
  // Some systems cannot sync a folder; the rename is then as durable as they make it.
  await folder?.sync().catch(() => undefined);
  await folder?.close();
}

export const isMissing = (error: unknown): boolean => error instanceof Error && "code" in error && error.code === "ENOENT";
export const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
export const json = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`;
