/**
 * Seeded random numbers. Two generators, each kept because numbers on screen and files on disk were drawn from it: `randomStream` for training
 * and linear algebra (a stream of its own for every label, so that a resumed run draws what it would have drawn), `uniform` for null
 * distributions and the demo. What is made of their numbers is written once.
 */
import { at } from "../at.ts";

export interface RandomStream {
  /** Uniform in [0, 1), 32 random bits. */
  uniform(): number;
  /** Standard normal. */
  gaussian(): number;
  /** Uniform among 0 … n − 1. */
  below(n: number): number;
}

/**
 * A stream of its own for every (seed, labels): `randomStream(seed, "order", epoch)`.
 * @see Marsaglia 2003 (xoshiro's ancestor xorshift) and C. Doty-Humphrey's sfc32, of the PractRand suite
 */
export function randomStream(seed: number, ...labels: readonly (string | number)[]): RandomStream {
  let [a, b, c, d] = hash128(JSON.stringify([seed, ...labels]));
  const next = (): number => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return t >>> 0;
  };
  for (let i = 0; i < 12; i++) next();
  const uniform = () => next() / 2 ** 32;
  return { uniform, gaussian: () => gaussian(uniform), below: (n) => Math.floor(uniform() * n) };
}

/** Uniform in [0, 1), of a whole seed. @see Steele et al. 2014, SplitMix; this is its 32-bit form "mulberry32" */
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

/** Standard normal, by Box–Muller; the second of the pair is not kept, so that every draw takes two numbers. */
export function gaussian(next: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}

/** Four 32-bit words from a string: FNV-1a with a finaliser, from four starts. */
function hash128(text: string): [number, number, number, number] {
  const word = (start: number): number => {
    let h = start;
    for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return h ^ (h >>> 16);
  };
  return [word(0x811c9dc5 | 0), word(0x9e3779b9 | 0), word(0x243f6a88), word(0xb7e15162 | 0)];
}

/** The numbers 0 … n − 1 in random order. */
export function shuffled(n: number, random: RandomStream): Int32Array {
  const order = Int32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [order[i], order[j]] = [at(order, j), at(order, i)];
  }
  return order;
}

/** `[length]` of N(0, std²). */
export function gaussians(length: number, std: number, random: RandomStream): Float32Array {
  return Float32Array.from({ length }, () => std * random.gaussian());
}

/** `[length]`, uniform in (−bound, bound). */
export function uniforms(length: number, bound: number, random: RandomStream): Float32Array {
  return Float32Array.from({ length }, () => bound * (2 * random.uniform() - 1));
}

/** A random direction of the given norm, uniform on the sphere. `[length]` */
export function randomDirection(length: number, norm: number, next: () => number): Float32Array {
  const drawn = new Float32Array(length);
  let sum = 0;
  for (let i = 0; i < length; i++) {
    const value = gaussian(next);
    drawn[i] = value;
    sum += value * value;
  }
  const scale = sum === 0 ? 0 : norm / Math.sqrt(sum);
  return drawn.map((value) => value * scale);
}

/** `count` different whole numbers below `below`, in random order. */
export function sampleIndices(below: number, count: number, next: () => number): number[] {
  const all = Array.from({ length: below }, (_, i) => i);
  for (let i = 0; i < Math.min(count, below); i++) {
    const j = i + Math.floor(next() * (below - i));
    [all[i], all[j]] = [at(all, j), at(all, i)];
  }
  return all.slice(0, Math.min(count, below));
}
