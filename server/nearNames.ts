/** "Did you mean": the names nearest to an unknown one, for error messages. */
import { namedShort } from "./quoted.ts";

/** Number of single-character edits that turn `a` into `b` (Levenshtein distance). */
export function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(substitution, previous[j]! + 1, current[j - 1]! + 1));
    }
    previous = current;
  }
  return previous[b.length]!;
}

/** Longer names are compared by their beginnings; of more names only the first are looked at. */
const longestCompared = 160;
const mostCompared = 5000;

/** At most `limit` of `names`, nearest to `name` first. */
export function nearNames(asked: string, names: Iterable<string>, limit = 4): string[] {
  const name = asked.slice(0, longestCompared);
  const compared: string[] = [];
  for (const candidate of names) {
    if (compared.length === mostCompared) break;
    compared.push(candidate.slice(0, longestCompared));
  }
  return compared
    .map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
    .sort((x, y) => x.distance - y.distance || x.candidate.localeCompare(y.candidate))
    .slice(0, limit)
    .map(({ candidate }) => candidate);
}

/** The sentence that ends an "unknown name" message. */
export function didYouMean(name: string, names: Iterable<string>): string {
  const near = nearNames(name, names);
  return near.length === 0 ? "there are none" : `near names: ${near.map(namedShort).join(", ")}`;
}
