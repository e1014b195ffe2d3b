/** What the method itself lets one watch: gates, current ranks, learned scales. */
import type { Gauge } from "../../adapters/method.ts";
import { perSite, siteCurves, type Monitor, type WatchedRun } from "./monitor.ts";

export const gaugesOf = ({ adaptation: { method, options, tasks } }: WatchedRun): readonly Gauge[] => method?.gauges?.(options, tasks) ?? [];

export const isSingle = ({ length }: Gauge): boolean => length === 1;
/** A single number has one array of curves for all sites; a list has an array a site. */
export const gaugeArray = (gauge: Gauge, site: string): string => (isSingle(gauge) ? `gauge_${gauge.id}` : `${site}.${gauge.id}`);

export const gauges: Monitor = {
  title: "Gauges",
  summary: "The method's own numbers at every site: gates, ranks, learned scales.",
  applies: (run) => gaugesOf(run).length > 0 && run.adaptation.sites.length > 0,
  arrays: (run) =>
    gaugesOf(run).flatMap((gauge) =>
      isSingle(gauge)
        ? [siteCurves(run, gaugeArray(gauge, ""))]
        : run.adaptation.sites.map(({ site }) => ({ name: gaugeArray(gauge, site.name), shape: [gauge.length], axes: ["entry"] as const })),
    ),
  start(run) {
    return {
      async look() {
        const out: Record<string, Float32Array> = {};
        for (const gauge of gaugesOf(run)) {
          if (isSingle(gauge)) {
            out[gaugeArray(gauge, "")] = await perSite(run, (state) => gauge.values(state)[0] ?? NaN);
            continue;
          }
          for (const state of run.adaptation.sites) {
            const values = gauge.values(state);
            out[gaugeArray(gauge, state.site.name)] = Float32Array.from({ length: gauge.length }, (_, i) => values[i] ?? NaN);
          }
        }
        return out;
      },
    };
  },
};
