/** How causal probes put numbers into sentences. */
import type { NullBand } from "../result.ts";

export const percent = (value: number): string => `${Math.round(value * 100)} %`;
/** "random directions of equal norm: −3 % to 4 %" */
export const chanceWords = (what: string, { low, high }: Pick<NullBand, "low" | "high">): string => `${what}: ${percent(low)} to ${percent(high)}`;
