/** All work that is not serving: one lane for runs, one for short questions, so a card never waits behind a sweep. */
import type { ChildProcess } from "node:child_process";
import { WorkerLane } from "./workerLane.ts";
import type { TaskHooks } from "./workerLane.ts";
import type { TaskKind, TaskOf, TaskTable } from "./messages.ts";

export interface JobsOptions {
  readonly startWorker: () => ChildProcess;
  readonly cancelGraceMs?: number;
}
const maxWaitingRuns = 64;
const maxWaitingQuestions = 256;

export class Jobs {
  readonly #runs: WorkerLane;
  readonly #questions: WorkerLane;

  constructor({ startWorker, cancelGraceMs = 10_000 }: JobsOptions) {
    this.#runs = new WorkerLane({ start: startWorker, maxWaiting: maxWaitingRuns, cancelGraceMs });
    this.#questions = new WorkerLane({ start: startWorker, maxWaiting: maxWaitingQuestions, cancelGraceMs });
  }

  get counts(): { queued: number; running: number } {
    return { queued: this.#runs.queued, running: this.#runs.isRunning ? 1 : 0 };
  }

  warm(): void {
    this.#runs.warm();
    this.#questions.warm();
  }

  execute<K extends TaskKind>(task: TaskOf<K>, hooks: TaskHooks = {}): Promise<TaskTable[K]["output"]> {
    return (task.kind === "run" ? this.#runs : this.#questions).execute(task, hooks);
  }

  close(): void {
    this.#runs.close();
    this.#questions.close();
  }
}
