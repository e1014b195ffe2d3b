/** Intruder dimensions at every site: leading singular vectors of W + ΔW that are near none of W's. */
import type { SiteState } from "../../adapters/method.ts";
import { WorkbenchError } from "../../errors.ts";
import { factoredSvd } from "../../linalg/factored.ts";
import { baseDirections } from "./baseDirections.ts";
import { countIntruders, intruderRule, type BaseDirections, type DeltaComponents } from "./intruderCount.ts";
import { siteCurves, type Monitor, type WatchedRun } from "./monitor.ts";
import { weightProducts } from "./weightProducts.ts";
import { at } from "../../at.ts";

/** A ΔW of higher rank is no small update of W's vectors. */
const mostRank = 128;

/** @throws "training.badParams" */
function refuseHighRank({ adaptation: { method, methodName, sites, options } }: WatchedRun): void {
  const rank = Math.max(...sites.map((state) => method?.deltaWeight(state, options).rank ?? 0));
  if (sites.length === 0) throw new WorkbenchError("training.badParams", `probes.intruders: method "${methodName}" has no adapted sites; expected an adapter`);
  if (rank > mostRank)
    throw new WorkbenchError("training.badParams", `probes.intruders: ΔW of method "${methodName}" has rank ${rank}; expected at most ${mostRank}`);
}

export const intruders: Monitor = {
  title: "Intruders",
  summary:
    `Of the ${intruderRule.count} leading left singular vectors of W + ΔW at every site, those whose cosine with each ` +
    `singular vector of W is below ${intruderRule.epsilon}.`,
  applies: ({ params }) => params.intruders,
  arrays: (run) => [siteCurves(run, "intruders"), siteCurves(run, "intruders_open")],
  start(run) {
    refuseHighRank(run);
    const { sites, method, options } = run.adaptation;
    const { engine } = run.programs;
    let bases: BaseDirections[] = [];
    return {
      async prepare(signal) {
        const found: BaseDirections[] = [];
        for (const { site } of sites) {
          if (signal.aborted) throw new WorkbenchError("job.cancelled", "cancelled");
          found.push(await baseDirections(engine, site));
        }
        bases = found;
        return sites.length * (await secondsOfOne(run, at(found, 0)));
      },
      async look(moment) {
        const counts = { intruders: new Float32Array(sites.length), intruders_open: new Float32Array(sites.length) };
        for (const [index, state] of sites.entries()) {
          const rowScales = method?.rowScales?.(state, options);
          const delta = { ...components(factoredSvd(moment.delta(state)), state), ...(rowScales ? { rowScales } : {}) };
          if (delta.values.length === 0 && !rowScales) continue;
          const { intruders: count, open } = await countIntruders(at(bases, index), delta, weightProducts(engine, state.site));
          counts.intruders[index] = count;
          counts.intruders_open[index] = open;
        }
        return counts;
      },
    };
  },
};

/** What one site takes, by a ΔW of its rank with W's own directions in another order: at the first look ΔW is 0 and costs nothing. */
async function secondsOfOne({ adaptation: { sites, method, options }, programs: { engine } }: WatchedRun, base: BaseDirections): Promise<number> {
  const state = at(sites, 0);
  const rank = Math.min(method!.deltaWeight(state, options).rank, base.left.length);
  const delta: DeltaComponents = {
    values: Array.from({ length: rank }, (_, k) => at(base.values, k)),
    left: base.left.slice(0, rank),
    right: base.right.slice(-rank),
    ...(method?.rowScales ? { rowScales: method.rowScales(state, options) } : {}),
  };
  const products = weightProducts(engine, state.site);
  await countIntruders(base, delta, products);
  const started = performance.now();
  await countIntruders(base, delta, products);
  return (performance.now() - started) / 1000;
}

/** Those of ΔW's components that are not rounding beside the largest. */
function components({ u, s, vt }: ReturnType<typeof factoredSvd>, { site: { dIn, dOut } }: SiteState): DeltaComponents {
  const rank = s.length;
  const values = [...s].filter((value) => value > 1e-6 * at(s, 0));
  return {
    values,
    left: values.map((_, k) => Float64Array.from({ length: dOut }, (_row, o) => at(u, o * rank + k))),
    right: values.map((_, k) => Float64Array.from(vt.subarray(k * dIn, (k + 1) * dIn))),
  };
}
