/**
 * Lanczos steps on a symmetric operator S that others apply: S is seen from one start vector as a small tridiagonal matrix,
 * and that matrix bounds what any single eigenvector of S can hold of the start vector.
 */
import { at } from "../at.ts";
import type { RandomStream } from "./random.ts";
import { tridiagonalEigen } from "./tridiagonalEigen.ts";
import { addTimes, divide, dot, norm } from "./vectors.ts";

/** One start vector on its way: apply S to `vector`, give the image to `absorb`, repeat. */
export class Lanczos {
  readonly basis: Float64Array[];
  readonly diagonal: number[] = [];
  /** `beside[j]` couples steps j and j + 1. */
  readonly beside: number[] = [];
  readonly #least: number;
  #isComplete = false;

  /** @param start unit vector @param least share of an image that must lie outside the space so far; less is taken for rounding */
  constructor(start: Float64Array, least = 1e-6) {
    this.basis = [start];
    this.#least = least;
  }

  get vector(): Float64Array {
    return at(this.basis, -1);
  }

  /** The space that S makes of the start vector is exhausted: the small matrix holds all of it. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** @param image S · vector; overwritten */
  absorb(image: Float64Array): void {
    if (this.#isComplete) return;
    this.diagonal.push(dot(image, this.vector));
    const before = norm(image);
    // Against all earlier vectors, twice: in three-term form orthogonality is lost as soon as an eigenvalue settles.
    this.#leaveBasis(image);
    const length = norm(image);
    if (!(length > this.#least * before) || this.basis.length === image.length) {
      this.#isComplete = true;
      return;
    }
    divide(image, length);
    this.beside.push(length);
    this.basis.push(image);
  }

  /** Goes on from another unit vector once the space is exhausted. @param fresh overwritten */
  restart(fresh: Float64Array): void {
    this.#leaveBasis(fresh);
    const length = norm(fresh);
    divide(fresh, length);
    this.beside.push(0);
    this.basis.push(fresh);
    this.#isComplete = false;
  }

  #leaveBasis(x: Float64Array): void {
    for (let pass = 0; pass < 2; pass++) for (const earlier of this.basis) addTimes(x, -dot(x, earlier), earlier);
  }

  /** The k leading Ritz vectors of the steps absorbed, rows `[k, n]`. */
  ritzVectors(k: number): Float64Array {
    const steps = this.diagonal.length;
    const n = this.vector.length;
    const { vectors } = tridiagonalEigen(this.diagonal, this.beside, k);
    const rows = new Float64Array(k * n);
    for (let j = 0; j < k; j++) {
      const row = rows.subarray(j * n, (j + 1) * n);
      for (const [i, direction] of this.basis.slice(0, steps).entries()) addTimes(row, at(vectors, j * steps + i), direction);
    }
    return rows;
  }

  /**
   * Most of the start vector's square that one eigenvector of S with eigenvalue in [low, high] can hold: the largest value there of
   * the Christoffel function 1 / Σⱼ pⱼ(λ)², pⱼ the orthonormal polynomials of the tridiagonal matrix.
   * @returns between 0 and 1; falls to the true largest share as steps are absorbed
   * @see Golub & Meurant 2010, "Matrices, Moments and Quadrature", chapters 2 and 3 (Chebyshev–Markov–Stieltjes inequalities)
   */
  largestShare(low: number, high: number): number {
    const n = this.diagonal.length;
    const nodes = [...tridiagonalEigen(this.diagonal, this.beside, n, 0).values].filter((value) => value >= low && value <= high);
    const share = (value: number) => this.#christoffel(value, n);
    // A complete space has nothing but its eigenvalues.
    if (this.#isComplete) return Math.max(0, ...nodes.map(share));
    const grid = Array.from({ length: 8 * n + 1 }, (_, i) => low + (high - low) * (i / (8 * n)) ** 2);
    const places = [...nodes, ...grid].sort((a, b) => a - b);
    const shares = places.map(share);
    // An eigenvalue that has settled is a peak far narrower than the grid.
    const peaks = shares.flatMap((here, i) =>
      here >= (shares[i - 1] ?? 0) && here >= (shares[i + 1] ?? 0) ? [peak(share, places[i - 1] ?? low, places[i + 1] ?? high)] : [],
    );
    return Math.max(...shares, ...peaks);
  }

  #christoffel(value: number, n: number): number {
    let [before, here, sum, coupling] = [0, 1, 1, 0];
    for (let j = 0; j + 1 < n; j++) {
      const following = at(this.beside, j);
      const next = ((value - at(this.diagonal, j)) * here - coupling * before) / following;
      [before, here, coupling] = [here, next, following];
      sum += here * here;
    }
    return 1 / sum;
  }
}

/** Largest value of f between two places around one maximum. */
function peak(f: (x: number) => number, from: number, to: number): number {
  let [a, b] = [from, to];
  for (let i = 0; i < 60; i++) {
    const [left, right] = [a + (b - a) / 3, b - (b - a) / 3];
    if (f(left) > f(right)) b = right;
    else a = left;
  }
  return f((a + b) / 2);
}

/** Uniform on the sphere, `[n]`. */
export function randomUnit(n: number, random: RandomStream): Float64Array {
  const x = Float64Array.from({ length: n }, () => random.gaussian());
  const length = norm(x);
  return x.map((value) => value / length);
}
