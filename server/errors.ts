/** The one error class, and the one table of codes with the HTTP status each becomes. */

export const errorStatus = {
  "file.notFound": 404,
  "file.outsideRoots": 403,
  "file.unreadable": 422,
  "file.changed": 409,
  "safetensors.malformed": 422,
  "safetensors.unsupportedDtype": 422,
  "checkpoint.missingShard": 422,
  "checkpoint.missingTensor": 422,
  "checkpoint.shapeMismatch": 422,
  "config.malformed": 422,
  "config.unsupported": 422,
  "tokenizer.malformed": 422,
  "adapter.malformed": 422,
  "adapter.unknownMethod": 400,
  "adapter.unsupported": 422,
  "adapter.shapeMismatch": 422,
  "adapter.wrongBase": 422,
  "adapter.unknownTensor": 422,
  "adapter.matchedNothing": 422,
  "adapter.unknown": 404,
  "model.unknownFamily": 422,
  "site.unknown": 404,
  "hook.unknown": 404,
  "hook.neverFired": 500,
  "hook.badShape": 422,
  "engine.unknown": 400,
  "engine.unavailable": 503,
  "engine.unsupportedOp": 500,
  "program.badInput": 500,
  "prompt.empty": 422,
  "prompt.tooLong": 422,
  "prompt.unknownToken": 422,
  "prompt.lengthMismatch": 422,
  "training.badOptions": 400,
  "training.badParams": 400,
  "training.unknownMethod": 404,
  "training.diverged": 422,
  "training.noCheckpoint": 409,
  "training.overBudget": 422,
  "training.diskFull": 507,
  "file.diskFull": 507,
  "data.empty": 422,
  "data.malformed": 422,
  "data.unsupported": 422,
  "probe.unknown": 404,
  "probe.badParams": 400,
  "probe.notApplicable": 422,
  "run.unknown": 404,
  "run.notFinished": 409,
  "run.notTraining": 409,
  "run.isDone": 409,
  "run.unwritable": 507,
  "figure.unknown": 404,
  "run.overBudget": 422,
  "job.cancelled": 409,
  "job.workerDied": 500,
  "job.tookTooLong": 504,
  "job.queueFull": 429,
  "job.serverStopped": 500,
  "subject.unknown": 404,
  "spectrum.zero": 422,
  "spectrum.notConverged": 500,
  "request.malformed": 400,
  "request.tooLarge": 413,
  "request.tooMany": 429,
  "request.wrongHost": 421,
  "request.wrongOrigin": 403,
  "request.unauthorised": 401,
  "request.notFound": 404,
  "usage.badFlag": 400,
  "usage.portBusy": 500,
  internal: 500,
} as const;
export type ErrorCode = keyof typeof errorStatus;

export interface WorkbenchErrorOptions extends ErrorOptions {
  /** The parameter that it is about, by dotted path. */
  readonly field?: string | undefined;
}

/** An error a person can act on: the message says where, what was found, and what was expected. */
export class WorkbenchError extends Error {
  override readonly name = "WorkbenchError";
  readonly code: ErrorCode;
  readonly field: string | undefined;
  constructor(code: ErrorCode, message: string, { field, ...options }: WorkbenchErrorOptions = {}) {
    super(readable(message), options);
    this.code = code;
    this.field = field;
  }
}

/** Does the work; an error that does not say which parameter it is about is about this one. */
export function inField<T>(field: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof WorkbenchError) || error.field !== undefined) throw error;
    throw new WorkbenchError(error.code, error.message, { cause: error, field });
  }
}

/** As much of a schema's complaint as says where it is. */
interface Issue {
  readonly path: readonly PropertyKey[];
  /** Names that the schema does not know. */
  readonly keys?: readonly string[];
}

/**
 * The parameter that a schema's first complaint is about, by dotted path; a name that is not known is the parameter itself.
 * @param under path of what was parsed, "options"
 */
export function fieldOfIssue([first]: readonly Issue[], under: readonly string[] = []): string | undefined {
  const path = first ? [...under, ...first.path, ...(first.keys ?? []).slice(0, 1)].map(String).join(".") : "";
  return path === "" ? undefined : path;
}

/** What a stranger's file says gets into messages: nothing in them may steer a terminal, and none is longer than a page. */
const longestMessage = 1800;

function readable(message: string): string {
  const visible = message.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
  if (visible.length <= longestMessage) return visible;
  const half = longestMessage / 2 - 40;
  return `${visible.slice(0, half)} … (${visible.length - 2 * half} more characters) … ${visible.slice(-half)}`;
}
