/** What the method itself lets one watch: gates, current ranks, learned scales. */
import type { Gauge } from "../../adapters/training.ts";
import type { Monitor, WatchedRun } from "./monitor.ts";

export const gaugesOf = ({ adaptation: { method, options, tasks } }: WatchedRun): readonly Gauge[] => method?.gauges?.(options, tasks) ?? [];

export const gaugeArray = ({ id }: Gauge, site: string): string => `${site}.${id}`;

export const gauges: Monitor = {
  title: "Gauges",
  summary: "The method's own numbers at every site: gates, ranks, learned scales.",
  applies: (run) => gaugesOf(run).length > 0 && run.adaptation.sites.length > 0,
  arrays: (run) =>
    gaugesOf(run).flatMap((gauge) => run.adaptation.sites.map(({ site }) => ({ name: gaugeArray(gauge, site.name), shape: [gauge.length], axes: ["entry"], snapshot: "last" as const }))),
  start(run) {
    return {
      look() {
        const out: Record<string, Float32Array> = {};
        for (const gauge of gaugesOf(run)) {
          for (const state of run.adaptation.sites) {
            const values = gauge.values(state);
            out[gaugeArray(gauge, state.site.name)] = Float32Array.from({ length: gauge.length }, (_, i) => values[i] ?? NaN);
          }
        }
        return Promise.resolve(out);
      },
    };
  },
};
