/**
 * Runs on disk, one folder each: request.json when it is accepted; arrays.safetensors, environment.json and result.json when it ends;
 * and checkpoints/ of training, which the run itself writes.
 * Every file is written under a temporary name and renamed, result.json last: a folder without it was in flight when the server stopped.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
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
    await mkdir(temporary);
    await writeFile(join(temporary, "request.json"), json({ id: record.id, createdAt: record.createdAt, request: record.request }));
    await rename(temporary, join(this.folder, record.id));
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
    const text = await readFile(join(this.folder, checkedId(id), "result.json"), "utf8").catch(() => null);
    if (text === null) throw unknownRun(id);
    return JSON.parse(text) as StoredResult;
  }

  /** The bytes of arrays.safetensors; an empty file's when the run made no arrays. */
  async arrays(id: string): Promise<Uint8Array> {
    return readFile(join(this.folder, checkedId(id), "arrays.safetensors")).catch(() => encodeArrays({}));
  }

  async probeResult(id: string): Promise<ProbeResult> {
    const { figures, checks, finding, cost, record, arrays: shapes } = await this.result(id);
    const { tensors } = parseSafetensors(await this.arrays(id), `${id}/arrays.safetensors`);
    const arrays: Record<string, NamedArray> = {};
    for (const [name, { shape, axes }] of Object.entries(shapes)) {
      const data = tensors.get(name)?.data;
      if (data instanceof Float32Array) arrays[name] = { shape, axes, data };
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
            error: { code: "job.serverStopped", message: "server stopped while this job was queued or running; run it again", requestId: "" },
          }
        : { ...ended, state: "paused", progress: result.progress, error: null, resumable: true, checkpoints };
    await this.finish(record, result, {});
    return record;
  }

  async #replace(id: string, name: string, content: string | Uint8Array): Promise<void> {
    const path = join(this.folder, id, name);
    await writeFile(`${path}.tmp`, content);
    await rename(`${path}.tmp`, path);
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

const json = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`;
