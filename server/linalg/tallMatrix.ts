/**
 * Products with a tall matrix in one pass over its rows, summed in float64: XᵀX, and X times a small matrix.
 * Rows are taken in panels that stay in the cache, so each value is fetched from memory once.
 */
import { addSums, chunkBytes, chunkCall, chunkRows, copyChunk, mirrored, widthOf, type PlainMatrix } from "./gramChunks.ts";
import { kernels, memory, panelRows, scratch } from "./panelKernels.ts";

/** `[rows, n]` seen through strides: entry (i, j) is data[i · rowStride + j · columnStride]. */
export interface TallMatrix {
  readonly data: Float32Array | Float64Array;
  readonly rows: number;
  readonly n: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

/** Whether rows or columns can be copied as they lie. */
export function isPlain(x: TallMatrix): x is PlainMatrix {
  return x.data instanceof Float32Array && (x.rowStride === 1 || (x.columnStride === 1 && x.rowStride === x.n));
}

/** XᵀX, `[n, n]`, summed in float64. */
export function gramMatrix(x: TallMatrix): Float64Array {
  if (x.n === 0) return new Float64Array(0);
  return isPlain(x) ? gramOfChunks(x) : gramOfAny(x);
}

function gramOfChunks(x: PlainMatrix): Float64Array {
  const { rows, n } = x;
  const [source = 0, panel = 0, sums = 0] = scratch(...chunkBytes(n));
  const partial = new Float64Array(memory.buffer, sums, widthOf(n) ** 2);
  const gram = new Float64Array(n * n);
  for (let first = 0; first < rows; first += chunkRows(n)) {
    copyChunk(x, first, memory, source);
    const { kernel, values } = chunkCall(x, first, source, sums);
    kernels[kernel](panel, ...values);
    addSums(gram, n, partial);
  }
  return mirrored(gram, n);
}

function gramOfAny(x: TallMatrix): Float64Array {
  const { n } = x;
  const panels = new Panels(x, 8 * widthOf(n) ** 2);
  const { width, extra: sums } = panels;
  panels.values(sums, width * width).fill(0);
  panels.forEach((panel) => {
    kernels.gram(panel, sums, width);
  });
  const gram = new Float64Array(n * n);
  addSums(gram, n, panels.values(sums, width * width));
  return mirrored(gram, n);
}

/** X · mix, `[rows, k]`, of `mix` `[n, k]`; both column-major. */
export function timesMatrix(x: TallMatrix, mix: Float64Array, k: number): Float64Array {
  const { rows, n } = x;
  const width = widthOf(n);
  const tileBytes = 2 * 8 * panelRows;
  const panels = new Panels(x, tileBytes + 8 * width * (k + 1)); // one column of zeros, for an odd k
  const weights = panels.extra + tileBytes;
  const mixed = panels.values(weights, width * (k + 1)).fill(0);
  for (let c = 0; c < k; c++) mixed.set(mix.subarray(c * n, (c + 1) * n), c * width);
  const tile = panels.values(panels.extra, 2 * panelRows);
  const result = new Float64Array(rows * k);
  panels.forEach((panel, start) => {
    const count = Math.min(panelRows, rows - start);
    for (let c = 0; c < k; c += 2) {
      tile.fill(0);
      for (let j = 0; j < width; j += 4) kernels.combine(panels.extra, panel + 8 * j * panelRows, weights + 8 * (c * width + j), 8 * width);
      result.set(tile.subarray(0, count), c * rows + start);
      if (c + 1 < k) result.set(tile.subarray(panelRows, panelRows + count), (c + 1) * rows + start);
    }
  });
  return result;
}

/** Panels of a matrix in the kernels' scratch memory, and `extraBytes` beside them. */
class Panels {
  readonly width: number;
  /** Address of the caller's own scratch. */
  readonly extra: number;
  readonly #x: TallMatrix;
  readonly #panel: number;
  readonly #source: number;
  /** Rows fetched at once: few calls where they are short, within the cache where they are long. */
  readonly #chunkRows: number;

  constructor(x: TallMatrix, extraBytes: number) {
    this.#x = x;
    this.width = widthOf(x.n);
    this.#chunkRows = panelRows * (x.n <= 64 ? 8 : 1);
    const [panel = 0, source = 0, extra = 0] = scratch(8 * this.width * panelRows, 4 * x.n * this.#chunkRows, extraBytes);
    [this.#panel, this.#source, this.extra] = [panel, source, extra];
    this.values(panel, this.width * panelRows).fill(0);
  }

  values(address: number, length: number): Float64Array {
    return new Float64Array(memory.buffer, address, length);
  }

  /** Hands out each panel, rows `start`…; those past the last are 0. */
  forEach(visit: (panel: number, start: number) => void): void {
    const { data, rows, n, rowStride, columnStride } = this.#x;
    const byColumns = rowStride === 1 && data instanceof Float32Array;
    const byRows = columnStride === 1 && rowStride === n && n % 2 === 0 && data instanceof Float32Array;
    for (let chunk = 0; chunk < rows; chunk += this.#chunkRows) {
      const count = Math.min(this.#chunkRows, rows - chunk);
      if (byColumns || byRows) this.#fetch(data, chunk, count, byColumns);
      for (let start = chunk; start < chunk + count; start += panelRows) {
        const from = this.#source + 4 * (start - chunk) * (byColumns ? 1 : n);
        if (byColumns) for (let j = 0; j < n; j++) kernels.fillColumn(from + 4 * j * this.#chunkRows, this.#column(j));
        else if (byRows) for (let j = 0; j < n; j += 2) kernels.fillPair(from + 4 * j, this.#column(j), 4 * n);
        else this.#fill(start);
        visit(this.#panel, start);
      }
    }
  }

  #column(j: number): number {
    return this.#panel + 8 * j * panelRows;
  }

  /** Rows as they lie, 0 past the last: column after column, or row after row. */
  #fetch(data: Float32Array, first: number, count: number, byColumns: boolean): void {
    const { n, columnStride } = this.#x;
    const source = new Float32Array(memory.buffer, this.#source, n * this.#chunkRows);
    if (count < this.#chunkRows) source.fill(0);
    if (!byColumns) source.set(data.subarray(first * n, (first + count) * n));
    else for (let j = 0; j < n; j++) source.set(data.subarray(j * columnStride + first, j * columnStride + first + count), j * this.#chunkRows);
  }

  /** One panel, value by value, for any strides. */
  #fill(start: number): void {
    const { data, rows, n, rowStride, columnStride } = this.#x;
    const panel = this.values(this.#panel, this.width * panelRows);
    const count = Math.min(panelRows, rows - start);
    if (count < panelRows) panel.fill(0);
    for (let j = 0; j < n; j++) {
      for (let i = 0, from = start * rowStride + j * columnStride, to = j * panelRows; i < count; i++, from += rowStride, to++) panel[to] = data[from]!;
    }
  }
}
