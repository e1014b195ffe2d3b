/** The queue of one machine: lanes for training, for other runs and for short questions, so that neither a card nor a probe waits for a run of hours. */
import type { ChildProcess } from "node:child_process";
import type { Lane } from "../jobKinds/jobKind.ts";
import { jobKinds } from "../jobKinds/registry.ts";
import type { Likely, TaskOf, TaskTable } from "./messages.ts";
import type { QuestionHooks, QuestionKind, Queue, QueuedRun, QueueEvent } from "./queue.ts";
import { taskError } from "./taskError.ts";
import { WorkerLane } from "./workerLane.ts";

export interface LocalQueueOptions {
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

interface Control {
  readonly cancel: AbortController;
  readonly pause: AbortController;
}

export class LocalQueue implements Queue {
  readonly #lanes: Readonly<Record<Lane, WorkerLane>>;
  readonly #questions: WorkerLane;
  /** Of runs that wait or run. */
  readonly #controls = new Map<string, Control>();
  readonly #listeners = new Set<(event: QueueEvent) => void>();

  constructor({ startWorker, cancelGraceMs = 10_000, questionLimitMs: limitMs = questionLimitMs }: LocalQueueOptions) {
    const lane = (): WorkerLane => new WorkerLane({ start: startWorker, maxWaiting: maxWaitingRuns, cancelGraceMs });
    this.#lanes = { probes: lane(), training: lane() };
    this.#questions = new WorkerLane({ start: startWorker, maxWaiting: maxWaitingQuestions, cancelGraceMs: Math.min(cancelGraceMs, questionGraceMs), limitMs });
  }

  get counts(): { queued: number; running: number } {
    const all = Object.values(this.#lanes);
    return { queued: all.reduce((sum, { queued }) => sum + queued, 0), running: all.filter(({ isRunning }) => isRunning).length };
  }

  /** Starts the workers that the first look needs, with what it is likely to be at; the one for training comes with the first training. */
  warm(likely: Likely | null = null): void {
    this.#lanes.probes.warm();
    // Who asks for the same hears what is wrong with it.
    if (likely) this.#lanes.probes.execute({ kind: "prepare", input: likely }).catch(() => undefined);
    this.#questions.warm();
  }

  async enqueue({ id, ...input }: QueuedRun, prepare: () => Promise<void>): Promise<void> {
    const lane = this.#lanes[jobKinds[input.kind].lane];
    const giveUpPlace = lane.reserve();
    try {
      await prepare();
    } finally {
      giveUpPlace();
    }
    const control: Control = { cancel: new AbortController(), pause: new AbortController() };
    this.#controls.set(id, control);
    const done = lane.execute(
      { kind: "run", input },
      {
        signal: control.cancel.signal,
        pause: control.pause.signal,
        onStart: () => this.#tell({ id, type: "started" }),
        onEvent: (event) => this.#tell({ id, type: "told", event }),
      },
    );
    done.then(
      (outcome) => this.#end({ id, type: "ended", outcome }),
      (thrown: unknown) => this.#end({ id, type: "failed", error: taskError(thrown) }),
    );
  }

  cancel(id: string): void {
    this.#controls.get(id)?.cancel.abort();
  }

  pause(id: string): void {
    this.#controls.get(id)?.pause.abort();
  }

  events(listener: (event: QueueEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  ask<K extends QuestionKind>(question: TaskOf<K>, hooks: QuestionHooks = {}): Promise<TaskTable[K]["output"]> {
    return this.#questions.execute(question, hooks);
  }

  close(): void {
    for (const lane of [...Object.values(this.#lanes), this.#questions]) lane.close();
  }

  #end(event: QueueEvent): void {
    this.#controls.delete(event.id);
    this.#tell(event);
  }

  #tell(event: QueueEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
