/**
 * Intruder dimensions of W + ΔW without a decomposition of it: from W's leading singular vectors, found once, and ΔW's few.
 * 1. Bases: W's 32 leading vectors, ΔW's own beside them, and what W makes of those on the other side, and again (Krylov steps).
 * 2. W + ΔW in these bases is a small problem; its leading left vectors ûⱼ come with their cosines with W's leading ones.
 * 3. A cosine of ε or more: no intruder. Else, less than ε of ûⱼ outside W's leading vectors: an intruder, as no other can reach ε.
 * 4. Else, where all of W's vectors are known, their cosines with the part outside decide. Where not, Lanczos on W Wᵀ from that part
 *    bounds what any one singular vector of W can hold of it: below ε² an intruder. What stays open after the last step is counted
 *    apart, not among the intruders.
 * @see Shuttleworth et al. 2024, arXiv 2410.21228, section 3; peft/tuners/lora/intruders.py for left vectors, k = 10 and ε = 0.5
 */
import { svd } from "../../linalg/svd.ts";
import { Lanczos } from "../../linalg/lanczos.ts";
import { addTimes, dot, norm } from "../../linalg/vectors.ts";
import type { WeightProducts } from "./weightProducts.ts";
import { at } from "../../at.ts";

export interface IntruderRule {
  /** Leading singular vectors of W + ΔW that are looked at. */
  readonly count: number;
  /** Below this |cosine| with every singular vector of W, one is an intruder. */
  readonly epsilon: number;
}
export const intruderRule: IntruderRule = { count: 10, epsilon: 0.5 };

/** W's leading singular triplets; vectors are unit rows. */
export interface BaseDirections {
  readonly values: ArrayLike<number>;
  /** `[K][dOut]` */
  readonly left: readonly Float64Array[];
  /** `[K][dIn]` */
  readonly right: readonly Float64Array[];
  /** These are all that W has. */
  readonly isAll: boolean;
}

/** ΔW = Σ sₖ uₖ vₖᵀ, or the adapted weight diag(c) (W + Σ sₖ uₖ vₖᵀ) where rows are rescaled. */
export interface DeltaComponents {
  readonly values: readonly number[];
  /** `[r][dOut]` */
  readonly left: readonly Float64Array[];
  /** `[r][dIn]` */
  readonly right: readonly Float64Array[];
  /** c `[dOut]`, as DoRA has it; without it every row keeps its length. */
  readonly rowScales?: ArrayLike<number>;
}

export interface IntruderCount {
  readonly intruders: number;
  /** Neither shown to be intruders nor shown not to be. */
  readonly open: number;
  /** `[count]`: largest |cosine| of each leading vector of W + ΔW with those of W that are known. */
  readonly cosines: readonly number[];
}

/** Of W's vectors, those that span the small problem. */
const leadingVectors = 32;
const krylovSteps = 2;
/** New directions that a Krylov step follows, largest components first: a ΔW of high rank would make the problem large. */
const followed = 16;
/** Lanczos steps at which the bound is read; the last ends the search. */
const boundSteps = [6, 12, 24];
/** Directions of W below this share of σ₁ are not compared in step 4: a Lanczos run cannot tell them from what W maps to zero. */
const leastDirection = 0.05;
/** Relative length under which what is left of a vector beside a basis is rounding of float32 products. */
const rounding = 1e-5;

export async function countIntruders(
  base: BaseDirections,
  delta: DeltaComponents,
  products: WeightProducts,
  rule: IntruderRule = intruderRule,
): Promise<IntruderCount> {
  const known = Math.min(base.left.length, leadingVectors);
  const leftBasis = base.left.slice(0, known);
  const rightBasis = base.right.slice(0, known);
  const { rowScales } = delta;
  const rescaled = (vectors: readonly Float64Array[]) =>
    rowScales ? vectors.map((vector) => vector.map((value, row) => value * (rowScales[row] ?? 1))) : vectors;
  // Rescaling turns every left vector of W, so what it makes of the leading ones belongs to the bases too.
  const turned = rowScales ? rescaled([...delta.left, ...leftBasis]) : delta.left;
  let [newLeft, newRight] = [extend(leftBasis, turned), extend(rightBasis, delta.right)];
  for (let step = 0; step < krylovSteps; step++) {
    const [ahead, behind] = [newRight.slice(0, followed), rescaled(newLeft.slice(0, rowScales ? newLeft.length : followed))];
    const [images, backs] = [rescaled(await products.times(ahead)), await products.timesTransposed(behind)];
    [newLeft, newRight] = [extend(leftBasis, images), extend(rightBasis, backs)];
  }
  const extra = await products.times(rightBasis.slice(known));
  const images = rescaled(adaptedImages(base, known, delta, rightBasis, extra));
  const core = Float64Array.from(images.flatMap((image) => leftBasis.map((left) => dot(left, image))));
  const { u, s } = svd(core, leftBasis.length, rightBasis.length);

  const count = Math.min(rule.count, s.length);
  const vectors = Array.from({ length: count }, (_, j) => u.subarray(j * leftBasis.length, (j + 1) * leftBasis.length));
  const others = base.isAll ? base.left.slice(known) : [];
  const cosines = vectors.map((y) => {
    const within = y.subarray(0, known).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    if (within >= rule.epsilon || others.length === 0) return within;
    const outside = combined(leftBasis, y, known);
    return others.reduce((most, other) => Math.max(most, Math.abs(dot(outside, other))), within);
  });
  const strangers = vectors.filter((_, j) => at(cosines, j) < rule.epsilon);
  if (base.isAll) return { intruders: strangers.length, open: 0, cosines };

  const unclear = strangers.flatMap((y) => {
    const outside = norm(y.subarray(known));
    return outside < rule.epsilon ? [] : [{ part: combined(leftBasis, y, known).map((value) => value / outside), share: outside ** 2 }];
  });
  const shown = await shownApart(base, unclear, products, rule.epsilon);
  return { intruders: strangers.length - unclear.length + shown, open: unclear.length - shown, cosines };
}

/** Adds to an orthonormal basis what the vectors have outside it. @returns what was added */
function extend(basis: Float64Array[], vectors: readonly Float64Array[]): Float64Array[] {
  const before = basis.length;
  for (const vector of vectors) {
    const rest = Float64Array.from(vector);
    const size = norm(rest);
    for (let pass = 0; pass < 2; pass++) for (const each of basis) addTimes(rest, -dot(rest, each), each);
    const length = norm(rest);
    if (length > rounding * size) basis.push(rest.map((value) => value / length));
  }
  return basis.slice(before);
}

/** (W + ΔW) of the right vectors. @param extra W of those beyond W's own */
function adaptedImages(
  base: BaseDirections,
  known: number,
  delta: DeltaComponents,
  right: readonly Float64Array[],
  extra: readonly Float64Array[],
): Float64Array[] {
  return right.map((vector, j) => {
    const image = extra[j - known] ?? Float64Array.from(base.left[j] ?? [], (value) => (base.values[j] ?? 0) * value);
    delta.values.forEach((value, k) => addTimes(image, value * dot(vector, at(delta.right, k)), at(delta.left, k)));
    return image;
  });
}

/** The part of Σ yᵢ·basisᵢ past the first `known`. */
function combined(basis: readonly Float64Array[], y: Float64Array, known: number): Float64Array {
  const sum = new Float64Array(at(basis, 0).length);
  for (let i = known; i < basis.length; i++) addTimes(sum, at(y, i), at(basis, i));
  return sum;
}

/**
 * How many of the parts are shown to lie along no single singular vector of W. @param parts unit vectors outside W's leading ones, and their share of
 * ûⱼ's square
 */
async function shownApart(
  base: BaseDirections,
  parts: readonly { readonly part: Float64Array; readonly share: number }[],
  products: WeightProducts,
  epsilon: number,
): Promise<number> {
  const low = (leastDirection * at(base.values, 0)) ** 2;
  const high = at(base.values, -1) ** 2;
  let open = parts.map(({ part, share }) => ({ lanczos: new Lanczos(part), share }));
  let step = 0;
  for (const until of boundSteps) {
    for (; step < until && open.some(({ lanczos }) => !lanczos.isComplete); step++) {
      const images = await products.times(await products.timesTransposed(open.map(({ lanczos }) => lanczos.vector)));
      for (const [i, { lanczos }] of open.entries()) {
        const image = at(images, i);
        for (const each of base.left) addTimes(image, -dot(image, each), each);
        lanczos.absorb(image);
      }
    }
    open = open.filter(({ lanczos, share }) => share * lanczos.largestShare(low, high) >= epsilon ** 2);
    if (open.length === 0) break;
  }
  return parts.length - open.length;
}
