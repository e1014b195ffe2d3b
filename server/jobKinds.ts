/** The kinds of runs there are: where each is worked on, and whether it keeps checkpoints from which it can go on. */
import type { Probe } from "../probes/probe.ts";

export const lanes = ["probes", "training"] as const;
export type Lane = (typeof lanes)[number];

export interface JobKindSpec {
  readonly lane: Lane;
  /** It writes checkpoints into its folder as it goes, can be paused, and is cut off without loss. */
  readonly isResumable: boolean;
}
export const jobKinds = {
  probe: { lane: "probes", isResumable: false },
  train: { lane: "training", isResumable: true },
} as const satisfies Record<string, JobKindSpec>;
export type JobKind = keyof typeof jobKinds;

/** The kind of the runs of a probe. */
export function jobKindOf({ needs }: Pick<Probe, "needs">): JobKind {
  return needs === "training" ? "train" : "probe";
}

export function isJobKind(value: unknown): value is JobKind {
  return typeof value === "string" && Object.hasOwn(jobKinds, value);
}
