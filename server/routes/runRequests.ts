/** A request for a run as it may be queued: parameters that fit the probe, paths inside the opened folders. */
import * as z from "zod";
import { fieldOfIssue, WorkbenchError } from "../errors.ts";
import { probeNamed, type ProbeTable } from "../jobs/runProbe.ts";
import type { RunRequest } from "../wire.ts";
import type { OpenedRoots } from "./openedRoots.ts";
import { checkedPaths } from "./checkedPaths.ts";

/** @throws "probe.unknown", "probe.badParams" naming the field, "file.outsideRoots", "file.notFound" */
export async function checkedRunRequest(asked: RunRequest, probes: ProbeTable, roots: OpenedRoots): Promise<RunRequest> {
  const probe = probeNamed(probes, asked.probe);
  checkParams(asked.probe, probe.params, asked.params);
  const params = await checkedPaths(asked.params, probe.params, roots);
  return { ...asked, params, subject: await roots.checkSubject(asked.subject) };
}

export function checkParams(name: string, schema: z.ZodType, params: unknown): void {
  const parsed = schema.safeParse(params);
  if (!parsed.success) throw new WorkbenchError("probe.badParams", `${name}: ${z.prettifyError(parsed.error)}`, { field: fieldOfIssue(parsed.error.issues) });
}
