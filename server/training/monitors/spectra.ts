/** Singular values of ΔW at every site, and how many directions they amount to. */
import type { SiteState } from "../../adapters/method.ts";
import { randomStream } from "../../linalg/random.ts";
import { effectiveRank, stableRank } from "../../linalg/spectrum.ts";
import { perSite, siteCurves, type Monitor, type WatchedRun } from "./monitor.ts";
import { spectrumOf } from "./siteSpectrum.ts";

/** Largest number of components whose values are kept at each look. */
const mostComponents = 64;

/** Components kept of a site: all that its rank can become, as far as one can know before the run. */
export function keptComponents({ adaptation: { method, options, tasks } }: WatchedRun, state: SiteState): number {
  const longest = Math.max(0, ...(method?.gauges?.(options, tasks) ?? []).map(({ length }) => length));
  const rank = Math.max(method!.deltaWeight(state, options).rank, longest);
  return Math.max(1, Math.min(rank, mostComponents, state.site.dIn, state.site.dOut));
}

export const valuesArray = (site: string): string => `${site}.singular_values`;

export const spectra: Monitor = {
  title: "Spectra",
  summary: "Exact singular values of ΔW at every site, with its effective and stable rank.",
  applies: ({ adaptation }) => adaptation.sites.length > 0,
  arrays: (run) => [
    ...run.adaptation.sites.map((state) => ({ name: valuesArray(state.site.name), shape: [keptComponents(run, state)], axes: ["component"] as const })),
    siteCurves(run, "effective_rank"),
    siteCurves(run, "stable_rank"),
  ],
  start(run) {
    const kept = run.adaptation.sites.map((state) => keptComponents(run, state));
    return {
      prepare: () => Promise.resolve(secondsOfAll(run)),
      async look(moment) {
        const values: Record<string, Float32Array> = {};
        for (const [index, state] of run.adaptation.sites.entries()) {
          const found = (await moment.spectrum(state)).values;
          values[valuesArray(state.site.name)] = Float32Array.from({ length: kept[index]! }, (_, k) => found[k] ?? 0);
        }
        const count = (rank: (values: Float64Array) => number) =>
          perSite(run, async (state) => {
            const spectrum = await moment.spectrum(state);
            return spectrum.leading ? rank(spectrum.values) : 0;
          });
        return { ...values, effective_rank: await count(effectiveRank), stable_rank: await count(stableRank) };
      },
    };
  },
};

/** What all sites take, by one of them with random numbers: at the first look ΔW is 0 and costs nothing. */
function secondsOfAll({ adaptation: { sites, method, options } }: WatchedRun): number {
  const random = randomStream(0, "trial");
  const m = method!.deltaWeight(sites[0]!, options);
  const trial = { ...m, left: m.left.map(() => random.uniform() - 0.5), right: m.right.map(() => random.uniform() - 0.5) };
  const started = performance.now();
  spectrumOf(trial);
  return (sites.length * (performance.now() - started)) / 1000;
}
