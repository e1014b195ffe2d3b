/** Every probe; one file and one line to add one. The order is the order of the tabs. */
import { acrossTime } from "./acrossTime.ts";
import { ofOneAdapter } from "./insideTraining.ts";
import type { Probe } from "./probe.ts";
import { train } from "./train.ts";

export const probes = { ...ofOneAdapter, acrossTime, train } satisfies Record<string, Probe>;
