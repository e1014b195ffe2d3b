/** How two subspaces of one space lie to each other, and what chance alone would give. */
import { at } from "../at.ts";
import { svd } from "./svd.ts";
import { timesRows } from "./products.ts";
import { addTimesAt, dotAt, rowOf, squares } from "./vectors.ts";

/**
 * Share of ‖M‖² (rows weighted by σ²) that lies in the span of given orthonormal directions.
 * @param vectors `[r, d]`, unit rows @param sigma `[r]` @param basis `[k, d]`, orthonormal rows
 * @returns between 0 and 1; NaN when every σ is 0
 */
export function sharedEnergy(vectors: Float32Array, sigma: Float64Array, basis: Float32Array, d: number): number {
  let inside = 0;
  let total = 0;
  for (const [row, value] of sigma.entries()) {
    const weight = value ** 2;
    total += weight;
    inside += weight * squares(timesRows(basis, basis.length / d, d, rowOf(vectors, row, d)));
  }
  return total > 0 ? inside / total : NaN;
}

/**
 * What `sharedEnergy` is when the k-dimensional basis is a random one: its mean, and the standard deviation around it.
 * One direction shares Beta(k/2, (d−k)/2); directions are orthogonal, which makes the true deviation a little smaller.
 * @returns mean k/d; deviation √(2k(d−k)/(d²(d+2)) · Σp²) with p = σ²/Σσ²
 */
export function randomShare(sigma: Float64Array, k: number, d: number): { mean: number; deviation: number } {
  const total = sigma.reduce((sum, value) => sum + value * value, 0);
  const concentration = sigma.reduce((sum, value) => sum + ((value * value) / total) ** 2, 0);
  return { mean: k / d, deviation: Math.sqrt(((2 * k * (d - k)) / (d * d * (d + 2))) * concentration) };
}

/**
 * Principal angles between the row spaces of a and b.
 * @param a `[m, d]` @param b `[n, d]`, rows orthonormal
 * @returns `[min(m, n)]` radians, ascending, 0 to π/2
 * @see Björck & Golub 1973, "Numerical methods for computing angles between linear subspaces"
 */
export function principalAngles(a: Float32Array, b: Float32Array, d: number): Float64Array {
  const [m, n] = [a.length / d, b.length / d];
  if (m < n) return principalAngles(b, a, d);
  const [rows, others] = [new Float64Array(a), new Float64Array(b)];
  const cosines = new Float64Array(m * n);
  for (let j = 0; j < n; j++) for (let i = 0; i < m; i++) cosines[j * m + i] = dotAt(rows, i * d, others, j * d, d);
  // b's part outside a's span: its singular values are the sines, which are right where cosines near 1 are not.
  const outside = others.slice();
  for (let j = 0; j < n; j++) for (let i = 0; i < m; i++) addTimesAt(outside, j * d, -at(cosines, j * m + i), rows, i * d, d);
  const cosine = svd(cosines, m, n).s;
  const sine = svd(outside, d, n).s.reverse();
  return cosine.map((value, i) => (value > Math.SQRT1_2 ? Math.asin(Math.min(1, at(sine, i))) : Math.acos(value)));
}
