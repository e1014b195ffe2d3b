/** The table of probes as data: what the client draws forms from and `deltascope probes` prints. */
import * as z from "zod";
import { jobKindOf } from "../jobKinds/registry.ts";
import type { ProbeTable } from "../jobs/runProbe.ts";
import type { ProbeCard } from "../wire.ts";

export function probeCards(probes: ProbeTable): ProbeCard[] {
  return Object.entries(probes).map(([name, { title, summary, source, needs, adapters, params }]) => ({
    name,
    kind: jobKindOf({ needs }),
    title,
    summary,
    source,
    needs,
    adapters,
    params: z.toJSONSchema(params, { io: "input", unrepresentable: "any" }),
  }));
}
