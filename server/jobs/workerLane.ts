/** One worker process and the tasks waiting for it. A worker that dies fails its task only; the next task gets a new one. */
import type { ChildProcess } from "node:child_process";
import type { ProbeEvent } from "../../probes/result.ts";
import { WorkbenchError } from "../errors.ts";
import { cancelledError } from "./taskError.ts";
import type { FromWorker, TaskKind, TaskOf, TaskTable, ToWorker } from "./messages.ts";

export interface TaskHooks {
  /** Stops it as soon as it can. */
  readonly signal?: AbortSignal;
  /** Lets it write down where it is and end; only tasks with a folder of their own heed it. */
  readonly pause?: AbortSignal;
  readonly onStart?: () => void;
  readonly onEvent?: (event: ProbeEvent) => void;
}
interface Waiting extends TaskHooks {
  readonly taskId: number;
  readonly task: TaskOf<TaskKind>;
  readonly resolve: (output: unknown) => void;
  readonly reject: (error: Error) => void;
}

export interface LaneOptions {
  readonly start: () => ChildProcess;
  readonly maxWaiting: number;
  /** A task that does not stop this long after it was cancelled loses its worker. */
  readonly cancelGraceMs?: number;
  /** A task that takes longer loses its worker, so that those behind it get another. */
  readonly limitMs?: number;
}

export class WorkerLane {
  readonly #options: LaneOptions;
  readonly #waiting: Waiting[] = [];
  #running: Waiting | null = null;
  #worker: ChildProcess | null = null;
  #nextId = 0;
  #reserved = 0;
  #closed = false;

  constructor(options: LaneOptions) {
    this.#options = options;
  }

  get queued(): number {
    return this.#waiting.length;
  }
  get isRunning(): boolean {
    return this.#running !== null && this.#running.task.kind !== "prepare";
  }

  /** Starts the worker ahead of the first task, so that task does not wait for it. */
  warm(): void {
    this.#ensureWorker();
  }

  /**
   * Keeps a place for a task that is on its way.
   * @returns gives the place up, for the task to take it
   * @throws "job.queueFull" when there is none
   */
  reserve(): () => void {
    const taken = this.#waiting.length + this.#reserved;
    if (taken >= this.#options.maxWaiting)
      throw new WorkbenchError("job.queueFull", `${taken} jobs are waiting; expected fewer than ${this.#options.maxWaiting}: cancel some or wait`);
    this.#reserved++;
    return () => void this.#reserved--;
  }

  /** @throws "job.queueFull", "job.cancelled", "job.tookTooLong", "job.workerDied", and whatever the task throws */
  execute<K extends TaskKind>(task: TaskOf<K>, hooks: TaskHooks = {}): Promise<TaskTable[K]["output"]> {
    return new Promise((resolve, reject) => {
      if (hooks.signal?.aborted) {
        reject(cancelledError());
        return;
      }
      if (this.#closed) {
        reject(new WorkbenchError("job.cancelled", "the server is stopping"));
        return;
      }
      this.reserve()();
      const waiting: Waiting = { ...hooks, taskId: this.#nextId++, task, resolve: resolve as (output: unknown) => void, reject };
      hooks.signal?.addEventListener("abort", () => this.#cancel(waiting), { once: true });
      hooks.pause?.addEventListener("abort", () => this.#pause(waiting), { once: true });
      this.#waiting.push(waiting);
      this.#next();
    });
  }

  close(): void {
    this.#closed = true;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(new WorkbenchError("job.cancelled", "the server is stopping"));
    this.#giveUp(new WorkbenchError("job.cancelled", "the server is stopping"));
  }

  #cancel(task: Waiting): void {
    const index = this.#waiting.indexOf(task);
    if (index >= 0) {
      this.#waiting.splice(index, 1);
      task.reject(cancelledError());
      return;
    }
    if (this.#running !== task) return;
    this.#post({ type: "cancel", taskId: task.taskId });
    const timer = setTimeout(() => {
      if (this.#running === task) this.#giveUp(cancelledError());
    }, this.#options.cancelGraceMs ?? 10_000);
    timer.unref();
  }

  /** One that waits has nothing to write down: it ends as if cancelled. */
  #pause(task: Waiting): void {
    if (this.#running === task) this.#post({ type: "pause", taskId: task.taskId });
    else this.#cancel(task);
  }

  #next(): void {
    if (this.#running || this.#closed) return;
    const next = this.#waiting.shift();
    if (!next) return;
    this.#running = next;
    next.onStart?.();
    this.#ensureWorker();
    if (this.#worker) setHold(this.#worker, true);
    this.#limit(next);
    this.#post({ type: "start", taskId: next.taskId, task: next.task } as ToWorker);
  }

  #limit(task: Waiting): void {
    const { limitMs } = this.#options;
    if (limitMs === undefined) return;
    const timer = setTimeout(() => {
      if (this.#running !== task) return;
      const seconds = Math.round(limitMs / 1000);
      this.#giveUp(
        new WorkbenchError("job.tookTooLong", `this took more than ${seconds} s and was stopped; the file or folder it is about may be very large or damaged`),
      );
    }, limitMs);
    timer.unref();
  }

  /** Fails what runs, and ends the worker that does not stop by itself. */
  #giveUp(error: WorkbenchError): void {
    const worker = this.#worker;
    this.#died(error);
    worker?.kill("SIGKILL");
  }

  #post(message: ToWorker): void {
    this.#worker?.send(message);
  }

  #ensureWorker(): void {
    if (this.#worker) return;
    const worker = this.#options.start();
    this.#worker = worker;
    let cause = "";
    // A worker that was given up on may still speak; only the current one is listened to.
    worker.on("message", (message: FromWorker) => {
      if (message.type === "dying") cause = message.words;
      else if (this.#worker === worker) this.#receive(message);
    });
    const onEnd = (why: string): void => {
      if (this.#worker !== worker) return;
      this.#died(
        new WorkbenchError(
          "job.workerDied",
          `the worker process died while it ran this job (${cause || why}); the server goes on and the next job gets a new one`,
        ),
      );
    };
    worker.on("error", (error) => onEnd(error.message));
    worker.on("exit", (code, signal) =>
      onEnd(signal === null ? `it exited with code ${code ?? "unknown"}` : `it was ended by ${signal}${signalWords[signal] ?? ""}`),
    );
    setHold(worker, this.#running !== null);
  }

  #receive(message: Exclude<FromWorker, { type: "dying" }>): void {
    const running = this.#running;
    if (!running || message.taskId !== running.taskId) return;
    switch (message.type) {
      case "event":
        running.onEvent?.(message.event);
        return;
      case "done":
        running.resolve(message.output);
        break;
      case "failed": {
        const { code, message: words, field, stack } = message.error;
        const error = new WorkbenchError(code, words, { field });
        if (stack !== undefined) error.stack = stack;
        running.reject(error);
        break;
      }
      default:
        message satisfies never;
    }
    this.#running = null;
    if (this.#worker) setHold(this.#worker, false);
    this.#next();
  }

  #died(error: WorkbenchError): void {
    this.#worker = null;
    const running = this.#running;
    this.#running = null;
    running?.reject(error);
    this.#next();
  }
}

const signalWords: Readonly<Record<string, string>> = {
  SIGKILL: ", as when memory runs out",
  SIGBUS: ", as when a file that is in use is cut short, or the disk is full",
  SIGSEGV: ", a fault in native code",
};

/** A working worker keeps this process alive, an idle one does not. */
function setHold(worker: ChildProcess, isHeld: boolean): void {
  for (const handle of [worker, worker.channel]) {
    if (isHeld) handle?.ref();
    else handle?.unref();
  }
}
