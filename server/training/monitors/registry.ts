/** Every monitor; the key is its id. Cheap ones first. */
import { gauges } from "./gauges.ts";
import { gradientNorms } from "./gradientNorms.ts";
import { intruders } from "./intruders.ts";
import type { Monitor } from "./monitor.ts";
import { patching } from "./patching.ts";
import { promptShift } from "./promptShift.ts";
import { rotation } from "./rotation.ts";
import { size } from "./size.ts";
import { spectra } from "./spectra.ts";

export const monitors = { spectra, rotation, size, gradientNorms, gauges, promptShift, patching, intruders } satisfies Record<string, Monitor>;
export type MonitorId = keyof typeof monitors;
export const monitorIds = Object.keys(monitors) as MonitorId[];
