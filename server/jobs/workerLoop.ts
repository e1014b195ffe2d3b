/** The inside of a worker process: takes tasks, runs them one at a time, answers. What it runs is injected. */
import type { Subject } from "../runs/subject.ts";
import type { TokenizedText } from "../wire.ts";
import { provenanceHashes } from "./provenanceHashes.ts";
import { probeNamed, runProbe, type ProbeTable } from "./runProbe.ts";
import { SubjectCache, type OpenSubject } from "./subjectCache.ts";
import { taskError } from "./taskError.ts";
import type { FigureFile, FigureRequest } from "../reports/figureRequest.ts";
import type { FromWorker, Task, ToWorker } from "./messages.ts";

export interface WorkerTools {
  readonly probes: ProbeTable;
  readonly openSubject: OpenSubject;
  readonly engineName: (subject: Subject) => string;
  readonly tokenize: (subject: Subject, text: string) => TokenizedText;
  readonly renderFigure: (request: FigureRequest) => Promise<FigureFile>;
  readonly doctorReport: () => Promise<object>;
}

export function serveTasks(tools: WorkerTools): void {
  const subjects = new SubjectCache(tools.openSubject);
  const controllers = new Map<number, AbortController>();
  let tail = Promise.resolve();

  const post = (message: FromWorker): void => {
    process.send?.(message);
  };

  const execute = async (taskId: number, task: Task, signal: AbortSignal): Promise<unknown> => {
    switch (task.kind) {
      case "run": {
        const { subject: request, probe: name, params } = task.input;
        const probe = probeNamed(tools.probes, name);
        const subject = await subjects.get(request);
        await runProbe(probe, subject, params, signal, (event) => {
          post({ type: "event", taskId, event });
        });
        return { engine: tools.engineName(subject), hashes: await provenanceHashes(request) };
      }
      case "card":
        return (await subjects.get(task.input)).card;
      case "tokenize":
        return tools.tokenize(await subjects.get(task.input.subject), task.input.text);
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
    if (message.type === "cancel") {
      controllers.get(message.taskId)?.abort();
      return;
    }
    const { taskId, task } = message;
    const controller = new AbortController();
    controllers.set(taskId, controller);
    tail = tail
      .then(() => execute(taskId, task, controller.signal))
      .then(
        (output) => post({ type: "done", taskId, output }),
        (thrown: unknown) => post({ type: "failed", taskId, error: taskError(thrown) }),
      )
      .finally(() => controllers.delete(taskId));
  });
}
