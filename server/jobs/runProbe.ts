/** Runs one probe from a request: the same path for worker processes and the command line. */
import { setImmediate as eventLoopTurn } from "node:timers/promises";
import type { Probe, Workspace } from "../../probes/probe.ts";
import type { ProbeEvent } from "../../probes/result.ts";
import type { Subject } from "../runs/subject.ts";
import { didYouMean } from "../nearNames.ts";
import { WorkbenchError } from "../errors.ts";
import { cancelledError } from "./taskError.ts";

export type ProbeTable = Readonly<Record<string, Probe>>;

/** @throws "probe.unknown" listing near names */
export function probeNamed(probes: ProbeTable, name: string): Probe {
  const probe = Object.hasOwn(probes, name) ? probes[name] : undefined;
  if (!probe) throw new WorkbenchError("probe.unknown", `no probe is called "${name}"; ${didYouMean(name, Object.keys(probes))}`);
  return probe;
}

/** Between two yields to the event loop a cancel message cannot arrive. */
const longestWithoutTurnMs = 8;
/** Progress faster than this is dropped: nobody sees it. The last one (done = total) always passes. */
const progressEveryMs = 15;

/** @throws "job.cancelled" when the signal aborts, and whatever the probe throws */
export async function runProbe(
  probe: Probe,
  subject: Subject,
  params: unknown,
  signal: AbortSignal,
  emit: (event: ProbeEvent) => void,
  workspace?: Workspace,
): Promise<void> {
  let lastTurn = performance.now();
  let lastProgress = -Infinity;
  for await (const event of probe.run(subject, params, signal, workspace)) {
    const now = performance.now();
    if (event.type !== "progress" || event.done >= event.total || now - lastProgress >= progressEveryMs) {
      if (event.type === "progress") lastProgress = now;
      emit(event);
    }
    if (now - lastTurn >= longestWithoutTurnMs) {
      await eventLoopTurn();
      lastTurn = performance.now();
    }
    if (signal.aborted) throw cancelledError();
  }
  if (signal.aborted) throw cancelledError();
}
