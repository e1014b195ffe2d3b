/** Seeded random numbers: the same seed gives the same null everywhere. */

/** Uniform in [0, 1). @see Steele et al. 2014, SplitMix; this is its 32-bit form "mulberry32" */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A random direction of the given norm, uniform on the sphere. `[length]` */
export function randomDirection(length: number, norm: number, next: () => number): Float32Array {
  const values = new Float32Array(length);
  let sum = 0;
  for (let i = 0; i < length; i++) {
    const gaussian = Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
    values[i] = gaussian;
    sum += gaussian * gaussian;
  }
  const scale = sum === 0 ? 0 : norm / Math.sqrt(sum);
  return values.map((value) => value * scale);
}

/** `count` different whole numbers below `below`, in random order. */
export function sampleIndices(below: number, count: number, next: () => number): number[] {
  const all = Array.from({ length: below }, (_, i) => i);
  for (let i = 0; i < Math.min(count, below); i++) {
    const j = i + Math.floor(next() * (below - i));
    [all[i], all[j]] = [all[j]!, all[i]!];
  }
  return all.slice(0, Math.min(count, below));
}

/** The central 95 % of values: 2.5 % and 97.5 % quantiles, linear between ranks. */
export function central95(values: readonly number[]): { low: number; high: number } {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  const quantile = (q: number) => {
    const at = q * (sorted.length - 1);
    const below = sorted[Math.floor(at)]!;
    return below + (sorted[Math.ceil(at)]! - below) * (at - Math.floor(at));
  };
  return sorted.length === 0 ? { low: NaN, high: NaN } : { low: quantile(0.025), high: quantile(0.975) };
}
