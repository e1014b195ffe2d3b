/** Every run there is, live ones and stored ones: accepts, cancels, removes, and tells who listens. */
import { randomBytes } from "node:crypto";
import type { ProbeResult } from "../../probes/result.ts";
import { WorkbenchError } from "../errors.ts";
import type { RunRecord, RunRequest, StoredResult, WireError } from "../wire.ts";
import type { Jobs } from "./jobs.ts";
import type { RunOutcome } from "./messages.ts";
import { environment, provenance } from "./provenance.ts";
import { RunFeed, type FeedListener } from "./runFeed.ts";
import { encodeArrays, storedResult, unknownRun, type RunStore } from "./runStore.ts";
import { taskError } from "./taskError.ts";

interface LiveRun {
  readonly feed: RunFeed;
  readonly controller: AbortController;
}
export interface BoardListener {
  onRecord(record: RunRecord): void;
  onRemoved(id: string): void;
}
export interface BoardOptions {
  readonly jobs: Jobs;
  readonly store: RunStore;
  readonly records: readonly RunRecord[];
  readonly version: string;
  /** Called with what went wrong; its reply is the id under which it was logged. */
  readonly logError: (error: unknown, about: object) => string;
}
/** Records tell of progress this often; the events of a watched run tell more. */
const progressRecordEveryMs = 500;

export class RunBoard {
  readonly #options: BoardOptions;
  readonly #records = new Map<string, RunRecord>();
  readonly #live = new Map<string, LiveRun>();
  readonly #ending = new Set<Promise<void>>();
  readonly #listeners = new Set<BoardListener>();

  constructor(options: BoardOptions) {
    this.#options = options;
    for (const record of options.records) this.#records.set(record.id, record);
  }

  listen(listener: BoardListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Newest first. */
  list(): RunRecord[] {
    return [...this.#records.values()].toSorted((a, b) => b.createdAt.localeCompare(a.createdAt));
  }

  /** @throws "run.unknown" */
  record(id: string): RunRecord {
    const record = this.#records.get(id);
    if (!record) throw unknownRun(id);
    return record;
  }

  async submit(request: RunRequest): Promise<RunRecord> {
    const createdAt = new Date().toISOString();
    const id = `${createdAt.replaceAll(/[-:]/g, "").replace("T", "-").slice(0, 15)}-${request.probe}-${randomBytes(3).toString("hex")}`;
    const record: RunRecord = { id, request, state: "queued", createdAt, startedAt: null, endedAt: null, progress: null, error: null, provenance: null };
    await this.#options.store.create(record);
    const live: LiveRun = { feed: new RunFeed(), controller: new AbortController() };
    this.#live.set(id, live);
    this.#change(record);
    const ending = this.#run(record, live).finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
    return record;
  }

  /** Cancelling what has ended changes nothing. @throws "run.unknown" */
  cancel(id: string): RunRecord {
    const record = this.record(id);
    this.#live.get(id)?.controller.abort();
    return record;
  }

  /** @throws "run.unknown"; "run.notFinished" while it is queued or running */
  async remove(id: string): Promise<void> {
    this.record(id);
    if (this.#live.has(id)) throw new WorkbenchError("run.notFinished", `run "${id}" has not ended; cancel it first`);
    await this.#options.store.remove(id);
    this.#records.delete(id);
    for (const listener of this.#listeners) listener.onRemoved(id);
  }

  /** What is known of it so far. @throws "run.unknown" */
  async result(id: string): Promise<StoredResult> {
    const record = this.record(id);
    const live = this.#live.get(id);
    return live ? storedResult(record, live.feed.result) : this.#options.store.result(id);
  }

  async arrays(id: string): Promise<Uint8Array> {
    this.record(id);
    const live = this.#live.get(id);
    return live ? encodeArrays(live.feed.result.arrays) : this.#options.store.arrays(id);
  }

  async probeResult(id: string): Promise<ProbeResult> {
    this.record(id);
    const live = this.#live.get(id);
    return live ? live.feed.result : this.#options.store.probeResult(id);
  }

  /** Later batches of a run that has not ended; nothing to stop when it has. */
  follow(id: string, listener: FeedListener): () => void {
    return this.#live.get(id)?.feed.listen(listener) ?? (() => undefined);
  }

  /** The engine of the newest finished run that used one. */
  get lastEngine(): string | null {
    return this.list().find((record) => record.provenance !== null)?.provenance?.engine ?? null;
  }

  /** Resolves when no run is queued or running. */
  async idle(): Promise<void> {
    await Promise.all(this.#ending);
  }

  /** Cancels what runs, so that folders are closed before the process ends. */
  cancelAll(): void {
    for (const { controller } of this.#live.values()) controller.abort();
  }

  async #run(queued: RunRecord, live: LiveRun): Promise<void> {
    const { id, request } = queued;
    let started = performance.now();
    let lastProgress = started;
    let broken: unknown;
    try {
      const outcome = await this.#options.jobs.execute({ kind: "run", input: request }, {
        signal: live.controller.signal,
        onStart: () => {
          started = performance.now();
          this.#change({ ...this.record(id), state: "running", startedAt: new Date().toISOString() });
        },
        onEvent: (event) => {
          if (broken !== undefined) return;
          try {
            live.feed.push(event);
          } catch (error) {
            broken = error;
            live.controller.abort();
            return;
          }
          if (event.type !== "progress") return;
          this.#records.set(id, { ...this.record(id), progress: live.feed.result.progress });
          if (performance.now() - lastProgress < progressRecordEveryMs) return;
          lastProgress = performance.now();
          this.#change(this.record(id));
        },
      });
      if (broken !== undefined) throw broken instanceof Error ? broken : new Error(String(broken));
      await this.#end(id, live, { state: "done", error: null }, outcome, performance.now() - started);
    } catch (thrown) {
      const { code, message } = taskError(broken ?? thrown);
      const isCancelled = code === "job.cancelled";
      const requestId = this.#options.logError(broken ?? thrown, { run: id });
      const error: WireError = { code, message, requestId };
      await this.#end(id, live, isCancelled ? { state: "cancelled", error: null } : { state: "failed", error }, null, performance.now() - started);
    }
  }

  async #end(id: string, live: LiveRun, ending: Pick<RunRecord, "state" | "error">, outcome: RunOutcome | null, durationMs: number): Promise<void> {
    const about = outcome && provenance(this.#options.version, this.record(id).request, outcome, durationMs);
    let record: RunRecord = { ...this.record(id), ...ending, endedAt: new Date().toISOString(), progress: live.feed.result.progress, provenance: about };
    live.feed.flush();
    try {
      await this.#options.store.finish(record, live.feed.result, environment(about));
    } catch (thrown) {
      const requestId = this.#options.logError(thrown, { run: id });
      record = { ...record, state: "failed", error: { code: "internal", message: `the result could not be written to ${this.#options.store.folder}: ${taskError(thrown).message}`, requestId } };
    }
    this.#live.delete(id);
    this.#change(record);
  }

  #change(record: RunRecord): void {
    this.#records.set(record.id, record);
    for (const listener of this.#listeners) listener.onRecord(record);
  }
}
