/** Every run there is, live ones and stored ones: accepts, cancels, pauses, resumes, removes, and tells who listens. */
import { randomBytes } from "node:crypto";
import type { ProbeEvent, ProbeResult } from "../../probes/result.ts";
import { WorkbenchError } from "../errors.ts";
import type { RunRecord, RunRequest, StoredResult } from "../wire.ts";
import { jobKinds, type JobKind } from "../jobKinds/registry.ts";
import type { RunOutcome, TaskError } from "./messages.ts";
import { environment, provenance } from "./provenance.ts";
import type { Queue, QueueEvent } from "./queue.ts";
import { LiveResult, snapshotEvents } from "./liveResult.ts";
import { RunFeed, type FeedListener } from "./runFeed.ts";
import { arrayBytes, storedResult, unknownRun } from "./resultFolder.ts";
import type { RunStore } from "./runStore.ts";
import { taskError, toldError } from "./taskError.ts";
import { checkpointSteps } from "../training/checkpoint.ts";

interface LiveRun {
  readonly feed: RunFeed;
  /** Whether somebody asked for it to stop for good. */
  isCancelled: boolean;
  /** By `performance.now()`. */
  startedAt: number;
  lastProgressAt: number;
  /** Why it cannot go on though the one who works on it could: an event that does not fit, as an error. */
  broken: TaskError | null;
}
export interface BoardListener {
  onRecord(record: RunRecord): void;
  onRemoved(id: string): void;
}
export interface BoardOptions {
  readonly queue: Queue;
  readonly store: RunStore;
  /** Newest first. */
  readonly records: readonly RunRecord[];
  readonly version: string;
  readonly kindOf: (probe: string) => JobKind;
  /** Called with what went wrong; its reply is the id under which it was logged. */
  readonly logError: (error: unknown, about: object) => string;
}
/** Records tell of progress this often; the events of a watched run tell more. */
const progressRecordEveryMs = 500;

export class RunBoard {
  readonly #options: BoardOptions;
  readonly #records = new Map<string, RunRecord>();
  readonly #live = new Map<string, LiveRun>();
  /** Results that the disk did not take. */
  readonly #unwritten = new Map<string, RunFeed>();
  readonly #readings = new Map<string, Promise<readonly ProbeEvent[]>>();
  #lastEngine: string | null;
  /** Runs that are queued, running or being written down. */
  readonly #pending = new Set<string>();
  readonly #idlers = new Set<() => void>();
  /** By run; they stay when a run ends, as it may go on. */
  readonly #followers = new Map<string, Set<FeedListener>>();
  readonly #listeners = new Set<BoardListener>();

  constructor(options: BoardOptions) {
    this.#options = options;
    for (const record of options.records.toReversed()) this.#records.set(record.id, record);
    options.queue.events((event) => this.#take(event));
    this.#lastEngine = options.records.find(({ provenance: about }) => about !== null)?.provenance?.engine ?? null;
  }

  listen(listener: BoardListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Newest first, as many as asked for.
   * @param before a run: those that are older than it
   * @throws "run.unknown" when there is no such run
   */
  list(limit = Infinity, before?: string): RunRecord[] {
    const all = [...this.#records.values()].toReversed();
    const begin = before === undefined ? 0 : all.indexOf(this.record(before)) + 1;
    return all.slice(begin, begin + limit);
  }

  /** @throws "run.unknown" */
  record(id: string): RunRecord {
    const record = this.#records.get(id);
    if (!record) throw unknownRun(id);
    return record;
  }

  /** @throws "job.queueFull" before anything is made, "run.unwritable" */
  async submit(request: RunRequest): Promise<RunRecord> {
    const kind = this.#options.kindOf(request.probe);
    const createdAt = new Date().toISOString();
    const id = `${createdAt.replaceAll(/[-:]/g, "").replace("T", "-").slice(0, 15)}-${request.probe}-${randomBytes(3).toString("hex")}`;
    const record: RunRecord = {
      id,
      kind,
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
    await this.#enqueue(record, async () => {
      await this.#options.store.create(record);
      this.#hold(record, new RunFeed());
    });
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
    this.#options.queue.pause(id);
    return record;
  }

  /**
   * Queues a training run again, to go on from its last checkpoint; its results so far stay.
   * @throws "run.unknown", "run.notTraining"; "run.notFinished" while it is queued or running; "training.noCheckpoint", "job.queueFull", "run.unwritable"
   */
  async resume(id: string): Promise<RunRecord> {
    const record = this.record(id);
    this.checkTrains(record);
    if (this.#live.has(id)) throw new WorkbenchError("run.notFinished", `run "${id}" is ${record.state}; expected one that was paused or stopped`);
    if (record.state === "done") throw new WorkbenchError("run.isDone", `run "${id}" has reached its end; branch from one of its checkpoints instead`);
    if (!record.resumable) throw new WorkbenchError("training.noCheckpoint", `run "${id}" has no checkpoint to go on from; start it again`);
    const queued: RunRecord = { ...record, state: "queued", endedAt: null, error: null, resumable: false };
    await this.#enqueue(queued, async () => {
      const result = new LiveResult(await this.probeResult(id));
      if (this.#live.has(id)) throw new WorkbenchError("run.notFinished", `run "${id}" was resumed by another request`);
      this.#hold(queued, new RunFeed(result));
      try {
        await this.#options.store.reopen(id);
      } catch (error) {
        this.#letGo(record);
        throw error;
      }
    });
    return queued;
  }

  #enqueue({ id, kind, request }: RunRecord, prepare: () => Promise<void>): Promise<void> {
    return this.#options.queue.enqueue({ id, kind, request, folder: this.#options.store.folderOf(id) }, prepare);
  }

  /** Cancelling what has ended changes nothing. @throws "run.unknown" */
  cancel(id: string): RunRecord {
    const record = this.record(id);
    this.#stop(id);
    return record;
  }

  /** @throws "run.unknown"; "run.notFinished" while it is queued or running; "run.unwritable" */
  async remove(id: string): Promise<void> {
    const record = this.record(id);
    if (this.#live.has(id)) throw new WorkbenchError("run.notFinished", `run "${id}" has not ended; cancel it first`);
    // At once, so that a second request finds no run.
    this.#records.delete(id);
    try {
      await this.#options.store.remove(id);
    } catch (error) {
      this.#records.set(id, record);
      throw error;
    }
    this.#followers.delete(id);
    this.#unwritten.delete(id);
    for (const listener of this.#listeners) listener.onRemoved(id);
  }

  /** What is known of it so far. @throws "run.unknown" */
  async result(id: string): Promise<StoredResult> {
    const record = this.record(id);
    const feed = this.#inMemory(id);
    return feed ? storedResult(record, feed.result.outline) : this.#options.store.result(id);
  }

  /** The bytes of its arrays.safetensors, in pieces. @throws "run.unknown", "file.unreadable" */
  async arrays(id: string): Promise<AsyncIterable<Uint8Array> | Iterable<Uint8Array>> {
    this.record(id);
    const feed = this.#inMemory(id);
    return feed ? arrayBytes(feed.result.arrays) : this.#options.store.arrays(id);
  }

  /** @throws "run.unknown", "file.unreadable" */
  async probeResult(id: string): Promise<ProbeResult> {
    this.record(id);
    return (await this.#inMemory(id)?.result.whole()) ?? this.#options.store.probeResult(id);
  }

  /** The events that build what is known of it so far. Many who ask for one stored run at a time share one reading of it. @throws as `probeResult` */
  async snapshot(id: string): Promise<readonly ProbeEvent[]> {
    this.record(id);
    const feed = this.#inMemory(id);
    if (feed) return feed.result.snapshot();
    const reading =
      this.#readings.get(id) ??
      this.#options.store
        .probeResult(id)
        .then(snapshotEvents)
        .finally(() => this.#readings.delete(id));
    this.#readings.set(id, reading);
    return reading;
  }

  #inMemory(id: string): RunFeed | undefined {
    return this.#live.get(id)?.feed ?? this.#unwritten.get(id);
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
    return this.#isResumable(this.record(id)) ? checkpointSteps(this.folderOf(id)) : [];
  }

  /** Where a run keeps its files. @throws "run.unknown" */
  folderOf(id: string): string {
    return this.#options.store.folderOf(this.record(id).id);
  }

  /** The engine of the newest finished run that used one. */
  get lastEngine(): string | null {
    return this.#lastEngine;
  }

  /** Resolves when no run is queued or running. */
  async idle(): Promise<void> {
    if (this.#pending.size > 0) await new Promise<void>((resolve) => this.#idlers.add(resolve));
  }

  /** Stops what runs, so that folders are closed before the process ends: training with a checkpoint, the rest at once. */
  stopAll(): void {
    for (const id of this.#live.keys()) {
      if (this.#isResumable(this.record(id))) this.#options.queue.pause(id);
      else this.#stop(id);
    }
  }

  #stop(id: string): void {
    const live = this.#live.get(id);
    if (live) live.isCancelled = true;
    this.#options.queue.cancel(id);
  }

  #isResumable({ kind }: RunRecord): boolean {
    return jobKinds[kind].isResumable;
  }

  /** @throws "run.notTraining" */
  checkTrains(record: RunRecord): void {
    if (!this.#isResumable(record))
      throw new WorkbenchError("run.notTraining", `run "${record.id}" is of the probe ${record.request.probe}; expected a training run`);
  }

  /** Takes the run's place among the live ones. */
  #hold(record: RunRecord, feed: RunFeed): void {
    const { id } = record;
    const now = performance.now();
    this.#live.set(id, { feed, isCancelled: false, startedAt: now, lastProgressAt: now, broken: null });
    this.#pending.add(id);
    feed.listen((events) => {
      for (const listener of this.#followers.get(id) ?? []) listener(events);
    });
    this.#change(record);
  }

  /** The run has ended, as its record says. */
  #letGo(record: RunRecord): void {
    this.#live.delete(record.id);
    this.#change(record);
    this.#pending.delete(record.id);
    if (this.#pending.size > 0) return;
    for (const resolve of this.#idlers) resolve();
    this.#idlers.clear();
  }

  #take(event: QueueEvent): void {
    const { id } = event;
    const live = this.#live.get(id);
    if (!live) return;
    switch (event.type) {
      case "started":
        live.startedAt = performance.now();
        this.#change({ ...this.record(id), state: "running", startedAt: new Date().toISOString() });
        return;
      case "told":
        this.#note(id, live, event.event);
        return;
      case "ended":
        if (live.broken) void this.#fail(id, live, live.broken);
        else void this.#end(id, live, { state: event.outcome.isPaused ? "paused" : "done", error: null }, event.outcome);
        return;
      case "failed":
        void this.#fail(id, live, live.broken ?? event.error);
        return;
      default:
        event satisfies never;
    }
  }

  #note(id: string, live: LiveRun, event: ProbeEvent): void {
    if (live.broken) return;
    try {
      live.feed.push(event);
    } catch (error) {
      live.broken = taskError(error);
      this.#stop(id);
      return;
    }
    if (event.type !== "progress") return;
    this.#records.set(id, { ...this.record(id), progress: live.feed.result.outline.progress });
    if (performance.now() - live.lastProgressAt < progressRecordEveryMs) return;
    live.lastProgressAt = performance.now();
    this.#change({ ...this.record(id), checkpoints: this.checkpoints(id) });
  }

  async #fail(id: string, live: LiveRun, thrown: TaskError): Promise<void> {
    const { code } = thrown;
    const requestId = this.#options.logError(thrown, { run: id });
    if (code !== "job.cancelled") {
      await this.#end(id, live, { state: "failed", error: toldError(thrown, requestId) }, null);
      return;
    }
    // A server that stops takes a run's worker away: with a checkpoint that is a pause.
    const wasStopped = !live.isCancelled && this.checkpoints(id).length > 0;
    await this.#end(id, live, { state: wasStopped ? "paused" : "cancelled", error: null }, null);
  }

  async #end(id: string, live: LiveRun, ending: Pick<RunRecord, "state" | "error">, outcome: RunOutcome | null): Promise<void> {
    const before = this.record(id);
    const durationMs = performance.now() - live.startedAt;
    // A resumed run has taken the time of all its parts.
    const about = outcome && provenance(this.#options.version, before, outcome, durationMs + (before.provenance?.durationMs ?? 0));
    const checkpoints = this.checkpoints(id);
    let record: RunRecord = {
      ...before,
      ...ending,
      endedAt: new Date().toISOString(),
      progress: live.feed.result.outline.progress,
      provenance: about ?? before.provenance,
      checkpoints,
      resumable: ending.state !== "done" && checkpoints.length > 0,
    };
    live.feed.flush();
    try {
      await this.#options.store.finish(record, live.feed.result, environment(about));
    } catch (thrown) {
      const requestId = this.#options.logError(thrown, { run: id });
      this.#unwritten.set(id, live.feed);
      record = {
        ...record,
        state: "failed",
        error: {
          code: "run.unwritable",
          message: `${taskError(thrown).message}; the result is kept in memory and can be saved from here until the server stops`,
          requestId,
        },
      };
    }
    this.#lastEngine = about?.engine ?? this.#lastEngine;
    this.#letGo(record);
  }

  #change(record: RunRecord): void {
    this.#records.set(record.id, record);
    for (const listener of this.#listeners) listener.onRecord(record);
  }
}
