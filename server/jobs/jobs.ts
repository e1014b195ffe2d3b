/** All work that is not serving: lanes for training, for other runs and for short questions, so that neither a card nor a probe waits for a run of hours. */
import type { ChildProcess } from "node:child_process";
import { jobKinds, type JobKind, type Lane } from "../jobKinds.ts";
import { WorkerLane } from "./workerLane.ts";
import type { TaskHooks } from "./workerLane.ts";
import type { Task, TaskKind, TaskOf, TaskTable } from "./messages.ts";

export interface JobsOptions {
  readonly startWorker: () => ChildProcess;
  readonly cancelGraceMs?: number;
  readonly questionLimitMs?: number;
}
/** A card of a large adapter takes seconds; what takes this long is stuck, and others wait behind it. */
const questionLimitMs = 60_000;
/** Whoever asked is gone: a worker that does not stop soon is not waited for. */
const questionGraceMs = 2000;
const maxWaitingRuns = 64;
const maxWaitingQuestions = 256;

export class Jobs {
  readonly #runs: Readonly<Record<Lane, WorkerLane>>;
  readonly #questions: WorkerLane;

  constructor({ startWorker, cancelGraceMs = 10_000, questionLimitMs: limitMs = questionLimitMs }: JobsOptions) {
    const lane = (): WorkerLane => new WorkerLane({ start: startWorker, maxWaiting: maxWaitingRuns, cancelGraceMs });
    this.#runs = { probes: lane(), training: lane() };
    this.#questions = new WorkerLane({ start: startWorker, maxWaiting: maxWaitingQuestions, cancelGraceMs: Math.min(cancelGraceMs, questionGraceMs), limitMs });
  }

  get counts(): { queued: number; running: number } {
    const all = Object.values(this.#runs);
    return { queued: all.reduce((sum, { queued }) => sum + queued, 0), running: all.filter(({ isRunning }) => isRunning).length };
  }

  /** Starts the workers that the first look needs; the one for training comes with the first training. */
  warm(): void {
    this.#runs.probes.warm();
    this.#questions.warm();
  }

  /** Keeps a place for a run of this kind, until the function that it returns is called. @throws "job.queueFull" */
  reserve(kind: JobKind): () => void {
    return this.#runs[jobKinds[kind].lane].reserve();
  }

  execute<K extends TaskKind>(task: TaskOf<K>, hooks: TaskHooks = {}): Promise<TaskTable[K]["output"]> {
    return this.#laneOf(task as Task).execute(task, hooks);
  }

  #laneOf(task: Task): WorkerLane {
    return task.kind === "run" ? this.#runs[jobKinds[task.input.kind].lane] : this.#questions;
  }

  close(): void {
    for (const lane of [...Object.values(this.#runs), this.#questions]) lane.close();
  }
}
