/** Products of tall matrices in panels: every layout and length must equal the sums written out. */
import { describe, expect, it } from "vitest";
import { gaussians, randomStream } from "../../server/linalg/random.ts";
import { gramMatrix, timesMatrix, type TallMatrix } from "../../server/linalg/tallMatrix.ts";
import { bidiagonalValues } from "../../server/linalg/bidiagonalValues.ts";
import { svdValues } from "../../server/linalg/singularValues.ts";
import { svd } from "../../server/linalg/svd.ts";

const normals = (length: number, seed: number): Float32Array => gaussians(length, 1, randomStream(seed));
const at = ({ data, rowStride, columnStride }: TallMatrix, i: number, j: number): number => data[i * rowStride + j * columnStride] ?? NaN;

function matrix(rows: number, n: number, layout: "rows" | "columns" | "apart", kind: typeof Float32Array | typeof Float64Array): TallMatrix {
  const data = kind.from(normals(layout === "apart" ? 3 * rows * n : rows * n, rows * 131 + n));
  if (layout === "apart") return { data, rows, n, rowStride: 3 * n, columnStride: 3 };
  return layout === "rows" ? { data, rows, n, rowStride: n, columnStride: 1 } : { data, rows, n, rowStride: 1, columnStride: rows };
}

const shapes = [
  [1, 1],
  [3, 2],
  [127, 5],
  [128, 4],
  [129, 16],
  [1023, 6],
  [1025, 7],
  [2050, 12],
  [300, 66],
] as const;

describe.each(["rows", "columns", "apart"] as const)("a matrix that lies by %s", (layout) => {
  it.each(shapes)("%i × %i", (rows, n) => {
    for (const kind of [Float32Array, Float64Array]) {
      const x = matrix(rows, n, layout, kind);
      const gram = gramMatrix(x);
      for (let a = 0; a < n; a++) {
        for (let b = 0; b < n; b++) {
          let sum = 0;
          for (let i = 0; i < rows; i++) sum += at(x, i, a) * at(x, i, b);
          expect(Math.abs(gram[a * n + b]! - sum)).toBeLessThanOrEqual(1e-12 * rows);
        }
      }
      for (const k of [1, 2, 3]) {
        const mix = Float64Array.from(normals(n * k, k));
        const product = timesMatrix(x, mix, k);
        expect(product).toHaveLength(rows * k);
        for (let c = 0; c < k; c++) {
          for (let i = 0; i < rows; i++) {
            let sum = 0;
            for (let j = 0; j < n; j++) sum += at(x, i, j) * mix[c * n + j]!;
            expect(Math.abs(product[c * rows + i]! - sum)).toBeLessThanOrEqual(1e-12 * n);
          }
        }
      }
    }
  });
});

describe("singular values alone", () => {
  it.each([1, 2, 3, 16, 40, 130])("are those of the whole decomposition, %i × the same", (n) => {
    const full = Float64Array.from(normals(n * n, n));
    const low = Float64Array.from({ length: n * n }, (_, i) => (i % n) + 1 + Math.floor(i / n)); // rank 2
    for (const m of [full, low, full.map((value) => value * 1e-200), new Float64Array(n * n)]) {
      const [alone, whole] = [svdValues(m, n), svd(m, n, n).s];
      expect(alone).toHaveLength(n);
      for (const [i, value] of alone.entries()) expect(Math.abs(value - whole[i]!)).toBeLessThanOrEqual(n * 2e-15 * whole[0]!);
    }
  });
});

describe("singular values of a bidiagonal matrix", () => {
  const n = 9;
  const diagonal = Float64Array.from({ length: n }, (_, k) => 2 - k / 7);
  const above = Float64Array.from({ length: n }, (_, k) => (k < n - 1 ? 1 - k / 5 : 0));
  const cases: Record<string, [Float64Array, Float64Array]> = {
    "as it comes": [diagonal, above],
    "with a first entry of 0": [diagonal.with(0, 0), above],
    "with two entries of 0 inside": [diagonal.with(3, 0).with(4, 0), above],
    "with a last entry of 0": [diagonal.with(n - 1, 0), above],
    "with nothing on the diagonal": [new Float64Array(n), above],
    "of powers of ten": [diagonal.map((value, k) => value * 10 ** -k), above.map((value, k) => value * 10 ** (-k - 1))],
    "of equal entries": [new Float64Array(n).fill(1), new Float64Array(n).fill(1).with(n - 1, 0)],
    "in two parts": [diagonal, above.with(4, 0)],
    "of one entry, negative": [Float64Array.of(-3), Float64Array.of(0)],
  };
  it.each(Object.keys(cases))("%s", (name) => {
    const [d, e] = cases[name]!;
    const size = d.length;
    const dense = new Float64Array(size * size);
    for (let k = 0; k < size; k++) dense[k * size + k] = d[k]!;
    for (let k = 0; k < size - 1; k++) dense[(k + 1) * size + k] = e[k]!;
    const expected = svd(dense, size, size).s;
    const found = bidiagonalValues(d.slice(), e.slice());
    for (const [k, value] of found.entries()) expect(Math.abs(value - expected[k]!)).toBeLessThanOrEqual(size * 2e-16 * expected[0]!);
  });
});
