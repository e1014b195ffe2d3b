/** What chance alone gives: how it is stated, and when a value is clear of it. One definition for every causal probe. */
import * as z from "zod";
import { at } from "../../server/at.ts";
import type { NullBand } from "../result.ts";

/** How many draws a null is made of, and their seed. @param what "random directions of equal norm" */
export const nullFields = (what: string, draws: number) => ({
  nullSamples: z.int().min(0).max(512).default(draws).describe(`How many ${what} the null is made of`),
  seed: z.int().min(0).default(7).describe("Seed of the null"),
});

/** Chance as seen in a few dozen draws may be larger than they show; a value within twice of what they do claims nothing. */
const margin = 2;
/** Nor does one this small, as a share of the whole effect. */
const least = 0.1;

/** The central 95 % of the draws; none where nothing could be drawn. @param what "random directions of equal norm" */
export function nullBands(metric: string, draws: readonly number[], what: string): NullBand[] {
  const finite = draws.filter(Number.isFinite);
  return finite.length === 0 ? [] : [{ metric, ...central95(finite), words: `95 % of ${finite.length} ${what}` }];
}

/** Whether an effect is clear of chance: more than twice as far from 0 as the band reaches, and a tenth of the whole effect at least. */
export function clearsNull(value: number, { low, high }: Pick<NullBand, "low" | "high">): boolean {
  return Number.isFinite(value) && Math.abs(value) > Math.max(least, margin * Math.max(Math.abs(low), Math.abs(high)));
}

/**
 * Whether a value picked as the largest of many is more than chance: larger than every draw, and than their mean by three deviations and as many more as
 * the largest of `picked` normal numbers lies out, √(2 ln picked).
 * @param draws what chance gives in its place
 * @param picked of how many it is the largest, where a draw is one and not itself the largest of as many
 */
export function beatsDraws(value: number, draws: readonly number[], picked = 1): boolean {
  if (draws.length === 0) return false;
  const mean = draws.reduce((sum, draw) => sum + draw, 0) / draws.length;
  const deviation = Math.sqrt(draws.reduce((sum, draw) => sum + (draw - mean) ** 2, 0) / Math.max(1, draws.length - 1));
  return draws.every((draw) => value > draw) && value > mean + (3 + Math.sqrt(2 * Math.log(picked))) * deviation;
}

/** The central 95 % of values: 2.5 % and 97.5 % quantiles, linear between ranks. */
function central95(values: readonly number[]): { low: number; high: number } {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  const quantile = (q: number) => {
    const place = q * (sorted.length - 1);
    const below = at(sorted, Math.floor(place));
    return below + (at(sorted, Math.ceil(place)) - below) * (place - Math.floor(place));
  };
  return sorted.length === 0 ? { low: NaN, high: NaN } : { low: quantile(0.025), high: quantile(0.975) };
}
