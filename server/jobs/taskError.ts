/** Any thrown thing as the plain record that crosses threads and the wire; what is not ours becomes "internal". */
import { WorkbenchError } from "../errors.ts";
import type { WireError } from "../wire.ts";
import type { TaskError } from "./messages.ts";

export function taskError(thrown: unknown): TaskError {
  if (thrown instanceof WorkbenchError) return { code: thrown.code, message: thrown.message, field: thrown.field, stack: thrown.stack };
  if (thrown instanceof Error) return { code: "internal", message: `internal: ${thrown.message}`, field: undefined, stack: thrown.stack };
  return { code: "internal", message: `internal: ${String(thrown)}`, field: undefined, stack: undefined };
}

/** As it is told to a client. @param requestId under which the log has the details */
export function toldError({ code, message, field }: Pick<TaskError, "code" | "message" | "field">, requestId: string): WireError {
  return { code, message, requestId, ...(field === undefined ? {} : { field }) };
}

/** Rejects with this when a task was cancelled. */
export function cancelledError(): WorkbenchError {
  return new WorkbenchError("job.cancelled", "the job was cancelled");
}
