/** Eigenvalues, Lanczos bounds and full-rank spectra against decompositions of another kind. */
import { describe, expect, it } from "vitest";
import { denseProduct, singularValues, type FactoredMatrix } from "../../server/linalg/factored.ts";
import { gaussians, randomStream } from "../../server/linalg/random.ts";
import { svd } from "../../server/linalg/svd.ts";
import { dot, norm } from "../../server/linalg/vectors.ts";
import { Lanczos } from "../../server/linalg/lanczos.ts";
import { leadingComponent, spectrumOf } from "../../server/training/monitors/siteSpectrum.ts";
import { symmetricEigenvalues } from "../../server/linalg/symmetricEigen.ts";

const normals = (length: number, ...labels: (string | number)[]) => Float64Array.from(gaussians(length, 1, randomStream(11, ...labels)));
const unit = (vector: Float64Array) => vector.map((value) => value / norm(vector));

/** X Xᵀ, so that its eigenvalues are squares of singular values. */
function gram(n: number, columns: number): { matrix: Float64Array; values: Float64Array; vectors: Float64Array } {
  const x = normals(n * columns, "gram", n, columns);
  const matrix = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) for (let k = 0; k < columns; k++) matrix[i * n + j]! += x[k * n + i]! * x[k * n + j]!;
  const { u, s } = svd(x, n, columns);
  return { matrix, values: s.map((value) => value * value), vectors: u };
}

const factored = (dOut: number, dIn: number, rank: number, scale = 1): FactoredMatrix => ({
  left: Float32Array.from(normals(dOut * rank, "left", dOut)),
  right: Float32Array.from(normals(rank * dIn, "right", dIn)),
  dOut,
  dIn,
  rank,
  scale,
});

describe("eigenvalues of a symmetric matrix", () => {
  it.each([1, 2, 3, 17, 60])("are the squares of the singular values that make it (%i)", (n) => {
    const { matrix, values } = gram(n, n);
    const found = symmetricEigenvalues(matrix, n);
    for (let k = 0; k < n; k++) expect(Math.abs(found[k]! - values[k]!)).toBeLessThan(1e-12 * n * values[0]!);
  });

  it("are right for a diagonal, a swap, and a matrix of rank one", () => {
    expect([...symmetricEigenvalues(Float64Array.of(3, 0, 0, 0, -1, 0, 0, 0, 2), 3)]).toEqual([3, 2, -1]);
    expect([...symmetricEigenvalues(Float64Array.of(0, 1, 1, 0), 2)].map((value) => Math.round(value * 1e12) / 1e12)).toEqual([1, -1]);
    const ones = symmetricEigenvalues(new Float64Array(25).fill(1), 5);
    expect(ones[0]).toBeCloseTo(5, 12);
    expect(Math.max(...[...ones].slice(1).map(Math.abs))).toBeLessThan(1e-12);
  });

  it("refuses numbers that are none", () => {
    expect(() => symmetricEigenvalues(Float64Array.of(1, NaN, NaN, 1), 2)).toThrow(/NaN/);
  });
});

describe("the largest share of one eigenvector", () => {
  const n = 80;
  const { matrix, values, vectors } = gram(n, n);
  const apply = (x: Float64Array) => Float64Array.from({ length: n }, (_, i) => dot(matrix.subarray(i * n, (i + 1) * n), x));
  const shares = (start: Float64Array) => Array.from({ length: n }, (_, k) => dot(vectors.subarray(k * n, (k + 1) * n), start) ** 2);

  it("is never below the true one, and comes near it", () => {
    for (const planted of [0, 0.3, 0.6, 0.9]) {
      const noise = unit(normals(n, "start", planted));
      const start = unit(Float64Array.from(noise, (value, i) => Math.sqrt(1 - planted) * value + Math.sqrt(planted) * vectors[5 * n + i]!));
      const truth = Math.max(...shares(start));
      const lanczos = new Lanczos(start);
      let before = 1;
      for (let step = 1; step <= 24; step++) {
        lanczos.absorb(apply(lanczos.vector));
        const bound = lanczos.largestShare(0, values[0]! * 1.001);
        // Read on a grid: between its points the bound may be a little higher.
        expect(bound).toBeGreaterThan(0.97 * truth);
        expect(bound).toBeLessThan(before * 1.03);
        before = bound;
      }
      expect(before).toBeLessThan(truth + 0.1);
    }
  });

  it("is small after a dozen steps when no eigenvector holds much", () => {
    const lanczos = new Lanczos(unit(normals(n, "spread")));
    for (let step = 0; step < 12; step++) lanczos.absorb(apply(lanczos.vector));
    expect(lanczos.largestShare(0.0025 * values[0]!, values[0]!)).toBeLessThan(0.25);
  });

  it("is all of it when the start is an eigenvector, and the space is then complete", () => {
    const lanczos = new Lanczos(vectors.slice(3 * n, 4 * n));
    lanczos.absorb(apply(lanczos.vector));
    expect(lanczos.isComplete).toBe(true);
    expect(lanczos.largestShare(0, values[0]!)).toBeCloseTo(1, 9);
  });
});

describe("spectra of ΔW of any rank", () => {
  it.each([
    [150, 200, 140],
    [200, 150, 150],
    [140, 160, 170],
  ])("equal a decomposition of the dense product (%i × %i, rank %i)", (dOut, dIn, rank) => {
    const m = factored(dOut, dIn, rank, -0.5);
    const { values, leading } = spectrumOf(m);
    const dense = denseProduct(m);
    const truth = svd(
      Float64Array.from({ length: dOut * dIn }, (_, at) => dense[(at % dOut) * dIn + Math.floor(at / dOut)]!),
      dOut,
      dIn,
    );
    expect(values).toHaveLength(Math.min(dOut, dIn, rank));
    // Eigenvalues of squares keep half of the digits of float64, and the dense product is rounded to float32.
    for (const [k, value] of values.entries()) expect(Math.abs(value - truth.s[k]!)).toBeLessThan(2e-6 * truth.s[0]!);
    const cosine = dot(new Float64Array(leading!.left), truth.u.subarray(0, dOut)) * dot(new Float64Array(leading!.right), truth.v.subarray(0, dIn));
    expect(cosine).toBeGreaterThan(0.9999);
  });

  it("have a leading component whatever way it is found", () => {
    const m = factored(90, 70, 6);
    const thin = spectrumOf(m).leading!;
    const found = leadingComponent(m);
    expect(dot(new Float64Array(thin.left), new Float64Array(found.left)) * dot(new Float64Array(thin.right), new Float64Array(found.right))).toBeGreaterThan(
      1 - 1e-6,
    );
  });

  it("are zeros without a direction while a factor is zero", () => {
    const m = { ...factored(30, 20, 4), left: new Float32Array(30 * 4) };
    expect(spectrumOf(m)).toEqual({ values: new Float64Array(4), leading: null });
  });

  it("are those of the factors where the rank is low", () => {
    const m = factored(50, 40, 5, 2);
    const [values, alone] = [spectrumOf(m).values, singularValues(m)];
    expect(values).toHaveLength(alone.length);
    for (const [i, value] of values.entries()) expect(Math.abs(value - alone[i]!)).toBeLessThanOrEqual(1e-13 * alone[0]!);
  });
});
