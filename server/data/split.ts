/** Which examples are held out: a seeded draw from each group, so that classes and tasks keep their shares. */
import { randomStream, shuffled } from "../linalg/random.ts";

/**
 * Indices of the held-out examples, ascending. round(fraction · n) of them, one at least, shared among the groups in
 * proportion (largest remainders first); every group keeps one example to train on. Fewer when the groups are too small.
 *
 * @param groups of each example, its group's name
 * @param fraction above 0, below 1
 */
export function heldOutIndices(groups: readonly string[], fraction: number, seed: number): number[] {
  const members = new Map<string, number[]>();
  groups.forEach((group, i) => {
    const list = members.get(group);
    if (list) list.push(i);
    else members.set(group, [i]);
  });
  const sorted = [...members].sort(([a], [b]) => (a < b ? -1 : 1));
  const quotas = sorted.map(([, list]) => ({ exact: fraction * list.length, most: list.length - 1 }));
  const counts = quotas.map(({ exact, most }) => Math.min(Math.floor(exact), most));
  const wanted = Math.max(1, Math.round(fraction * groups.length));
  let missing = wanted - counts.reduce((sum, count) => sum + count, 0);
  const byRemainder = quotas.map(({ exact }, i) => ({ i, remainder: exact - Math.floor(exact) })).sort((a, b) => b.remainder - a.remainder || a.i - b.i);
  while (missing > 0 && quotas.some(({ most }, i) => counts[i]! < most)) {
    for (const { i } of byRemainder) {
      if (missing === 0 || counts[i]! >= quotas[i]!.most) continue;
      counts[i]!++;
      missing--;
    }
  }
  return sorted
    .flatMap(([group, list], i) => [...shuffled(list.length, randomStream(seed, "split", group)).subarray(0, counts[i])].map((at) => list[at]!))
    .sort((a, b) => a - b);
}
