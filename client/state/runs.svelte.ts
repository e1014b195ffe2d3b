/** Runs: the list, and the one on screen, live while it is computed. */
import { ApiError, arraysOf, call } from "../api.ts";
import { endpoints } from "../../server/endpoints.ts";
import { jobKinds } from "../../server/jobKinds/registry.ts";
import { applyEvent, emptyResult, type ProbeEvent, type ProbeResult } from "../../probes/result.ts";
import type { RunRecord, RunRequest } from "../../server/wire.ts";
import { connectSocket, type LiveSocket } from "../socket.ts";

const failure = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));
/** Nothing more comes of it unless someone asks: a paused run is over until it is resumed. */
export const isOver = ({ state }: RunRecord): boolean => state !== "queued" && state !== "running";
/** Work of hours. */
export const isResumable = ({ kind }: RunRecord): boolean => jobKinds[kind].isResumable;
/** Such a run sends numbers at every step; drawing them more often than this would cost the one who computes its cores. */
const longRunFrameMs = 200;

const stage = (record: RunRecord): number => (isOver(record) ? 2 : record.state === "running" ? 1 : 0);

class RunsState {
  list = $state.raw<readonly RunRecord[]>([]);
  currentId = $state<string | null>(null);
  /** Replaced once a frame while tiles arrive; the numbers themselves are written in place. */
  result = $state.raw<ProbeResult>(emptyResult);
  error = $state.raw<Error | null>(null);
  isConnected = $state(true);
  readonly current: RunRecord | null = $derived(this.list.find(({ id }) => id === this.currentId) ?? null);
  readonly running: RunRecord | null = $derived(this.list.find((record) => !isOver(record)) ?? null);

  #socket: LiveSocket | null = null;
  #nextSeq = 0;
  #latest: ProbeResult = emptyResult;
  #isFrameAsked = false;

  start(): void {
    this.#socket = connectSocket({
      onRecord: (record) => this.#note(record, "told"),
      onEvents: (runId, seq, events) => this.#take(runId, seq, events),
      onRemoved: (runId) => {
        this.list = this.list.filter(({ id }) => id !== runId);
      },
      onConnection: (isConnected) => {
        const isBack = isConnected && !this.isConnected;
        this.isConnected = isConnected;
        if (isBack) void this.#resume();
      },
    });
    void this.refresh();
  }

  async refresh(): Promise<void> {
    try {
      this.list = await call(endpoints.runs, { limit: 500 });
    } catch {
      // The banner already says that the server is away; the list comes with the next connection.
    }
  }

  async begin(request: RunRequest): Promise<RunRecord | null> {
    this.error = null;
    try {
      const record = await call(endpoints.startRun, request);
      this.#note(record);
      this.#show(record.id, emptyResult);
      void this.#watch(record.id);
      return record;
    } catch (error) {
      this.error = failure(error);
      return null;
    }
  }

  /** Brings a run on the screen: stored ones over HTTP, running ones live. */
  async open(runId: string): Promise<RunRecord | null> {
    this.error = null;
    try {
      const stored = await call(endpoints.run, { id: runId });
      this.#note(stored.record);
      if (isOver(stored.record)) {
        const arrays = await arraysOf(runId, stored.arrays);
        const { figures, checks, finding, cost } = stored;
        this.#show(runId, { figures, checks, finding, cost, arrays, progress: stored.record.progress });
      } else {
        this.#show(runId, emptyResult);
        void this.#watch(runId);
      }
      return stored.record;
    } catch (error) {
      this.close();
      this.error = failure(error);
      return null;
    }
  }

  close(): void {
    if (this.currentId !== null) this.#socket?.unwatch(this.currentId);
    this.currentId = null;
    this.#latest = this.result = emptyResult;
    this.error = null;
  }

  async cancel(runId: string): Promise<void> {
    try {
      this.#note(await call(endpoints.cancelRun, { id: runId }));
    } catch (error) {
      this.error = failure(error);
    }
  }

  /** Stops after the step it is at, with a checkpoint. */
  async pause(runId: string): Promise<void> {
    await this.#ask(() => call(endpoints.pauseRun, { id: runId }));
  }

  /** The same run goes on from its last checkpoint. */
  async resume(runId: string): Promise<void> {
    await this.#ask(() => call(endpoints.resumeRun, { id: runId }));
  }

  /** A new run from a checkpoint of another, with other settings from there. */
  async branch(runId: string, step: number, params: Readonly<Record<string, unknown>>): Promise<RunRecord | null> {
    const record = await this.#ask(() => call(endpoints.branchRun, { id: runId, step, params }));
    if (record) {
      this.#show(record.id, emptyResult);
      void this.#watch(record.id);
    }
    return record;
  }

  async #ask(change: () => Promise<RunRecord>): Promise<RunRecord | null> {
    this.error = null;
    try {
      const record = await change();
      this.#note(record, "asked");
      return record;
    } catch (error) {
      this.error = failure(error);
      return null;
    }
  }

  #show(runId: string, result: ProbeResult): void {
    if (this.currentId !== null && this.currentId !== runId) this.#socket?.unwatch(this.currentId);
    this.currentId = runId;
    this.#latest = this.result = result;
  }

  async #watch(runId: string): Promise<void> {
    this.#nextSeq = 0;
    const answer = await this.#socket?.watch(runId);
    if (!answer || this.currentId !== runId) return;
    if (answer.ok) this.#note(answer.record);
    else this.error = new ApiError(answer.error);
  }

  #take(runId: string, seq: number, events: readonly ProbeEvent[]): void {
    if (runId !== this.currentId) return;
    if (seq !== 0 && seq !== this.#nextSeq) {
      // Something was left out; watching anew starts with a snapshot. What is on screen stays until it comes.
      this.#nextSeq = Infinity;
      void this.#watch(runId);
      return;
    }
    this.#nextSeq = seq + 1;
    this.#latest = events.reduce(applyEvent, seq === 0 ? emptyResult : this.#latest);
    if (this.#isFrameAsked) return;
    this.#isFrameAsked = true;
    const show = (): void => {
      this.#isFrameAsked = false;
      if (this.currentId === runId) this.result = this.#latest;
    };
    if (this.current && isResumable(this.current)) setTimeout(() => requestAnimationFrame(show), longRunFrameMs);
    else requestAnimationFrame(show);
  }

  async #resume(): Promise<void> {
    await this.refresh();
    if (this.current && !isOver(this.current)) void this.#watch(this.current.id);
    // It ended while the line was down.
    else if (this.current) void this.open(this.current.id);
  }

  /**
   * An answer over HTTP may come later than what the socket has told since, so a run never goes back because of one,
   * unless it was the answer to going on; what the socket tells is in order.
   */
  #note(record: RunRecord, how: "answered" | "asked" | "told" = "answered"): void {
    const before = this.list.find(({ id }) => id === record.id);
    const goesBack = before !== undefined && stage(before) > stage(record);
    if (goesBack && (how === "answered" || (how === "asked" && !isOver(before)))) return;
    this.list = before ? this.list.map((known) => (known.id === record.id ? record : known)) : [record, ...this.list];
    if (goesBack && isOver(before) && record.id === this.currentId) void this.#watch(record.id);
  }
}
export const runs = new RunsState();
