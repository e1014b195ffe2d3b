/** The inside of a worker process: takes tasks, runs them one at a time, answers. What it runs is injected. */
import type { ProbeEvent } from "../../probes/result.ts";
import type { Subject } from "../runs/subject.ts";
import type { TokenizedText, TrainingPreview } from "../wire.ts";
import { executeRun } from "./executeRun.ts";
import { jobKinds } from "../jobKinds/registry.ts";
import { RunLock } from "./runLock.ts";
import type { ProbeTable } from "./runProbe.ts";
import { SubjectCache, type OpenSubject } from "./subjectCache.ts";
import { taskError } from "./taskError.ts";
import type { FigureFile, FigureRequest } from "../reports/figureRequest.ts";
import type { FromWorker, Likely, RunOutcome, RunTask, Task, ToWorker } from "./messages.ts";
import { endWithParent } from "./orphanWatch.ts";
import { Pause } from "./pause.ts";

export interface WorkerTools {
  readonly probes: ProbeTable;
  readonly openSubject: OpenSubject;
  readonly tokenize: (subject: Subject, text: string) => TokenizedText;
  readonly preview: (subject: Subject, params: unknown) => Promise<TrainingPreview>;
  readonly renderFigure: (request: FigureRequest) => Promise<FigureFile>;
  readonly doctorReport: () => Promise<object>;
}

/** What a message can change of a task that runs. */
interface Control {
  readonly controller: AbortController;
  readonly pause: Pause;
}

export function serveTasks(tools: WorkerTools): void {
  endWithParent();
  const subjects = new SubjectCache(tools.openSubject);
  const controls = new Map<number, Control>();
  let tail = Promise.resolve();

  const post = (message: FromWorker): void => {
    process.send?.(message);
  };

  const runTask = async (taskId: number, { kind, request, folder }: RunTask, { controller, pause }: Control): Promise<RunOutcome> => {
    const sink = (event: ProbeEvent): void => post({ type: "event", taskId, event });
    const lock = jobKinds[kind].isResumable ? await RunLock.take(folder) : null;
    try {
      const openSubject: OpenSubject = (asked, begunOn) => subjects.get(asked, begunOn);
      return await executeRun(request, { probes: tools.probes, openSubject }, sink, controller.signal, { folder, pause });
    } finally {
      lock?.release();
    }
  };

  const prepare = async ({ subject: request, run }: Likely, signal: AbortSignal): Promise<null> => {
    const subject = await subjects.get(request);
    const probe = run && tools.probes[run.probe];
    if (probe) for await (const { type } of probe.run(subject, probe.params.parse(run.params), signal)) if (type === "tile") break;
    return null;
  };

  const execute = async (taskId: number, task: Task, control: Control): Promise<unknown> => {
    switch (task.kind) {
      case "run":
        return runTask(taskId, task.input, control);
      case "prepare":
        return prepare(task.input, control.controller.signal);
      case "card":
        return (await subjects.get(task.input)).card;
      case "tokenize":
        return tools.tokenize(await subjects.get(task.input.subject), task.input.text);
      case "preview":
        return tools.preview(await subjects.get(task.input.subject), task.input.params);
      case "figure":
        return tools.renderFigure(task.input);
      case "doctor":
        return tools.doctorReport();
      default:
        return task satisfies never;
    }
  };

  // Ctrl+C reaches the whole process group: the server decides what it means for a job.
  process.on("SIGINT", () => undefined);
  // Without a server there is nobody to work for.
  process.on("disconnect", () => process.exit());
  process.on("uncaughtException", (error) => {
    process.send?.({ type: "dying", words: error.message } satisfies FromWorker, undefined, undefined, () => process.exit(1));
  });
  process.on("message", (message: ToWorker) => {
    if (message.type !== "start") {
      const control = controls.get(message.taskId);
      if (message.type === "cancel") control?.controller.abort();
      else control?.pause.ask();
      return;
    }
    const { taskId, task } = message;
    const control: Control = { controller: new AbortController(), pause: new Pause() };
    controls.set(taskId, control);
    tail = tail
      .then(() => execute(taskId, task, control))
      .then(
        (output) => post({ type: "done", taskId, output }),
        (thrown: unknown) => post({ type: "failed", taskId, error: taskError(thrown) }),
      )
      .finally(() => controls.delete(taskId));
  });
}
