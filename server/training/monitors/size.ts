/** How large ΔW is at every site, by itself and beside W. */
import type { SiteState } from "../../adapters/method.ts";
import { frobeniusNorm } from "../../linalg/factored.ts";
import { norm } from "../../linalg/vectors.ts";
import { perSite, siteCurves, type Moment, type Monitor, type WatchedRun } from "./monitor.ts";
import { siteLayout } from "./siteLayout.ts";

export const size: Monitor = {
  title: "Size",
  summary: "Frobenius norm of the whole ΔW at every site, and its share of the norm of W.",
  applies: ({ adaptation }) => adaptation.sites.length > 0,
  arrays(run) {
    const { rows, kinds } = layoutOf(run);
    return [siteCurves(run, "norm"), { name: "relative_norm", shape: [rows.length, kinds.length], axes: ["layer", "site"] }];
  },
  start(run) {
    const { sites } = run.adaptation;
    const { rows, kinds, cells } = layoutOf(run);
    let base: readonly number[] = [];
    return {
      prepare() {
        base = sites.map(({ site }) => norm(site.baseWeight.data()));
        return Promise.resolve(null);
      },
      async look(moment) {
        const norms = await perSite(run, (state) => deltaNorm(run, moment, state));
        const relative = new Float32Array(rows.length * kinds.length).fill(NaN);
        for (const [index, cell] of cells.entries()) relative[cell] = norms[index]! / base[index]!;
        return { norm: norms, relative_norm: relative };
      },
    };
  },
};

export const layoutOf = ({ adaptation }: WatchedRun) => siteLayout(adaptation.sites.map(({ site }) => site));

/** Of the factors, or of the dense ΔW where the factors do not hold all of it. */
function deltaNorm({ adaptation: { method, options } }: WatchedRun, moment: Moment, state: SiteState): number {
  if (method!.beyondLowRank && method!.denseDelta) return norm(method!.denseDelta(state, options));
  return frobeniusNorm(moment.delta(state));
}
