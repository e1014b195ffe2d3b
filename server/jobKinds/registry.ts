/** The kinds of runs there are, by the name that their records carry. */
import type { Probe } from "../../probes/probe.ts";
import { shellQuoted } from "../commandText.ts";
import type { JobKindSpec, JobRequest } from "./jobKind.ts";
import { probe } from "./probe.ts";
import { train } from "./train.ts";

const kinds = { probe, train };
export type JobKind = keyof typeof kinds;
export const jobKinds: Readonly<Record<JobKind, JobKindSpec>> = kinds;

/** The kind of the runs of a probe. */
export function jobKindOf({ needs }: Pick<Probe, "needs">): JobKind {
  const found = Object.keys(jobKinds).find((name) => isJobKind(name) && jobKinds[name].needs.includes(needs));
  if (!isJobKind(found)) throw new Error(`internal: no kind of run has probes that need "${needs}"`);
  return found;
}

export function isJobKind(value: unknown): value is JobKind {
  return typeof value === "string" && Object.hasOwn(jobKinds, value);
}

/** The command that makes a run again, quoted for a shell, an option a part. */
export function commandParts(kind: JobKind, request: JobRequest): string[] {
  return jobKinds[kind].command(request).map((words, index) => [...(index === 0 ? ["deltascope"] : []), ...words].map(shellQuoted).join(" "));
}
