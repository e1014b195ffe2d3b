/**
 * Runs on disk, one folder each: request.json when it is accepted; arrays.safetensors, environment.json and result.json when it ends;
 * and checkpoints/ of training, which the run itself writes.
 * Every file is written under a temporary name and renamed, result.json last: a folder without it was in flight when the server stopped.
 */
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { emptyResult, type NamedArray, type ProbeResult } from "../../probes/result.ts";
import { WorkbenchError } from "../errors.ts";
import { encodeSafetensors, parseSafetensors } from "../formats/safetensors.ts";
import { checkpointDir, checkpointSteps } from "../training/checkpoint.ts";
import { runRequest, type RunRecord, type StoredResult } from "../wire.ts";
import { checkpointResult } from "./checkpointResult.ts";

const requestFile = z.object({ id: z.string(), createdAt: z.string(), request: runRequest });
/** Only what the index reads; the rest was written by this program. */
const resultFile = z.looseObject({ record: z.looseObject({ id: z.string(), createdAt: z.string(), state: z.string() }) });

export class RunStore {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Opens `<logFolder>/runs`, and closes the books on runs that were in flight when a server was killed. */
  static async open(logFolder: string): Promise<{ store: RunStore; records: RunRecord[] }> {
    const store = new RunStore(join(logFolder, "runs"));
    await mkdir(store.folder, { recursive: true });
    const records: RunRecord[] = [];
    for (const entry of await readdir(store.folder, { withFileTypes: true })) {
      if (!entry.isDirectory()) continue;
      if (entry.name.startsWith(".tmp-")) {
        await rm(join(store.folder, entry.name), { recursive: true, force: true });
        continue;
      }
      const record = await store.#recover(entry.name);
      if (record) records.push(record);
    }
    return { store, records: records.toSorted((a, b) => b.createdAt.localeCompare(a.createdAt)) };
  }

  async create(record: RunRecord): Promise<void> {
    const temporary = join(this.folder, `.tmp-${record.id}`);
    // First, as it may fail.
    const request = json({ id: record.id, createdAt: record.createdAt, request: record.request });
    await mkdir(temporary);
    try {
      await writeDurably(join(temporary, "request.json"), request);
      await rename(temporary, join(this.folder, record.id));
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      throw error;
    }
  }

  /** Where a run keeps its files. */
  folderOf(id: string): string {
    return join(this.folder, checkedId(id));
  }

  /** A run that goes on is in flight again: should the server be killed, its checkpoints tell where it was. */
  async reopen(id: string): Promise<void> {
    await rm(join(this.folderOf(id), "result.json"), { force: true });
  }

  async finish(record: RunRecord, result: ProbeResult, environment: object): Promise<void> {
    const names = Object.keys(result.arrays);
    if (names.length > 0) await this.#replace(record.id, "arrays.safetensors", encodeArrays(result.arrays));
    await this.#replace(record.id, "environment.json", json(environment));
    await this.#replace(record.id, "result.json", json(storedResult(record, result)));
  }

  /** @throws "run.unknown" */
  async result(id: string): Promise<StoredResult> {
    const file = join(this.folder, checkedId(id), "result.json");
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
  async arrays(id: string): Promise<Uint8Array> {
    const file = join(this.folder, checkedId(id), "arrays.safetensors");
    return readFile(file).catch(async (cause: unknown) => {
      const { arrays } = await this.result(id);
      if (isMissing(cause) && Object.keys(arrays).length === 0) return encodeArrays({});
      throw new WorkbenchError("file.unreadable", `${file} cannot be read: ${wordsOf(cause)}; the numbers of run "${id}" are not there`, { cause });
    });
  }

  async probeResult(id: string): Promise<ProbeResult> {
    const { figures, checks, finding, cost, record, arrays: shapes } = await this.result(id);
    const { tensors } = parseSafetensors(await this.arrays(id), `${id}/arrays.safetensors`);
    const arrays: Record<string, NamedArray> = {};
    for (const [name, { shape, axes }] of Object.entries(shapes)) {
      const data = tensors.get(name)?.data;
      if (!(data instanceof Float32Array))
        throw new WorkbenchError("file.unreadable", `arrays.safetensors of run "${id}" has no array "${name}", which its result.json names`);
      arrays[name] = { shape, axes, data };
    }
    return { figures, checks, finding, cost, progress: record.progress, arrays };
  }

  async remove(id: string): Promise<void> {
    const gone = join(this.folder, `.tmp-removed-${checkedId(id)}`);
    await rename(join(this.folder, id), gone);
    await rm(gone, { recursive: true, force: true });
  }

  async #recover(id: string): Promise<RunRecord | null> {
    const read = (name: string) =>
      readFile(join(this.folder, id, name), "utf8")
        .then((text): unknown => JSON.parse(text))
        .catch(() => null);
    const stored = resultFile.safeParse(await read("result.json"));
    const isTorn = !stored.success && (await isThere(join(this.folder, id, "result.json")));
    if (stored.success && stored.data.record.id === id) return { ...withoutCheckpoints, ...(stored.data.record as RunRecord & typeof stored.data.record) };
    const request = requestFile.safeParse(await read("request.json"));
    if (!request.success || request.data.id !== id) return null;
    const ended = { ...request.data, startedAt: null, endedAt: new Date().toISOString(), provenance: null };
    const checkpoints = checkpointSteps(this.folderOf(id));
    const last = checkpoints.at(-1);
    const result = last === undefined ? emptyResult : checkpointResult(checkpointDir(this.folderOf(id), last));
    const record: RunRecord =
      last === undefined
        ? {
            ...ended,
            ...withoutCheckpoints,
            state: "failed",
            progress: null,
            error: isTorn
              ? { code: "file.unreadable", message: "result.json of this run is damaged, and was left as it is; its other files are beside it", requestId: "" }
              : { code: "job.serverStopped", message: "server stopped while this job was queued or running; run it again", requestId: "" },
          }
        : { ...ended, state: "paused", progress: result.progress, error: null, resumable: true, checkpoints };
    // A full or read-only disk must not keep the other runs from being read.
    if (!isTorn) await this.finish(record, result, {}).catch(() => undefined);
    return record;
  }

  async #replace(id: string, name: string, content: string | Uint8Array): Promise<void> {
    const path = join(this.folder, id, name);
    await writeDurably(`${path}.tmp`, content);
    await rename(`${path}.tmp`, path);
    await syncFolder(join(this.folder, id));
  }
}

const withoutCheckpoints = { resumable: false, checkpoints: [] } as const;

export function storedResult(record: RunRecord, result: ProbeResult): StoredResult {
  const { figures, checks, finding, cost } = result;
  const arrays = Object.fromEntries(Object.entries(result.arrays).map(([name, { shape, axes }]) => [name, { shape, axes }]));
  return { record, figures, checks, finding, cost, arrays };
}

export function encodeArrays(arrays: Readonly<Record<string, NamedArray>>): Uint8Array {
  return encodeSafetensors(Object.entries(arrays).map(([name, { shape, data }]) => ({ name, shape, data })));
}

export function unknownRun(id: string): WorkbenchError {
  return new WorkbenchError("run.unknown", `no run is called "${id.slice(0, 80)}"`);
}

/** A run's id is one folder name: nothing in it can leave the runs folder. */
function checkedId(id: string): string {
  if (!/^[\w-]{1,120}$/.test(id)) throw unknownRun(id);
  return id;
}

const isMissing = (error: unknown): boolean => error instanceof Error && "code" in error && error.code === "ENOENT";
const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

async function isThere(path: string): Promise<boolean> {
  return await readFile(path).then(
    () => true,
    (error: unknown) => !isMissing(error),
  );
}

/** On the disk, not only in the system's memory, when it resolves: what is told to be done stays after a power cut. */
async function writeDurably(path: string, content: string | Uint8Array): Promise<void> {
  const file = await open(path, "w");
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** A rename is on the disk when its folder is. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  // Some systems cannot sync a folder; the rename is then as durable as they make it.
  await folder.sync().catch(() => undefined);
  await folder.close();
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`;
