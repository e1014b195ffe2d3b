/** Keeps a probe fully typed inside; parses its parameters once, at the door. */
import * as z from "zod";
import { fieldOfIssue, WorkbenchError } from "../server/errors.ts";
import type { Probe, ProbeSpec } from "./probe.ts";

export function defineProbe<Params>(spec: ProbeSpec<Params>): Probe {
  return {
    ...spec,
    async *run(subject, rawParams, signal, workspace) {
      const parsed = spec.params.safeParse(rawParams);
      if (!parsed.success)
        throw new WorkbenchError("probe.badParams", `${spec.title}: ${z.prettifyError(parsed.error)}`, { field: fieldOfIssue(parsed.error.issues) });
      if (spec.needs !== "weights" && !subject.runner) throw new WorkbenchError("probe.notApplicable", `${spec.title} runs the model; open a base model first`);
      const { min, max } = spec.adapters;
      const found = subject.adapters.length;
      if (found < min || found > max) {
        throw new WorkbenchError("probe.notApplicable", `${spec.title} takes ${min === max ? min : `${min} to ${max}`} adapters; ${found} are open`);
      }
      yield* spec.run(subject, parsed.data, signal, workspace);
    },
  };
}
