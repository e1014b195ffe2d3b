/** The ratio of two things timed in turn, with what can be said of it. */

export interface Ratio {
  /** Of the ratios pair by pair. */
  readonly median: number;
  readonly low: number;
  readonly high: number;
  readonly pairs: number;
}

/** An interval wider than this says nothing that one would act on. */
const widest = 1.3;
/** An interval this narrow needs no more pairs. */
const narrow = 1.06;

/**
 * Median of b/a over pairs, and the interval of order statistics that holds the true median in at least 95 of 100 cases
 * (of fewer than six pairs: their smallest and largest, which hold it in 75 to 94).
 * @param a seconds, `b[i]` measured beside `a[i]`
 */
export function ratioOf(a: readonly number[], b: readonly number[]): Ratio {
  const sorted = a.flatMap((seconds, i) => (b[i] === undefined ? [] : [b[i] / seconds])).toSorted((x, y) => x - y);
  const cut = outerCount(sorted.length);
  return { median: median(sorted), low: sorted[cut] ?? NaN, high: sorted.at(-1 - cut) ?? NaN, pairs: sorted.length };
}

/** How many of n may be left out at either end: the largest k with 2 · P(Binomial(n, ½) ≤ k) ≤ 0.05, and 0. */
function outerCount(n: number): number {
  let [below, term] = [0, 0.5 ** n];
  for (let k = 0; ; k++) {
    below += term;
    if (2 * below > 0.05) return Math.max(0, k - 1);
    term *= (n - k) / (k + 1);
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((x, y) => x - y);
  const [low, high] = [sorted[Math.floor((sorted.length - 1) / 2)] ?? NaN, sorted[Math.floor(sorted.length / 2)] ?? NaN];
  return (low + high) / 2;
}

export const isSettled = ({ low, high, pairs }: Ratio): boolean => pairs >= 6 && high / low <= narrow;

/** "1.21× (1.18 to 1.25)", or that it cannot be told. */
export function ratioText({ median: middle, low, high }: Ratio): string {
  const number = (value: number) => (value >= 10 ? value.toFixed(1) : value.toFixed(2));
  const interval = `${number(low)} to ${number(high)}`;
  return high / low > widest ? `too noisy to tell (${interval})` : `${number(middle)}× (${interval})`;
}
