/** L1RA's rule for moving ranks: gates that reached zero are taken away, and their ranks go to where even the smallest gate is large. */

export interface ReallocationRule {
  /** Gates below this are taken away. */
  readonly pruneThreshold: number;
  /** Whether freed ranks are handed out again. */
  readonly reassign: boolean;
  /** Whether a site that lost a rank now may also get one now. */
  readonly excludePruned: boolean;
}

export interface Reallocation {
  /** By site: places of the gates that stay, ascending; at least one. */
  readonly kept: readonly (readonly number[])[];
  /** By site: ranks it gets. */
  readonly grown: readonly number[];
  /** Ranks taken away in all. */
  readonly freed: number;
  /** Freed ranks that no site may take. */
  readonly lost: number;
}

/**
 * 1. Gates under the threshold go; the last of a site whose gates all are stays, so every rank is at least 1.
 * 2. The freed ranks go one at a time, in turn, to the sites in falling order of the smallest gate they had before step 1.
 * The sum of ranks stays the same while any site may take one.
 *
 * @param gates by site, `[rank]` each, before they are clipped to [0, 1]: many that would tie at 1 are in order here, as in the reference
 * @see Singh et al. 2025, arXiv 2509.04884; raul-singh/L1RA, src/l1ra/tuner/model.py, update_ranks
 */
export function reallocation(gates: readonly Float32Array[], { pruneThreshold, reassign, excludePruned }: ReallocationRule): Reallocation {
  const smallest = gates.map((values) => values.reduce((least, value) => Math.min(least, value), Infinity));
  const isPruned = smallest.map((value) => value < pruneThreshold);
  const kept = gates.map((values) => {
    const staying = [...values.entries()].flatMap(([k, value]) => (value >= pruneThreshold ? [k] : []));
    return staying.length > 0 ? staying : [values.length - 1];
  });
  const freed = gates.reduce((sum, values) => sum + values.length, 0) - kept.flat().length;
  const candidates = [...smallest.entries()].filter(([site]) => reassign && !(excludePruned && isPruned[site])).sort(([, a], [, b]) => b - a);
  const turns = candidates.map(([site], turn) => [site, Math.floor((freed + candidates.length - 1 - turn) / candidates.length)] as const);
  const grown = gates.map((_, site) => turns.find(([taker]) => taker === site)?.[1] ?? 0);
  return { kept, grown, freed, lost: candidates.length > 0 ? 0 : freed };
}
