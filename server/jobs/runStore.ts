/**
 * Runs on disk, one folder each: request.json when it is accepted, its result when it ends, and checkpoints/ of training, which the run
 * itself writes. A folder without result.json was in flight when the server stopped.
 */
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { emptyResult } from "../../probes/result.ts";
import type { ProbeResult } from "../../probes/result.ts";
import { WorkbenchError } from "../errors.ts";
import type { JobKind } from "../jobKinds/registry.ts";
import { checkpointDir, checkpointSteps } from "../training/checkpoint.ts";
import { runRequest, type RunRecord, type StoredResult } from "../wire.ts";
import { checkpointResult } from "./checkpointResult.ts";
import { LiveResult } from "./liveResult.ts";
import {
  isMissing,
  json,
  readResult,
  readStored,
  removeResult,
  replaceFile,
  storedArrayBytes,
  syncFolder,
  unknownRun,
  wordsOf,
  writeResult,
} from "./resultFolder.ts";
import { RunIndex, writtenRecord } from "./runIndex.ts";

const requestFile = z.object({ id: z.string(), createdAt: z.string(), request: runRequest });

export interface RunStoreOptions {
  /** Of the runs of a probe: those of earlier versions do not say. */
  readonly kindOf: (probe: string) => JobKind;
}

export class RunStore {
  readonly folder: string;
  readonly #kindOf: (probe: string) => JobKind;
  readonly #index: RunIndex;

  private constructor(logFolder: string, { kindOf }: RunStoreOptions) {
    this.folder = join(logFolder, "runs");
    this.#kindOf = kindOf;
    this.#index = new RunIndex(logFolder, this.folder);
  }

  /** Opens `<logFolder>/runs`, and closes the books on runs that were in flight when a server was killed. Records are newest first. */
  static async open(logFolder: string, options: RunStoreOptions): Promise<{ store: RunStore; records: RunRecord[] }> {
    const store = new RunStore(logFolder, options);
    await mkdir(store.folder, { recursive: true });
    const known = store.#index.read();
    const records: RunRecord[] = [];
    for (const entry of await readdir(store.folder, { withFileTypes: true })) {
      if (!entry.isDirectory()) continue;
      if (entry.name.startsWith(".tmp-")) {
        // A disk that cannot be written keeps them.
        await rm(join(store.folder, entry.name), { recursive: true, force: true }).catch(() => undefined);
        continue;
      }
      const record = known.get(entry.name) ?? (await store.#recover(entry.name));
      if (record) records.push(record);
    }
    records.sort((a, b) => (a.createdAt < b.createdAt ? 1 : a.createdAt > b.createdAt ? -1 : 0));
    store.#index.write(records);
    return { store, records };
  }

  /** @throws "run.unwritable" */
  async create({ id, createdAt, request }: RunRecord): Promise<void> {
    const temporary = join(this.folder, `.tmp-${id}`);
    try {
      await mkdir(temporary);
      await replaceFile(temporary, "request.json", json({ id, createdAt, request }));
      await rename(temporary, join(this.folder, id));
      await syncFolder(this.folder);
    } catch (error) {
      await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
      throw this.#unwritable(error);
    }
  }

  /** Where a run keeps its files. */
  folderOf(id: string): string {
    return join(this.folder, checkedId(id));
  }

  /** A run that goes on is in flight again: should the server be killed, its checkpoints tell where it was. @throws "run.unwritable" */
  async reopen(id: string): Promise<void> {
    await removeResult(this.folderOf(id)).catch((error: unknown) => {
      throw this.#unwritable(error);
    });
  }

  /** @throws "run.unwritable" */
  async finish(record: RunRecord, result: LiveResult, environment: object): Promise<void> {
    try {
      await writeResult(this.folderOf(record.id), record, result, { "environment.json": json(environment) });
    } catch (error) {
      throw this.#unwritable(error);
    }
    this.#index.add(record);
  }

  /** @throws "run.unknown", "file.unreadable" */
  async result(id: string): Promise<StoredResult> {
    return readStored(this.folderOf(id), id);
  }

  /** The bytes of arrays.safetensors, in pieces. @throws "run.unknown", "file.unreadable" */
  async arrays(id: string): Promise<AsyncIterable<Uint8Array> | Iterable<Uint8Array>> {
    return storedArrayBytes(this.folderOf(id), id);
  }

  /** @throws "run.unknown", "file.unreadable" */
  async probeResult(id: string): Promise<ProbeResult> {
    return readResult(this.folderOf(id), id);
  }

  /** @throws "run.unwritable" */
  async remove(id: string): Promise<void> {
    const gone = join(this.folder, `.tmp-removed-${checkedId(id)}`);
    try {
      await rename(join(this.folder, id), gone);
      await rm(gone, { recursive: true, force: true });
    } catch (error) {
      // Somebody else has removed it: that is what was asked for.
      if (!isMissing(error)) throw this.#unwritable(error);
    }
  }

  async #recover(id: string): Promise<RunRecord | null> {
    const folder = join(this.folder, id);
    const stored = await readStored(folder, id).catch((error: unknown) =>
      error instanceof WorkbenchError && error.code === "run.unknown" ? null : ("damaged" as const),
    );
    const record = stored === null || stored === "damaged" ? null : writtenRecord(stored.record);
    if (record?.id === id) return { ...record, kind: record.kind ?? this.#kindOf(record.request.probe) };
    const request = requestFile.safeParse(parsed(await readFile(join(folder, "request.json"), "utf8").catch(() => "")));
    if (!request.success || request.data.id !== id) return null;
    const checkpoints = checkpointSteps(folder);
    const last = checkpoints.at(-1);
    const result = last === undefined ? emptyResult : checkpointResult(checkpointDir(folder, last));
    const found: RunRecord = {
      ...request.data,
      kind: this.#kindOf(request.data.request.probe),
      startedAt: null,
      endedAt: new Date().toISOString(),
      provenance: null,
      state: last === undefined ? "failed" : "paused",
      progress: result.progress,
      resumable: last !== undefined,
      checkpoints,
      error:
        last !== undefined
          ? null
          : stored !== null
            ? { code: "file.unreadable", message: "result.json of this run is damaged, and was left as it is; its other files are beside it", requestId: "" }
            : { code: "job.serverStopped", message: "server stopped while this job was queued or running; run it again", requestId: "" },
    };
    // A full or read-only disk must not keep the other runs from being read.
    if (stored === null) await this.finish(found, new LiveResult(result), {}).catch(() => undefined);
    return found;
  }

  #unwritable(cause: unknown): WorkbenchError {
    return new WorkbenchError("run.unwritable", `${this.folder} cannot be written (${wordsOf(cause)}); expected a disk with room that this user may write to`, {
      cause,
    });
  }
}

/** A run's id is one folder name: nothing in it can leave the runs folder. */
function checkedId(id: string): string {
  if (!/^[\w-]{1,120}$/.test(id)) throw unknownRun(id);
  return id;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
