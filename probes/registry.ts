/** Every probe; one file and one line to add one. The order is the order of the tabs. */
import { WorkbenchError } from "../server/errors.ts";
import { didYouMean } from "../server/nearNames.ts";
import { acrossTime } from "./acrossTime.ts";
import { activationPatching } from "./activationPatching.ts";
import { adapterHealth } from "./adapterHealth.ts";
import { attentionPatterns } from "./attentionPatterns.ts";
import { componentAblation } from "./componentAblation.ts";
import { deltaSpectrum } from "./deltaSpectrum.ts";
import { logitLens } from "./logitLens.ts";
import type { Probe } from "./probe.ts";
import { train } from "./train.ts";

export const probes = { adapterHealth, deltaSpectrum, activationPatching, componentAblation, logitLens, attentionPatterns, acrossTime, train } satisfies Record<
  string,
  Probe
>;
export type ProbeName = keyof typeof probes;

/** @throws "probe.unknown" listing near names */
export function probeNamed(name: string): Probe {
  const found = Object.entries(probes).find(([key]) => key === name);
  if (!found) throw new WorkbenchError("probe.unknown", `probe "${name}" is unknown; ${didYouMean(name, Object.keys(probes))}`);
  return found[1];
}
