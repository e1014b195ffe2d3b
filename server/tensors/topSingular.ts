/**
 * The leading singular directions of a large dense weight, by randomised block Krylov iteration; of a small one all at once.
 * 1. Q₀ random, orthonormal; Q_{t+1} = WᵀW Q_t made orthonormal against all before it.
 * 2. W [Q₀ … Q_T] = Y Σ Zᵀ, a thin problem; left = Y, right = [Q₀ … Q_T] Z.
 * 3. Where fewer than T + 1 blocks fit into the smaller side, again from the leading right vectors, until as many products with W were made.
 * Keeping the earlier blocks costs no further product with W and finds the directions of a flat spectrum far sooner than
 * iterating on one block.
 * @see Halko, Martinsson & Tropp 2011, "Finding structure with randomness"; Musco & Musco 2015, "Randomized block Krylov methods"
 */
import * as tf from "@tensorflow/tfjs-core";
import { at, named } from "../at.ts";
import { leadingSvd } from "../linalg/leadingSvd.ts";
import { identity, transposed } from "../linalg/matrices.ts";
import { timesColumns, timesRows } from "../linalg/products.ts";
import { thinQr } from "../linalg/qr.ts";
import { svd } from "../linalg/svd.ts";
import { addTimesAt, divide, norm } from "../linalg/vectors.ts";
import type { Engine, Weight } from "./engine.ts";
import { float32 } from "./hostTensor.ts";

export interface LeadingDirections {
  /** `[k]` descending; estimates from below */
  readonly values: Float64Array;
  /** `[k, dOut]`, rows orthonormal; a row whose value is 0 is 0 */
  readonly left: Float32Array;
  /** `[k, dIn]`, rows orthonormal */
  readonly right: Float32Array;
  /** `[k]` ‖Wᵀu − σv‖ / σ₁: some singular value of W lies within this share of σ₁ from each estimate; 0 is exact. */
  readonly errors: Float64Array;
}

/** W Q and Wᵀ(W Q) of Q `[dIn, width]`, row-major. */
type Product = (q: Float32Array, width: number) => Promise<{ image: Float32Array; back: Float32Array }>;

const oversampling = 4;
const steps = 6;
/** Up to this smaller side, directions that fill too much of it for all the blocks are found exactly: a matter of seconds. */
const exactSide = 1024;

/**
 * @param engine where the products with W run; null for plain loops on this thread
 * @param weight `[dOut, dIn]`, or transposed when `stored` is "inOut"
 * @param k how many directions; at most min(dOut, dIn) are found
 * @param random uniform in [0, 1), seeded
 * @param exactUpTo the smaller side up to which a large share of all directions is found exactly
 * @throws "spectrum.notConverged" when W holds NaN or infinity
 */
export async function leadingDirections(
  engine: Engine | null,
  weight: Weight,
  stored: "outIn" | "inOut",
  k: number,
  random: () => number,
  exactUpTo = exactSide,
): Promise<LeadingDirections> {
  const [rows = 0, cols = 0] = weight.shape;
  const [dOut, dIn] = stored === "outIn" ? [rows, cols] : [cols, rows];
  const short = Math.min(dOut, dIn);
  const width = Math.min(k + oversampling, short);
  if (short < (steps + 1) * width && short <= exactUpTo) return exactDirections(weight, stored, Math.min(k, short));
  const blocks = Math.max(1, Math.min(steps + 1, Math.floor(short / width)));
  const krylov = new Krylov(engine ? engineProduct(engine, weight, stored, dIn) : plainProduct(weight.data(), stored, dOut, dIn), dOut, dIn, width, blocks);
  let start = Float64Array.from({ length: dIn * width }, () => random() - 0.5);
  for (let products = blocks; ; products += blocks) {
    const found = await krylov.directions(start, products > steps ? Math.min(k, width) : width);
    if (products > steps) return { values: found.values, left: found.left, right: found.right, errors: found.errors };
    start = found.images;
  }
}

function exactDirections(weight: Weight, stored: "outIn" | "inOut", k: number): LeadingDirections {
  const [rows = 0, cols = 0] = weight.shape;
  const { ut, s, vt } = leadingSvd(weight.data(), rows, cols, k);
  const [left, right] = stored === "outIn" ? [ut, vt] : [vt, ut];
  // Both sides come orthonormal; a left row without a value has no meaning.
  const dOut = stored === "outIn" ? rows : cols;
  return {
    values: s,
    left: Float32Array.from(left, (x, place) => (s[Math.floor(place / dOut)] ? x : 0)),
    right: Float32Array.from(right),
    errors: new Float64Array(k),
  };
}

/** The space of one start block and its images, and the directions found in it. */
class Krylov {
  readonly #total: number;
  // Column-major, all blocks side by side: the basis, its image under W, and the image's image under Wᵀ.
  readonly #basis: Float64Array;
  readonly #images: Float64Array;
  readonly #backs: Float64Array;

  readonly #product: Product;
  readonly #shape: { readonly dOut: number; readonly dIn: number; readonly width: number; readonly blocks: number };

  constructor(product: Product, dOut: number, dIn: number, width: number, blocks: number) {
    this.#product = product;
    this.#shape = { dOut, dIn, width, blocks };
    this.#total = blocks * width;
    this.#basis = new Float64Array(dIn * (this.#total + 3)); // three columns of zeros let them be read in fours
    this.#images = new Float64Array(dOut * this.#total);
    this.#backs = new Float64Array(dIn * this.#total);
  }

  /**
   * @param start `[dIn, width]` column-major @param count how many directions are wanted of it
   * @returns with `images` `[dIn, count]`, WᵀW of the right vectors, column-major: one power step further
   */
  async directions(start: Float64Array, count: number): Promise<LeadingDirections & { readonly images: Float64Array<ArrayBuffer> }> {
    const { dIn, dOut, width, blocks } = this.#shape;
    const [basis, images, backs, total] = [this.#basis.fill(0), this.#images, this.#backs, this.#total];
    let block = start;
    for (let t = 0; t < blocks; t++) {
      const done = t * width;
      basis.set(orthonormalBeside(basis, done, block, dIn, width), dIn * done);
      // The engine sees the basis in float32; so must everything computed from it.
      const seen = Float32Array.from(basis.subarray(dIn * done, dIn * (done + width)));
      basis.set(seen, dIn * done);
      const { image, back } = await this.#product(transposed(seen, width, dIn), width);
      images.set(transposed(image, dOut, width), dOut * done);
      backs.set(transposed(back, dIn, width), dIn * done);
      block = backs.slice(dIn * done, dIn * (done + width));
    }
    const qr = thinQr({ data: images, rows: dOut, n: total, rowStride: 1, columnStride: dOut });
    const { u, s, v } = svd(qr.r, total, total);
    const left = qr.times(u.subarray(0, total * count), count);
    const right = combine(basis, v, dIn, total, count);
    const returned = combine(backs, v, dIn, total, count); // WᵀW v = σ Wᵀu
    const errors = s.slice(0, count).map((value, j) => {
      const missed = returned.slice(j * dIn, (j + 1) * dIn);
      divide(missed, value);
      addTimesAt(missed, 0, -value, right, j * dIn, dIn);
      return value > 0 ? norm(missed) / at(s, 0) : 0;
    });
    return { values: s.slice(0, count), left: Float32Array.from(left), right: Float32Array.from(right), errors, images: returned };
  }
}

function engineProduct(engine: Engine, weight: Weight, stored: "outIn" | "inOut", dIn: number): Product {
  return async (q, width) => {
    const program = await engine.compile(
      `subspace ${stored}`,
      (inputs, weights) => {
        const [{ q }, { w }] = [named("a subspace step", inputs, ["q"]), named("a subspace step", weights, ["w"])];
        const image = tf.matMul(w, q, stored === "inOut", false);
        return { image, back: tf.matMul(w, image, stored === "outIn", false) };
      },
      { inputs: { q: { shape: [dIn, width], dtype: "float32" } }, weights: { w: weight.shape } },
    );
    const { image, back } = named("a subspace step", await program.run({ q: float32(q, [dIn, width]) }, { w: weight }), ["image", "back"]);
    return { image: Float32Array.from(image.data), back: Float32Array.from(back.data) };
  };
}

/** The same on this thread, a column at a time. */
function plainProduct(w: Float32Array, stored: "outIn" | "inOut", dOut: number, dIn: number): Product {
  const [rows, cols] = stored === "outIn" ? [dOut, dIn] : [dIn, dOut];
  const [forth, turn] = stored === "outIn" ? [timesRows, timesColumns] : [timesColumns, timesRows];
  return (q, width) => {
    const [image, back] = [new Float32Array(width * dOut), new Float32Array(width * dIn)];
    const columns = transposed(q, dIn, width);
    for (let j = 0; j < width; j++) {
      const forward = forth(w, rows, cols, Float64Array.from(columns.subarray(j * dIn, (j + 1) * dIn)));
      image.set(forward, j * dOut);
      back.set(turn(w, rows, cols, forward), j * dIn);
    }
    return Promise.resolve({ image: transposed(image, width, dOut), back: transposed(back, width, dIn) });
  };
}

/** `block` made orthonormal, and orthogonal to the first `done` columns of `basis`; two passes, for the first leaves rounding. */
function orthonormalBeside(basis: Float64Array, done: number, block: Float64Array, rows: number, width: number): Float64Array {
  let columns = block;
  for (let pass = 0; pass < 2; pass++) {
    for (let j = 0; j < width; j++) for (let b = 0; b < done; b += 4) projectOut(columns, j * rows, basis, b * rows, rows);
    columns = thinQr({ data: columns, rows, n: width, rowStride: 1, columnStride: rows }).times(identity(width), width);
  }
  return columns;
}

/** Takes four orthonormal columns out of one; four sums at a time keep the processor busy. */
function projectOut(x: Float64Array, start: number, basis: Float64Array, from: number, rows: number): void {
  let [d0, d1, d2, d3] = [0, 0, 0, 0];
  const [b1, b2, b3] = [from + rows, from + 2 * rows, from + 3 * rows];
  for (let i = 0; i < rows; i++) {
    const value = x[start + i]!;
    d0 += value * basis[from + i]!;
    d1 += value * basis[b1 + i]!;
    d2 += value * basis[b2 + i]!;
    d3 += value * basis[b3 + i]!;
  }
  for (let i = 0; i < rows; i++) x[start + i]! -= d0 * basis[from + i]! + d1 * basis[b1 + i]! + d2 * basis[b2 + i]! + d3 * basis[b3 + i]!;
}

/** x · mix `[rows, count]` of x `[rows, n]` and the first columns of mix `[n, …]`, column-major. */
function combine(x: Float64Array, mix: Float64Array, rows: number, n: number, count: number): Float64Array<ArrayBuffer> {
  const out = new Float64Array(rows * count);
  for (let c = 0; c < count; c++) for (let j = 0; j < n; j++) addTimesAt(out, c * rows, at(mix, c * n + j), x, j * rows, rows);
  return out;
}
