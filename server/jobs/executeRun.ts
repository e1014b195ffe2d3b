/** One run from its request to its outcome: the same path for worker processes, the command line and tests. */
import type { Check, ProbeEvent } from "../../probes/result.ts";
import { subjectWarnings } from "../runs/subjectRequest.ts";
import { changedFiles, subjectIdentity } from "../runs/subjectFiles.ts";
import { engineBegunOn } from "../training/checkpoint.ts";
import type { RunRequest } from "../wire.ts";
import { jobKindOf, jobKinds } from "../jobKinds/registry.ts";
import type { RunOutcome } from "./messages.ts";
import type { Pause } from "./pause.ts";
import { provenanceHashes } from "./provenanceHashes.ts";
import { probeNamed, runProbe, type ProbeTable } from "./runProbe.ts";
import type { OpenSubject } from "./subjectCache.ts";

export interface RunTools {
  readonly probes: ProbeTable;
  readonly openSubject: OpenSubject;
}
/** Where a run of a resumable kind keeps its state, and the wish that it stop there. */
export interface RunPlace {
  readonly folder: string;
  readonly pause: Pause;
}

/**
 * @param sink takes every event as it comes
 * @param place of no use to kinds that cannot go on
 * @throws "probe.unknown", "job.cancelled" when the signal aborts, and whatever opening the subject and the probe throw
 */
export async function executeRun(
  request: RunRequest,
  tools: RunTools,
  sink: (event: ProbeEvent) => void,
  signal: AbortSignal,
  place: RunPlace,
): Promise<RunOutcome> {
  const probe = probeNamed(tools.probes, request.probe);
  const { isResumable } = jobKinds[jobKindOf(probe)];
  const before = subjectIdentity(request.subject);
  const subject = await tools.openSubject(request.subject, isResumable ? engineBegunOn(place.folder, request.params) : null);
  await runProbe(probe, subject, request.params, signal, sink, isResumable ? place.pause.workspace(place.folder) : undefined);
  const changed = changedFiles(before, subjectIdentity(request.subject));
  if (changed.length > 0) sink({ type: "check", check: changedCheck(changed) });
  return {
    engine: subject.runner?.engine.name ?? "none (weights only)",
    hashes: provenanceHashes(request.subject),
    warnings: subjectWarnings(subject.card),
    isPaused: place.pause.isHeeded,
  };
}

/** Numbers of files that were written while they were read may be of neither; the run says so. */
function changedCheck(changed: readonly string[]): Check {
  return {
    name: `files stayed as they were (${changed.slice(0, 3).join(", ")})`,
    ok: false,
    value: changed.length,
    expected: "0 files changed while this ran; run it again",
  };
}
