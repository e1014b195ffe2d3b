/** How far ΔW lies along W's own leading directions, site by site, beside what a random subspace shares. */
import type { SiteAdapter } from "../../server/adapters/method.ts";
import { WorkbenchError } from "../../server/errors.ts";
import { factoredSvd } from "../../server/linalg/factored.ts";
import { transposed } from "../../server/linalg/matrices.ts";
import { uniform } from "../../server/linalg/random.ts";
import { randomShare, sharedEnergy } from "../../server/linalg/subspaces.ts";
import type { Runner } from "../../server/runs/runner.ts";
import { leadingDirections } from "../../server/tensors/topSingular.ts";
import type { HeatmapFigure, Metric, ProbeEvent } from "../result.ts";
import { baseWeights, type BaseOfSite } from "./baseWeights.ts";
import type { SiteMap } from "./siteMap.ts";
import { hasFiniteFactors } from "./siteSpectrum.ts";

const metrics: readonly Metric[] = [
  { id: "align_in", label: "reads along W", unit: "share of ‖ΔW‖² on W's leading input directions", scale: "sequential", domain: [0, 1] },
  { id: "align_out", label: "writes along W", unit: "share of ‖ΔW‖² on W's leading output directions", scale: "sequential", domain: [0, 1] },
];

interface Alignment {
  /** W's directions that are compared with, at most; a weight may have fewer. */
  readonly directions: number;
  /** Of the randomised SVD of W. */
  readonly seed: number;
}

/** W's leading directions by randomised SVD; the null is a random subspace: k of d directions. */
export async function* alignment(
  runner: Runner,
  maps: readonly SiteMap[],
  { directions, seed }: Alignment,
  signal: AbortSignal,
): AsyncGenerator<ProbeEvent, void, void> {
  const baseOf = baseWeights(runner.model);
  for (const map of maps) {
    yield* map.arrays(metrics);
    const next = uniform(seed);
    const chance = new ChanceRange();
    let done = 0;
    let inexact = 0;
    for (const site of map.adapter.sites.values()) {
      if (signal.aborted) throw new WorkbenchError("job.cancelled", "cancelled");
      done++;
      yield { type: "progress", done, total: map.adapter.sites.size, unit: "base weights" };
      const base = baseOf(site);
      if (!base || !hasFiniteFactors(site)) continue;
      const k = Math.min(directions, site.dIn, site.dOut);
      const { shares, s, error } = await sharesOf(runner, site, base, k, next);
      yield* map.cells(site, shares);
      inexact = Math.max(inexact, error);
      chance.add(site, s, k);
    }
    yield { type: "figure", figure: figure(map, directions, inexact, chance) };
  }
}

/** @returns the shares by metric, ΔW's singular values, and the largest error of W's directions as a share of σ₁ */
async function sharesOf({ engine }: Runner, site: SiteAdapter, base: BaseOfSite, k: number, next: () => number) {
  const { left, right, errors } = await leadingDirections(engine, base.weight, base.stored, k, next);
  const { u, s, vt } = factoredSvd(site.factors);
  const shares = { align_in: sharedEnergy(vt, s, right, site.dIn), align_out: sharedEnergy(transposed(u, site.dOut, site.rank), s, left, site.dOut) };
  return { shares, s, error: Math.max(...errors) };
}

/** Mean ± 2 deviations of what random directions share, over all sites that have a ΔW. */
class ChanceRange {
  #low = 1;
  #high = 0;

  /** @param s singular values of ΔW @param k directions of W */
  add({ dIn, dOut }: SiteAdapter, s: Float64Array, k: number): void {
    if (!((s[0] ?? 0) > 0)) return;
    for (const d of [dIn, dOut]) {
      const { mean, deviation } = randomShare(s, k, d);
      this.#low = Math.min(this.#low, Math.max(0, mean - 2 * deviation));
      this.#high = Math.max(this.#high, Math.min(1, mean + 2 * deviation));
    }
  }

  /** Null where no site has a ΔW. */
  get band(): { readonly low: number; readonly high: number } | null {
    return this.#low <= this.#high ? { low: this.#low, high: this.#high } : null;
  }
}

function figure(map: SiteMap, directions: number, inexact: number, { band }: ChanceRange): HeatmapFigure {
  const words = band
    ? `random directions share k/d, ${band.low.toPrecision(2)} to ${band.high.toPrecision(2)} here (mean ± 2 deviations, all sites)`
    : "no site has a ΔW";
  return map.heatmap(metrics, {
    id: "alignment",
    title: (name) => `Along W's own directions${name === "" ? "" : `: ${name}`}`,
    subtitle: `Share of ‖ΔW‖² in the span of W's leading ${directions} singular directions, found to within ${inexact.toPrecision(1)} σ₁ · ${words}`,
    ...(band ? { nulls: metrics.map(({ id }) => ({ metric: id, ...band, words })) } : {}),
  });
}
