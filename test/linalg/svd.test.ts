/** QR and SVD against LAPACK, by hand, and by what any decomposition must satisfy. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { householderQr, thinQr, type ThinQr } from "../../server/linalg/qr.ts";
import { randomStream } from "../../server/linalg/random.ts";
import { svd } from "../../server/linalg/svd.ts";

const golden = JSON.parse(readFileSync(new URL("../../fixtures/spectra/golden.json", import.meta.url), "utf8")) as { dense: Record<string, number[]> };
/** float64 arithmetic over at most 150 terms. */
const float64Tolerance = 1e-13;
/** Cholesky QR may lose κ² ≤ 1e8 of float64's 1e-16. */
const choleskyTolerance = 2e-8;

/** The whole-number matrix of fixtures/spectra/make.py, column-major. */
function whole(rows: number, cols: number, decay: number): Float64Array {
  return Float64Array.from({ length: rows * cols }, (_, at) => {
    const [i, j] = [at % rows, Math.floor(at / rows)];
    return (((37 * i + 101 * j + 13 * i * j + i * i * j) % 97) - 48) * 2 ** (-decay * j);
  });
}

/** Entry (i, j) of x · y, x `[rows, n]`, y `[n, cols]`, column-major. */
function multiply(x: Float64Array, y: Float64Array, rows: number, n: number): Float64Array {
  const product = new Float64Array(rows * (y.length / n));
  for (let j = 0; j < y.length / n; j++) for (let k = 0; k < n; k++) for (let i = 0; i < rows; i++) product[j * rows + i]! += x[k * rows + i]! * y[j * n + k]!;
  return product;
}

function largestDifference(x: Float64Array, y: Float64Array): number {
  expect(x.length).toBe(y.length);
  return x.reduce((worst, value, i) => Math.max(worst, Math.abs(value - y[i]!)), 0);
}

const peak = (x: Float64Array) => x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/** max |XᵀX − 1| over the columns that are not 0. */
function orthonormalityError(x: Float64Array, rows: number): number {
  let worst = 0;
  const columns = Array.from({ length: x.length / rows }, (_, j) => x.subarray(j * rows, (j + 1) * rows)).filter((column) =>
    column.some((value) => value !== 0),
  );
  for (const [p, a] of columns.entries())
    for (const [q, b] of columns.entries()) {
      worst = Math.max(worst, Math.abs(a.reduce((sum, value, i) => sum + value * b[i]!, 0) - (p === q ? 1 : 0)));
    }
  return worst;
}

function rebuilt(matrix: Float64Array, rows: number, cols: number): { error: number; orthonormality: number; s: Float64Array } {
  const { u, s, v } = svd(matrix, rows, cols);
  const k = Math.min(rows, cols);
  const vt = new Float64Array(k * cols);
  for (let c = 0; c < k; c++) for (let j = 0; j < cols; j++) vt[j * k + c] = s[c]! * v[c * cols + j]!;
  return {
    s,
    error: largestDifference(multiply(u, vt, rows, k), matrix),
    orthonormality: Math.max(orthonormalityError(u, rows), orthonormalityError(v, cols)),
  };
}

describe("svd", () => {
  it.each(Object.keys(golden.dense))("has LAPACK's singular values of the %s matrix and rebuilds it", (name) => {
    const [rows, cols, decay] = name.split("x").map(Number) as [number, number, number];
    const matrix = whole(rows, cols, decay);
    const { s, error, orthonormality } = rebuilt(matrix, rows, cols);
    const expected = Float64Array.from(golden.dense[name]!);
    expect(largestDifference(s, expected)).toBeLessThan(float64Tolerance * expected[0]!);
    expect(error).toBeLessThan(float64Tolerance * expected[0]!);
    // Golub–Reinsch leaves vectors of vanishing values less orthogonal than Jacobi does.
    expect(orthonormality).toBeLessThan(1e-11);
  });

  it("gives √40 and √10 for [[4, 0], [3, 5]], whose MᵀM = [[25, 15], [15, 25]] has eigenvalues 40 and 10", () => {
    const { s } = svd(Float64Array.of(4, 3, 0, 5), 2, 2);
    expect(s[0]).toBeCloseTo(Math.sqrt(40), 12);
    expect(s[1]).toBeCloseTo(Math.sqrt(10), 12);
  });

  it("keeps singular values far below rounding of the largest when columns differ in size", () => {
    const { s } = svd(Float64Array.of(1, 0, 0, 0, 1e-30, 1e-30, 0, 1e-60, -1e-60), 3, 3);
    expect(s[1]! / (Math.SQRT2 * 1e-30)).toBeCloseTo(1, 12);
    expect(s[2]! / (Math.SQRT2 * 1e-60)).toBeCloseTo(1, 12);
  });

  it.each([1e-300, 1e-160, 1e160, 1e300])("neither overflows nor vanishes at size %d", (size) => {
    const { s } = svd(Float64Array.of(4 * size, 3 * size, 0, 5 * size), 2, 2);
    expect(s[0]! / size).toBeCloseTo(Math.sqrt(40), 12);
  });

  it("has no singular values but 0 for a matrix of zeros", () => {
    const { u, s, v } = svd(new Float64Array(12), 4, 3);
    expect([...s]).toEqual([0, 0, 0]);
    expect([...u].every((value) => value === 0)).toBe(true);
    expect(orthonormalityError(v, 3)).toBeLessThan(float64Tolerance);
  });

  it.each([NaN, Infinity, -Infinity])("refuses %d by name", (value) => {
    expect(() => svd(Float64Array.of(1, 2, value, 4), 2, 2)).toThrow(`a 2 × 2 matrix: it holds ${value}`);
  });

  it("rebuilds any matrix, of any rank, from orthonormal vectors and falling values", () => {
    const entry = fc.oneof(fc.double({ min: -1, max: 1, noNaN: true }), fc.constantFrom(0, 1, -1, 1e-9));
    const matrices = fc
      .tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }))
      .chain(([rows, cols]) =>
        fc.record({ rows: fc.constant(rows), cols: fc.constant(cols), entries: fc.array(entry, { minLength: rows * cols, maxLength: rows * cols }) }),
      );
    fc.assert(
      fc.property(matrices, ({ rows, cols, entries }) => {
        const matrix = Float64Array.from(entries);
        const { s, error, orthonormality } = rebuilt(matrix, rows, cols);
        expect(error).toBeLessThanOrEqual(float64Tolerance * peak(matrix));
        expect(orthonormality).toBeLessThan(float64Tolerance);
        expect([...s]).toEqual([...s].sort((x, y) => y - x));
      }),
      { seed: 7, numRuns: 200 },
    );
  });
});

describe("thinQr", () => {
  const parts = (qr: ThinQr, rows: number, n: number) => {
    const eye = new Float64Array(n * n);
    for (let j = 0; j < n; j++) eye[j * n + j] = 1;
    const q = qr.times(eye, n);
    return { q, product: multiply(q, qr.r, rows, n) };
  };
  const tall = (data: Float64Array, rows: number, n: number) => ({ data, rows, n, rowStride: 1, columnStride: rows });

  it.each([
    [1, 1],
    [5, 2],
    [128, 4],
    [129, 5],
    [300, 17],
  ])("rebuilds a %d × %d matrix with orthonormal Q", (rows, n) => {
    const x = whole(rows, n, 0.5);
    const { q, product } = parts(thinQr(tall(x, rows, n)), rows, n);
    expect(largestDifference(product, x)).toBeLessThan(float64Tolerance * peak(x));
    expect(orthonormalityError(q, rows)).toBeLessThan(choleskyTolerance);
  });

  it("does not mind columns of very different size: they are scaled out", () => {
    const x = whole(40, 6, 0).map((value, at) => value * 10 ** (-4 * Math.floor(at / 40)));
    const qr = thinQr(tall(x, 40, 6));
    expect(qr.method).toBe("cholesky");
    expect(orthonormalityError(parts(qr, 40, 6).q, 40)).toBeLessThan(choleskyTolerance);
  });

  it.each(["nearly parallel", "equal", "zero"])("takes Householder for %s columns, and Q stays orthonormal to float64", (kind) => {
    const x = whole(50, 4, 0);
    for (let i = 0; i < 50; i++) x[100 + i] = kind === "zero" ? 0 : x[50 + i]! * (kind === "equal" ? 1 : 1 + 1e-9 * (i % 3));
    const qr = thinQr(tall(x, 50, 4));
    expect(qr.method).toBe("householder");
    const { q, product } = parts(qr, 50, 4);
    expect(largestDifference(product, x)).toBeLessThan(float64Tolerance * peak(x));
    expect(orthonormalityError(q, 50)).toBeLessThan(float64Tolerance);
  });

  it("gives a wide matrix a Q as wide as its rows", () => {
    const x = whole(3, 5, 0);
    const { q, product } = parts(householderQr(x.slice(), 3, 5), 3, 5);
    expect(largestDifference(product, x)).toBeLessThan(float64Tolerance * peak(x));
    expect([...q.subarray(9)].every((value) => value === 0)).toBe(true);
  });

  it("refuses NaN by shape", () => {
    expect(() => thinQr(tall(Float64Array.of(1, NaN), 2, 1))).toThrow("QR of a 2 × 1 matrix: it holds NaN or infinity");
  });
});

it("a matrix of few distinct rows settles, with as many values above rounding as it has directions", () => {
  const [rows, cols, distinct] = [400, 128, 5];
  const random = randomStream(1, "rows");
  const kinds = Array.from({ length: distinct }, () => Float64Array.from({ length: cols }, () => random.gaussian()));
  const matrix = new Float64Array(rows * cols);
  for (let row = 0; row < rows; row++) for (let col = 0; col < cols; col++) matrix[col * rows + row] = kinds[row % distinct]![col]!;
  const { u, s, v } = svd(matrix, rows, cols);
  expect([...s].filter((value) => value > 1e-10 * s[0]!)).toHaveLength(distinct);
  let error = 0;
  for (let col = 0; col < cols; col++) {
    for (let row = 0; row < rows; row++) {
      let value = 0;
      for (let k = 0; k < distinct; k++) value += u[k * rows + row]! * s[k]! * v[k * cols + col]!;
      error = Math.max(error, Math.abs(value - matrix[col * rows + row]!));
    }
  }
  expect(error).toBeLessThan(1e-10);
});
