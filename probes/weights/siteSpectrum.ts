/** What the singular values of one site's ΔW say: its size, how many directions it uses, and why a number is missing. */
import type { SiteAdapter } from "../../server/adapters/method.ts";
import type { FactoredSpectrum } from "../../server/linalg/factored.ts";
import { effectiveRank, energy, energyEffectiveRank, stableRank } from "../../server/linalg/spectrum.ts";
import type { Metric } from "../result.ts";

export const sizeMetrics: readonly Metric[] = [
  { id: "norm", label: "‖ΔW‖", unit: "Frobenius norm", scale: "sequential" },
  { id: "effective_rank", label: "effective rank", unit: "directions (Roy & Vetterli)", scale: "sequential" },
  { id: "stable_rank", label: "stable rank", unit: "‖ΔW‖²/σ₁²", scale: "sequential" },
];

export interface SiteSpectrum {
  /** Largest first; NaN where the factors hold NaN or infinity: the others are shown all the same, and the adapter's warnings name the tensor. */
  readonly sigma: Float64Array;
  /** By `sizeMetrics`. */
  readonly numbers: Readonly<Record<string, number>>;
  /** Of the table. */
  readonly cells: Readonly<Record<string, number | null>>;
  readonly warning: string | null;
  /** |Σσ² / ‖ΔW‖² − 1|, 0 where ΔW is 0 or no number. */
  readonly error: number;
}

/** @param spectrum of the site's factors */
export function siteSpectrum({ beyondLowRank }: SiteAdapter, { values: sigma, norm }: FactoredSpectrum): SiteSpectrum {
  const largest = sigma[0] ?? 0;
  const isBroken = Number.isNaN(norm);
  const isZero = !isBroken && !(largest > 0);
  /** 0 where ΔW is 0. */
  const unlessZero = (of: (values: Float64Array) => number) => (isBroken ? NaN : isZero ? 0 : of(sigma));
  const [effective, stable] = [unlessZero(effectiveRank), unlessZero(stableRank)];
  return {
    sigma,
    numbers: { norm: isBroken ? NaN : Math.fround(norm), effective_rank: effective, stable_rank: stable },
    cells: {
      norm: finite(norm),
      sigma: finite(largest),
      share: isZero ? null : finite(largest ** 2 / energy(sigma)),
      effective: finite(effective),
      energyRank: finite(unlessZero(energyEffectiveRank)),
      stable: finite(stable),
    },
    warning: isZero
      ? "ΔW is 0: this site was not trained"
      : isBroken
        ? "the factors hold NaN or infinity: nothing can be computed here"
        : !Number.isFinite(norm)
          ? "ΔW is larger than float32 can hold: its numbers are infinite"
          : beyondLowRank === null
            ? null
            : `the spectrum is of s·B·A alone; beside it, ${beyondLowRank}`,
    error: norm > 0 ? Math.abs(energy(sigma) / norm ** 2 - 1) : 0,
  };
}

export function hasFiniteFactors({ factors }: SiteAdapter): boolean {
  return factors.left.every(Number.isFinite) && factors.right.every(Number.isFinite);
}

/** A number of a table; null where it is none. */
const finite = (value: number): number | null => (Number.isFinite(Math.fround(value)) ? value : null);
