/** Where a curve over training changes abruptly, judged from the looks before it alone, so that a mark once set stays. */
import { at } from "../at.ts";

export interface ChangeRule {
  /** Looks that an increase is held against. */
  readonly window: number;
  /** Robust deviations above the window's median, of the growth a step. */
  readonly deviations: number;
  /** The same of the growth of the logarithm: less, for a norm that begins at 0 grows fast at first in this sense. */
  readonly relativeDeviations: number;
  /** Least share by which the norm must grow at once. */
  readonly growth: number;
  /** |angle| between the leading components of two looks above which a direction has turned: its cosine. */
  readonly turned: number;
  /** Median cosine of the looks before, above which the direction had been steady. */
  readonly steady: number;
}

export const changeRule: ChangeRule = { window: 8, deviations: 8, relativeDeviations: 3, growth: 0.1, turned: 0.7, steady: 0.9 };

/** The rule in words, for figures and docs. */
export const changeWords =
  `norm ignition: ‖ΔW‖ grows at once by ${100 * changeRule.growth} % or more, and its growth a step lies ` +
  `${changeRule.deviations} robust deviations (its relative growth ${changeRule.relativeDeviations}) above the ` +
  `${changeRule.window} looks before; direction turn: the cosine of the leading component with the look before falls below ` +
  `${changeRule.turned} after a median above ${changeRule.steady}`;

/** Fewer increases than this tell nothing of what is usual. */
const fewest = 4;

/**
 * Whether the norm ignites at look `index`: its growth since the look before, a step, stands out from the window before it, both
 * as a difference and as a difference of logarithms (so that neither straight nor exponential growth does), and the look
 * before did not stand out already.
 * @param x steps, ascending @param norms ≥ 0, one a look
 * @returns how many robust deviations it lies above the window's median; null when it does not ignite
 */
export function ignition(x: ArrayLike<number>, norms: ArrayLike<number>, index: number, rule: ChangeRule = changeRule): number | null {
  const found = outstanding(x, norms, index, rule);
  return found !== null && outstanding(x, norms, index - 1, rule) === null ? found : null;
}

function outstanding(x: ArrayLike<number>, norms: ArrayLike<number>, index: number, rule: ChangeRule): number | null {
  if (index < 1) return null;
  const pair = (i: number) => ({ before: at(norms, i - 1), after: at(norms, i), steps: at(x, i) - at(x, i - 1) });
  const here = pair(index);
  if (!(here.after > here.before * (1 + rule.growth)) || !(here.before > 0)) return null;
  const window = Array.from({ length: Math.min(rule.window, index - 1) }, (_, i) => pair(index - 1 - i)).filter(({ before }) => before > 0);
  if (window.length < fewest) return null;
  const slope = ({ before, after, steps }: typeof here) => (after - before) / steps;
  const relative = ({ before, after, steps }: typeof here) => Math.log(after / before) / steps;
  const score = robustScore(slope(here), window.map(slope));
  const isFaster = robustScore(relative(here), window.map(relative)) > rule.relativeDeviations;
  return isFaster && score > rule.deviations ? score : null;
}

/** (value − median) / (1.4826 · MAD + a tenth of the median's size): the tenth keeps an all but constant window from making noise outstanding. */
function robustScore(value: number, window: readonly number[]): number {
  const middle = median(window);
  const spread = 1.4826 * median(window.map((each) => Math.abs(each - middle))) + 0.1 * Math.abs(middle) + Number.MIN_VALUE;
  return (value - middle) / spread;
}

/**
 * Whether the leading component turns at look `index`: its cosine with the look before is below `turned` though the looks
 * before agreed with one another.
 * @param cosines of each look with the one before; NaN where there is none
 * @returns the cosine; null when it does not turn
 */
export function turn(cosines: ArrayLike<number>, index: number, rule: ChangeRule = changeRule): number | null {
  const cosine = at(cosines, index);
  if (!(cosine < rule.turned)) return null;
  const before = Array.from({ length: Math.min(rule.window, index) }, (_, i) => at(cosines, index - 1 - i)).filter((each) => !Number.isNaN(each));
  if (before.length < fewest || !(median(before) > rule.steady)) return null;
  return at(cosines, index - 1) < rule.turned ? null : cosine;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? at(sorted, middle) : (at(sorted, middle - 1) + at(sorted, middle)) / 2;
}
