/** Random numbers as a pure function of a seed and labels, so that a resumed run draws what it would have drawn. */

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
  return {
    uniform,
    // Box–Muller; the second of the pair is not kept, so that every draw takes two numbers.
    gaussian: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
    below: (n) => Math.floor(uniform() * n),
  };
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
    [order[i], order[j]] = [order[j]!, order[i]!];
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
