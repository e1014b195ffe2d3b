/** Numbers that PyTorch's seeded CPU generator gives, for files that store a seed in place of tensors. */

const size = 624;
const middle = 397;

/**
 * MT19937: 32 random bits at a time.
 * @param seed its low 32 bits are used, as by `torch.Generator("cpu").manual_seed`
 * @see Matsumoto & Nishimura 1998, "Mersenne twister"; pytorch ATen/core/MT19937RNGEngine.h
 */
export function mersenneTwister(seed: number): () => number {
  const state = new Uint32Array(size);
  state[0] = seed % 2 ** 32;
  for (let i = 1; i < size; i++) {
    const before = state[i - 1]!;
    state[i] = Math.imul(before ^ (before >>> 30), 1812433253) + i;
  }
  let at = size;
  return () => {
    if (at === size) {
      twist(state);
      at = 0;
    }
    let bits = state[at++]!;
    bits ^= bits >>> 11;
    bits ^= (bits << 7) & 0x9d2c5680;
    bits ^= (bits << 15) & 0xefc60000;
    return (bits ^ (bits >>> 18)) >>> 0;
  };
}

function twist(state: Uint32Array): void {
  for (let i = 0; i < size; i++) {
    const mixed = (state[i]! & 0x80000000) | (state[(i + 1) % size]! & 0x7fffffff);
    state[i] = state[(i + middle) % size]! ^ (mixed >>> 1) ^ ((mixed & 1) === 0 ? 0 : 0x9908b0df);
  }
}

/**
 * `torch.empty(length).uniform_(-bound, bound, generator=…)`, `[length]`, in float32.
 * @param next the generator, which goes on where it was
 * @see pytorch ATen/core/TransformationHelper.h, uniform_real
 */
export function torchUniforms(length: number, bound: number, next: () => number): Float32Array {
  const from = Math.fround(-bound);
  const range = Math.fround(Math.fround(bound) - from);
  // 24 random bits; product and sum are rounded once, as by a fused multiply-add.
  return Float32Array.from({ length }, () => ((next() & 0xffffff) / 2 ** 24) * range + from);
}
