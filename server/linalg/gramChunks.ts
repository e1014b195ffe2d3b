/**
 * XᵀX of a tall float32 matrix in chunks of rows: each is copied into the kernels' memory as it lies, summed for itself, and added to
 * the sums of those before. Chunks depend on the number of columns alone, so the sums are the same to the last bit whoever takes which.
 */
import { panelRows } from "./panelKernels.ts";

/** A `TallMatrix` of float32 values whose rows or columns lie without gaps inside: `rowStride` is 1, or `columnStride` is 1 and `rowStride` is n. */
export interface PlainMatrix {
  readonly data: Float32Array;
  readonly rows: number;
  readonly n: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

/** Values of a chunk: they fit the second-level cache beside its panel, and are worth the call of a thread. */
const chunkValues = 2 ** 16;

/** Columns with those that fill the kernels' last tile. */
export const widthOf = (n: number): number => Math.ceil(n / 4) * 4;

/** A multiple of a panel's rows. */
export const chunkRows = (n: number): number => panelRows * Math.max(1, Math.floor(chunkValues / (n * panelRows)));

/** Bytes that a chunk of `n` columns takes: its copy, its panel in float64 and its sums; the copy with the few that the kernels read past its end. */
export const chunkBytes = (n: number): readonly [source: number, panel: number, sums: number] => [
  4 * n * chunkRows(n) + 16,
  8 * widthOf(n) * panelRows,
  8 * widthOf(n) ** 2,
];

const liesByColumns = ({ rowStride }: PlainMatrix): boolean => rowStride === 1;

/** Copies the rows from `first` on, with rows of zeros up to a whole panel. */
export function copyChunk(x: PlainMatrix, first: number, memory: WebAssembly.Memory, source: number): void {
  const { data, n, columnStride } = x;
  const { count, padded } = rowsFrom(x, first);
  const target = new Float32Array(memory.buffer, source, n * padded);
  if (!liesByColumns(x)) target.set(data.subarray(first * n, (first + count) * n));
  else for (let j = 0; j < n; j++) target.set(data.subarray(j * columnStride + first, j * columnStride + first + count), j * padded);
  if (count === padded) return;
  if (!liesByColumns(x)) target.fill(0, count * n);
  else for (let j = 0; j < n; j++) target.fill(0, j * padded + count, (j + 1) * padded);
}

/** The kernel that sums a chunk whose copy lies at `source`, and what it is called with after the address of a panel. */
export interface ChunkCall {
  readonly kernel: "gramOfColumns" | "gramOfRows";
  readonly values: readonly [filled: number, source: number, sourceEnd: number, stride: number, sums: number, columns: number];
}

export function chunkCall(x: PlainMatrix, first: number, source: number, sums: number): ChunkCall {
  const { n } = x;
  const { padded } = rowsFrom(x, first);
  const filled = 8 * panelRows * n;
  return liesByColumns(x)
    ? { kernel: "gramOfColumns", values: [filled, source, source + 4 * padded, 4 * padded, sums, widthOf(n)] }
    : { kernel: "gramOfRows", values: [filled, source, source + 4 * padded * n, 4 * n, sums, widthOf(n)] };
}

/** Adds the upper triangle of a chunk's sums, `[width, width]`, to that of `gram`, `[n, n]`. */
export function addSums(gram: Float64Array, n: number, sums: Float64Array): void {
  const width = widthOf(n);
  for (let i = 0; i < n; i++) for (let j = i; j < n; j++) gram[i * n + j]! += sums[i * width + j]!;
}

/** The lower triangle ← the upper. */
export function mirrored(gram: Float64Array, n: number): Float64Array {
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) gram[j * n + i] = gram[i * n + j]!;
  return gram;
}

function rowsFrom({ rows, n }: PlainMatrix, first: number): { count: number; padded: number } {
  const count = Math.min(chunkRows(n), rows - first);
  return { count, padded: Math.ceil(count / panelRows) * panelRows };
}
