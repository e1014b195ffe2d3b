/** What the server and a worker process say to each other. */
import type { ProbeEvent } from "../../probes/result.ts";
import type { FigureFile, FigureRequest } from "../reports/figureRequest.ts";
import type { EngineName } from "../tensors/engine.ts";
import type { ErrorCode } from "../errors.ts";
import type { JobKind } from "../jobKinds/registry.ts";
import type { RunRequest, SubjectCard, SubjectRequest, TokenizedText, TrainingPreview } from "../wire.ts";

export interface EngineChoice {
  readonly engine?: EngineName;
  readonly threads?: number;
}

export interface RunTask {
  readonly kind: JobKind;
  readonly request: RunRequest;
  /** The run's own; kinds that can go on keep their state there. */
  readonly folder: string;
}
/** What a run leaves beside its events. */
export interface RunOutcome {
  readonly engine: string;
  readonly hashes: Readonly<Record<string, string>>;
  /** What a reader of the numbers must know of the model and the adapters. */
  readonly warnings: readonly string[];
  /** Whether it stopped because it was asked to pause. */
  readonly isPaused: boolean;
}
/** What is likely to be asked first: opened, and the probe run as far as its first numbers, so that its programs are made. */
export interface Likely {
  readonly subject: SubjectRequest;
  readonly run: { readonly probe: string; readonly params: Readonly<Record<string, unknown>> } | null;
}
/** The kinds of work: what goes in, what comes out. */
export interface TaskTable {
  prepare: { input: Likely; output: null };
  run: { input: RunTask; output: RunOutcome };
  card: { input: SubjectRequest; output: SubjectCard };
  tokenize: { input: { subject: SubjectRequest; text: string }; output: TokenizedText };
  preview: { input: { subject: SubjectRequest; params: unknown }; output: TrainingPreview };
  figure: { input: FigureRequest; output: FigureFile };
  doctor: { input: null; output: object };
}
export type TaskKind = keyof TaskTable;
export type TaskOf<K extends TaskKind> = { readonly kind: K; readonly input: TaskTable[K]["input"] };
export type Task = { [K in TaskKind]: TaskOf<K> }[TaskKind];

export interface TaskError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly field: string | undefined;
  /** Only for the log. */
  readonly stack: string | undefined;
}

export type ToWorker =
  { readonly type: "start"; readonly taskId: number; readonly task: Task } | { readonly type: "cancel" | "pause"; readonly taskId: number };
export type FromWorker =
  | { readonly type: "event"; readonly taskId: number; readonly event: ProbeEvent }
  | { readonly type: "done"; readonly taskId: number; readonly output: unknown }
  | { readonly type: "failed"; readonly taskId: number; readonly error: TaskError }
  | { readonly type: "dying"; readonly words: string };
