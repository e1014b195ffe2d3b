/** Opening a file that someone named. */
import { openSync } from "node:fs";
import { WorkbenchError } from "../errors.ts";

/** @throws "file.notFound" when it is absent, "file.unreadable" when it may not be read */
export function openForReading(file: string): number {
  try {
    return openSync(file, "r");
  } catch (cause) {
    const missing = cause instanceof Error && "code" in cause && (cause.code === "ENOENT" || cause.code === "ENOTDIR");
    throw missing
      ? new WorkbenchError("file.notFound", `${file} does not exist`, { cause })
      : new WorkbenchError("file.unreadable", `${file} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}
