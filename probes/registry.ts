/** Every probe; one file and one line to add one. The order is the order of the tabs. */
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
