/** What a kind of run is: where it is worked on, whether it can go on after a stop, how it is shown, and the command that does the same. */
import type { Needs } from "../../probes/probe.ts";
import type { SubjectRequest } from "../runs/subjectRequest.ts";

export const lanes = ["probes", "training"] as const;
export type Lane = (typeof lanes)[number];

/** How the page shows a run, its form and its actions. */
export const pageNames = ["probe", "training"] as const;
export type PageName = (typeof pageNames)[number];

export interface JobRequest {
  readonly subject: SubjectRequest;
  readonly probe: string;
  readonly params: Readonly<Record<string, unknown>>;
}
export interface JobKindSpec {
  /** Runs of probes with these needs are of this kind. */
  readonly needs: readonly Needs[];
  readonly lane: Lane;
  /** It writes checkpoints into its folder as it goes, can be paused, and is cut off without loss: work of hours, which stays when other work begins. */
  readonly isResumable: boolean;
  readonly page: PageName;
  /** The words after `deltascope` that do the same: the command, then each option with its value. */
  command(request: JobRequest): readonly (readonly string[])[];
}
