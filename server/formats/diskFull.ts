/** What a write says when there is no room, by the disk or by a quota. */
import { WorkbenchError } from "../errors.ts";

const fullCodes: ReadonlySet<unknown> = new Set(["ENOSPC", "EDQUOT", "EFBIG", "file.diskFull"]);

export function isDiskFull(error: unknown): boolean {
  return error instanceof Error && "code" in error && fullCodes.has(error.code);
}

/** The "file.diskFull" of writing `path`, for an error that says so; any other error as it is. */
export function diskError(path: string, error: unknown): unknown {
  if (!isDiskFull(error)) return error;
  return new WorkbenchError("file.diskFull", `${path} was not written: there is no room on its disk; make room and run it again`, { cause: error });
}
