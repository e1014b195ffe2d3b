/** What singular values say about a matrix: energy, and three ways to count how many directions it really has. */
import { WorkbenchError } from "../errors.ts";

/** Σ σ², which is ‖M‖_F². */
export function energy(singularValues: Float64Array): number {
  return singularValues.reduce((sum, value) => sum + value * value, 0);
}

/**
 * Effective rank: exp of the entropy (nats) of σ / Σσ.
 * @param singularValues `[rank]`, ≥ 0, any order
 * @returns between 1 and `rank`
 * @throws "spectrum.zero" when every value is 0
 * @see Roy & Vetterli 2007, "The effective rank"
 */
export function effectiveRank(singularValues: Float64Array): number {
  return Math.exp(entropy(singularValues));
}

/**
 * The same of σ² / Σσ², the form that adapter papers use: how many directions hold the energy.
 * @throws "spectrum.zero"
 */
export function energyEffectiveRank(singularValues: Float64Array): number {
  return Math.exp(entropy(singularValues.map((value) => value * value)));
}

/**
 * Stable rank ‖M‖_F² / σ₁².
 * @returns between 1 and `rank`
 * @throws "spectrum.zero"
 */
export function stableRank(singularValues: Float64Array): number {
  const top = Math.max(...singularValues);
  if (!(top > 0)) throw new WorkbenchError("spectrum.zero", "stable rank: every singular value is 0");
  return energy(singularValues) / (top * top);
}

/** Σ p ln(1/p) over normalised values, nats. */
function entropy(values: Float64Array): number {
  const total = values.reduce((sum, value) => sum + value, 0);
  if (!(total > 0)) throw new WorkbenchError("spectrum.zero", "effective rank: every singular value is 0");
  return values.reduce((sum, value) => (value > 0 ? sum - (value / total) * Math.log(value / total) : sum), 0);
}
