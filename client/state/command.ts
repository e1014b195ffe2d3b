/** The command that does the same as the screen, as the command line reads it. */
import { commandParts, type JobKind } from "../../server/jobKinds/registry.ts";
import type { RunRequest } from "../../server/wire.ts";

/** One option a line. */
export function commandOf(kind: JobKind, request: RunRequest): string {
  return `npx ${commandParts(kind, request).join(" \\\n  ")}`;
}
