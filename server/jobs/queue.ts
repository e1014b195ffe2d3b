/**
 * The words in which work is handed over: runs by id, whose story comes back as events, and short questions, which are answered. All of
 * it can be written down and sent, so that who does the work may be a process of this machine (`LocalQueue`) or another machine.
 */
import type { ProbeEvent } from "../../probes/result.ts";
import type { RunOutcome, RunTask, TaskError, TaskKind, TaskOf, TaskTable } from "./messages.ts";

export interface QueuedRun extends RunTask {
  readonly id: string;
}
/** What happens to a run, in order: it starts, it tells, and it ends once, with an outcome or an error; cancelled before its start, it only ends. */
export type QueueEvent = { readonly id: string } & (
  | { readonly type: "started" }
  | { readonly type: "told"; readonly event: ProbeEvent }
  | { readonly type: "ended"; readonly outcome: RunOutcome }
  | { readonly type: "failed"; readonly error: TaskError }
);

/** A question's answer is awaited; it is done when the one who asks goes. */
export type QuestionKind = Exclude<TaskKind, "run" | "prepare">;
export interface QuestionHooks {
  readonly signal?: AbortSignal;
  readonly onStart?: () => void;
}

export interface Queue {
  /** Runs that wait and that are worked on. */
  readonly counts: { readonly queued: number; readonly running: number };
  /**
   * @param prepare makes what the run needs, while a place is kept for it; when it throws, nothing is queued
   * @throws "job.queueFull" before anything is prepared, and what `prepare` throws
   */
  enqueue(run: QueuedRun, prepare: () => Promise<void>): Promise<void>;
  /** Stops it as soon as it can; it fails with "job.cancelled". A run that is not here, or has ended, is left alone. */
  cancel(id: string): void;
  /** Lets it write down where it is and end; one that waits has nothing to write down, and ends as if cancelled. */
  pause(id: string): void;
  /** Calls back with what happens to every run. @returns stops that */
  events(listener: (event: QueueEvent) => void): () => void;
  /** @throws "job.queueFull", "job.cancelled", "job.tookTooLong", "job.workerDied", and what the question throws */
  ask<K extends QuestionKind>(question: TaskOf<K>, hooks?: QuestionHooks): Promise<TaskTable[K]["output"]>;
}
