/** Every run there is, live ones and stored ones: accepts, cancels, pauses, resumes, removes, and tells who listens. */
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
import { checkpointSteps } from "../training/checkpoint.ts";

interface LiveRun {
  readonly feed: RunFeed;
  readonly controller: AbortController;
  readonly pause: AbortController;
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
  /** Whether a probe trains: such runs keep checkpoints, and can be paused. */
  readonly trains: (probe: string) => boolean;
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
  /** By run; they stay when a run ends, as it may go on. */
  readonly #followers = new Map<string, Set<FeedListener>>();
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

  /** @throws "job.queueFull" before anything is made */
  async submit(request: RunRequest): Promise<RunRecord> {
    this.#options.jobs.checkRoom(this.#options.trains(request.probe));
    const createdAt = new Date().toISOString();
    const id = `${createdAt.replaceAll(/[-:]/g, "").replace("T", "-").slice(0, 15)}-${request.probe}-${randomBytes(3).toString("hex")}`;
    const record: RunRecord = {
      id,
      request,
      state: "queued",
      createdAt,
      startedAt: null,
      endedAt: null,
      progress: null,
      error: null,
      provenance: null,
      resumable: false,
      checkpoints: [],
    };
    await this.#options.store.create(record);
    this.#hold(record, new RunFeed())();
    return record;
  }

  /**
   * Lets a training run finish its step, write a checkpoint and stop; pausing what has ended changes nothing.
   * @throws "run.unknown"; "run.notTraining" for other runs; "training.noCheckpoint" when it waits for its very first step
   */
  pause(id: string): RunRecord {
    const record = this.record(id);
    this.checkTrains(record);
    if (record.state === "queued" && record.checkpoints.length === 0)
      throw new WorkbenchError("training.noCheckpoint", `run "${id}" has not started and has nothing to go on from; cancel it instead`);
    this.#live.get(id)?.pause.abort();
    return record;
  }

  /**
   * Queues a training run again, to go on from its last checkpoint; its results so far stay.
   * @throws "run.unknown", "run.notTraining"; "run.notFinished" while it is queued or running; "training.noCheckpoint"
   */
  async resume(id: string): Promise<RunRecord> {
    const record = this.record(id);
    this.checkTrains(record);
    if (this.#live.has(id)) throw new WorkbenchError("run.notFinished", `run "${id}" is ${record.state}; expected one that was paused or stopped`);
    if (record.state === "done") throw new WorkbenchError("run.isDone", `run "${id}" has reached its end; branch from one of its checkpoints instead`);
    if (!record.resumable) throw new WorkbenchError("training.noCheckpoint", `run "${id}" has no checkpoint to go on from; start it again`);
    const result = await this.#options.store.probeResult(id);
    if (this.#live.has(id)) throw new WorkbenchError("run.notFinished", `run "${id}" was resumed by another request`);
    const queued: RunRecord = { ...record, state: "queued", endedAt: null, error: null, resumable: false };
    const feed = new RunFeed(result);
    const start = this.#hold(queued, feed);
    await this.#options.store.reopen(id);
    start();
    return queued;
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
    // At once, so that a second request finds no run.
    this.#records.delete(id);
    this.#followers.delete(id);
    await this.#options.store.remove(id);
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

  /** Later batches of a run, also of one that ended and goes on. */
  follow(id: string, listener: FeedListener): () => void {
    const followers = this.#followers.get(id) ?? new Set();
    this.#followers.set(id, followers);
    // What came before is in the snapshot that a follower begins with.
    this.#live.get(id)?.feed.flush();
    followers.add(listener);
    return () => followers.delete(listener);
  }

  /** Steps that have a checkpoint now. @throws "run.unknown" */
  checkpoints(id: string): readonly number[] {
    return this.#trains(id) ? checkpointSteps(this.folderOf(id)) : [];
  }

  /** Where a run keeps its files. @throws "run.unknown" */
  folderOf(id: string): string {
    return this.#options.store.folderOf(this.record(id).id);
  }

  /** The engine of the newest finished run that used one. */
  get lastEngine(): string | null {
    return this.list().find((record) => record.provenance !== null)?.provenance?.engine ?? null;
  }

  /** Resolves when no run is queued or running. */
  async idle(): Promise<void> {
    await Promise.all(this.#ending);
  }

  /** Stops what runs, so that folders are closed before the process ends: training with a checkpoint, the rest at once. */
  stopAll(): void {
    for (const [id, { controller, pause }] of this.#live) (this.#trains(id) ? pause : controller).abort();
  }

  #trains(id: string): boolean {
    return this.#options.trains(this.record(id).request.probe);
  }

  /** @throws "run.notTraining" */
  checkTrains({ id, request }: RunRecord): void {
    if (!this.#options.trains(request.probe))
      throw new WorkbenchError("run.notTraining", `run "${id}" is of the probe ${request.probe}; expected a training run`);
  }

  /** Takes the run's place among the live ones. @returns starts it */
  #hold(record: RunRecord, feed: RunFeed): () => void {
    const { id } = record;
    const live: LiveRun = { feed, controller: new AbortController(), pause: new AbortController() };
    this.#live.set(id, live);
    feed.listen((events) => {
      for (const listener of this.#followers.get(id) ?? []) listener(events);
    });
    this.#change(record);
    return () => {
      const ending = this.#run(record, live).finally(() => this.#ending.delete(ending));
      this.#ending.add(ending);
    };
  }

  async #run(queued: RunRecord, live: LiveRun): Promise<void> {
    const { id, request } = queued;
    let started = performance.now();
    let lastProgress = started;
    let broken: unknown;
    try {
      const folder = this.#trains(id) ? this.#options.store.folderOf(id) : null;
      const outcome = await this.#options.jobs.execute(
        { kind: "run", input: { request, folder } },
        {
          signal: live.controller.signal,
          pause: live.pause.signal,
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
            this.#change({ ...this.record(id), checkpoints: this.checkpoints(id) });
          },
        },
      );
      if (broken !== undefined) throw broken instanceof Error ? broken : new Error(String(broken));
      await this.#end(id, live, { state: outcome.isPaused ? "paused" : "done", error: null }, outcome, performance.now() - started);
    } catch (thrown) {
      const { code, message } = taskError(broken ?? thrown);
      // A server that stops takes a run's worker away: with a checkpoint that is a pause.
      const wasStopped = code === "job.cancelled" && !live.controller.signal.aborted && this.checkpoints(id).length > 0;
      const requestId = this.#options.logError(broken ?? thrown, { run: id });
      const error: WireError = { code, message, requestId };
      const ending = code !== "job.cancelled" ? ({ state: "failed", error } as const) : ({ state: wasStopped ? "paused" : "cancelled", error: null } as const);
      await this.#end(id, live, ending, null, performance.now() - started);
    }
  }

  async #end(id: string, live: LiveRun, ending: Pick<RunRecord, "state" | "error">, outcome: RunOutcome | null, durationMs: number): Promise<void> {
    const before = this.record(id);
    // A resumed run has taken the time of all its parts.
    const about = outcome && provenance(this.#options.version, before.request, outcome, durationMs + (before.provenance?.durationMs ?? 0));
    const checkpoints = this.checkpoints(id);
    let record: RunRecord = {
      ...before,
      ...ending,
      endedAt: new Date().toISOString(),
      progress: live.feed.result.progress,
      provenance: about ?? before.provenance,
      checkpoints,
      resumable: ending.state !== "done" && checkpoints.length > 0,
    };
    live.feed.flush();
    try {
      await this.#options.store.finish(record, live.feed.result, environment(about));
    } catch (thrown) {
      const requestId = this.#options.logError(thrown, { run: id });
      record = {
        ...record,
        state: "failed",
        error: { code: "internal", message: `the result could not be written to ${this.#options.store.folder}: ${taskError(thrown).message}`, requestId },
      };
    }
    this.#live.delete(id);
    this.#change(record);
  }

  #change(record: RunRecord): void {
    this.#records.set(record.id, record);
    for (const listener of this.#listeners) listener.onRecord(record);
  }
}
