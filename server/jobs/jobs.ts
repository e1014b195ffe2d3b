/** All work that is not serving: lanes for training, for other runs and for short questions, so that neither a card nor a probe waits for a run of hours. */
import type { ChildProcess } from "node:child_process";
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
  readonly #training: WorkerLane;
  readonly #runs: WorkerLane;
  readonly #questions: WorkerLane;

  constructor({ startWorker, cancelGraceMs = 10_000, questionLimitMs: limitMs = questionLimitMs }: JobsOptions) {
    this.#training = new WorkerLane({ start: startWorker, maxWaiting: maxWaitingRuns, cancelGraceMs });
    this.#runs = new WorkerLane({ start: startWorker, maxWaiting: maxWaitingRuns, cancelGraceMs });
    this.#questions = new WorkerLane({ start: startWorker, maxWaiting: maxWaitingQuestions, cancelGraceMs: Math.min(cancelGraceMs, questionGraceMs), limitMs });
  }

  get counts(): { queued: number; running: number } {
    const lanes = [this.#training, this.#runs];
    return { queued: lanes.reduce((sum, { queued }) => sum + queued, 0), running: lanes.filter(({ isRunning }) => isRunning).length };
  }

  /** Starts the workers that the first look needs; the one for training comes with the first training. */
  warm(): void {
    this.#runs.warm();
    this.#questions.warm();
  }

  /** @throws "job.queueFull" when a run of this kind would find no place */
  checkRoom(trains: boolean): void {
    (trains ? this.#training : this.#runs).checkRoom();
  }

  execute<K extends TaskKind>(task: TaskOf<K>, hooks: TaskHooks = {}): Promise<TaskTable[K]["output"]> {
    return this.#laneOf(task as Task).execute(task, hooks);
  }

  #laneOf(task: Task): WorkerLane {
    if (task.kind !== "run") return this.#questions;
    return task.input.folder === null ? this.#runs : this.#training;
  }

  close(): void {
    this.#training.close();
    this.#runs.close();
    this.#questions.close();
  }
}
