/** What singular values say about a matrix: energy, and four ways to count how many directions it really has. */
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
 * The same of σ² / Σσ²: how many directions hold the energy; never above `effectiveRank`.
 * @throws "spectrum.zero"
 * @see adapter papers that call this one "effective rank"; the two differ, so name which is shown
 */
export function energyEffectiveRank(singularValues: Float64Array): number {
  return Math.exp(entropy(singularValues.map((value) => value * value)));
}

/**
 * Stable rank ‖M‖_F² / σ₁².
 * @returns between 1 and `rank`
 * @throws "spectrum.zero"
 * @see Rudelson & Vershynin 2007, "Sampling from large matrices", section 1
 */
export function stableRank(singularValues: Float64Array): number {
  const top = singularValues.reduce((x, y) => Math.max(x, y), 0);
  if (!(top > 0)) throw new WorkbenchError("spectrum.zero", "stable rank: every singular value is 0");
  return singularValues.reduce((sum, value) => sum + (value / top) ** 2, 0);
}

/**
 * The fewest leading singular values that hold `share` of Σσ².
 * @param share in (0, 1]
 * @returns between 1 and `rank`
 * @throws "spectrum.zero"
 */
export function energyRank(singularValues: Float64Array, share: number): number {
  const total = energy(singularValues);
  if (!(total > 0)) throw new WorkbenchError("spectrum.zero", "energy rank: every singular value is 0");
  const falling = singularValues.toSorted().reverse();
  const wanted = share * total * (1 - 2 ** -50); // a share met exactly on paper may miss by rounding
  let held = 0;
  for (const [k, value] of falling.entries()) {
    held += value * value;
    if (held >= wanted) return k + 1;
  }
  return falling.length;
}

/** Σ p ln(1/p) over normalised values, nats. */
function entropy(values: Float64Array): number {
  const total = values.reduce((sum, value) => sum + value, 0);
  if (!(total > 0)) throw new WorkbenchError("spectrum.zero", "effective rank: every singular value is 0");
  return values.reduce((sum, value) => (value > 0 ? sum - (value / total) * Math.log(value / total) : sum), 0);
}
