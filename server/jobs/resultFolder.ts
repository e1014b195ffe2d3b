/**
 * The folder that a result is kept in, whoever computed it: arrays.safetensors, environment.json and, last, result.json.
 * Every file is written under a temporary name, put on the disk, and renamed: a folder without result.json was not finished.
 */
import { open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import type { NamedArray, ProbeResult } from "../../probes/result.ts";
import { WorkbenchError } from "../errors.ts";
import { float32Header, parseSafetensors } from "../formats/safetensors.ts";
import type { RunRecord, StoredResult } from "../wire.ts";
import type { LiveArray } from "./liveArray.ts";
import type { LiveResult, ResultOutline } from "./liveResult.ts";

type Content = string | Iterable<Uint8Array>;

/** @param more further files, written before result.json */
export async function writeResult(folder: string, record: RunRecord, result: LiveResult, more: Readonly<Record<string, Content>> = {}): Promise<void> {
  const { outline, arrays } = result;
  if (arrays.size > 0) await replaceFile(folder, "arrays.safetensors", arrayBytes(arrays));
  for (const [name, content] of Object.entries(more)) await replaceFile(folder, name, content);
  await replaceFile(folder, "result.json", json(storedResult(record, outline)));
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
  const file = join(folder, "result.json");
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw isMissing(cause) ? unknownRun(id) : new WorkbenchError("file.unreadable", `${file} cannot be read: ${wordsOf(cause)}`, { cause });
  });
  try {
    return JSON.parse(text) as StoredResult;
  } catch (cause) {
    throw new WorkbenchError("file.unreadable", `${file} is damaged (${wordsOf(cause)}); the run's request.json and arrays.safetensors are beside it`, {
      cause,
    });
  }
}

/**
 * The bytes of arrays.safetensors; an empty file's when the run made no arrays.
 * @throws "file.unreadable" when the result has arrays and their file cannot be read
 */
export async function readArrays(folder: string, id: string): Promise<Uint8Array> {
  const file = join(folder, "arrays.safetensors");
  return readFile(file).catch(async (cause: unknown) => {
    const { arrays } = await readStored(folder, id);
    if (isMissing(cause) && Object.keys(arrays).length === 0) return float32Header([]);
    throw new WorkbenchError("file.unreadable", `${file} cannot be read: ${wordsOf(cause)}; the numbers of run "${id}" are not there`, { cause });
  });
}

/** @throws as `readStored` and `readArrays` */
export async function readResult(folder: string, id: string): Promise<ProbeResult> {
  const { figures, checks, finding, cost, record, arrays: shapes } = await readStored(folder, id);
  const { tensors } = parseSafetensors(await readArrays(folder, id), `${id}/arrays.safetensors`);
  const arrays: Record<string, NamedArray> = {};
  for (const [name, { shape, axes }] of Object.entries(shapes)) {
    const data = tensors.get(name)?.data;
    if (!(data instanceof Float32Array))
      throw new WorkbenchError("file.unreadable", `arrays.safetensors of run "${id}" has no array "${name}", which its result.json names`);
    arrays[name] = { shape, axes, data };
  }
  return { figures, checks, finding, cost, progress: record.progress, arrays };
}

export function unknownRun(id: string): WorkbenchError {
  return new WorkbenchError("run.unknown", `no run is called "${id.slice(0, 80)}"`);
}

/** A whole file under its name, on the disk when it resolves: what is told to be done stays after a power cut. */
export async function replaceFile(folder: string, name: string, content: Content): Promise<void> {
  const path = join(folder, name);
  const file = await open(`${path}.tmp`, "w");
  try {
    if (typeof content === "string") await file.writeFile(content);
    else for (const piece of content) await file.writeFile(piece);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.tmp`, path);
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
