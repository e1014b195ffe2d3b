/**
 * The inner loops of tall matrices, on panels of 128 rows in float64, two values an instruction (WebAssembly's 128-bit vectors).
 * A panel lies column after column; its columns are made up to a multiple of four with columns of zeros.
 *
 * Scratch memory is one for all: each function below uses what it finds there and leaves nothing that is read later.
 */
import {
  advance,
  call,
  type Code,
  f64x2Add,
  f64x2Mul,
  f64x2PromoteLow,
  f64x2Shuffle,
  i32Add,
  i32Const,
  i32LessUnsigned,
  i32Mul,
  localGet,
  localSet,
  memoryFill,
  repeatWhile,
  v128Load,
  v128LoadSplat64,
  v128LoadZero64,
  v128Store,
  v128Zero,
  wasmModule,
  when,
  type WasmFunction,
} from "./wasmModule.ts";

/** Rows of a panel: 16 columns of them in float64 fit the first-level cache. */
export const panelRows = 128;
const columnBytes = 8 * panelRows;
const pageBytes = 2 ** 16;

const range = (count: number): readonly number[] => Array.from({ length: count }, (_, i) => i);

/**
 * sums[a, b] += Σᵢ xᵢₐ xᵢᵦ for a ≤ b, four columns b at a time: with two columns a before them, whose eight sums stay in registers,
 * and with one another, which makes ten.
 */
const gram: WasmFunction = (() => {
  const [panel, sums, columns, b, a, x, y, end, at, wide] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] as const;
  const [sum, column] = [10, 20] as const; // ten and four vectors
  const addressOf = (index: number): Code => [...localGet(panel), ...localGet(index), ...i32Const(columnBytes), ...i32Mul, ...i32Add];
  const load = (address: number, j: number, into: number): Code => [...localGet(address), ...v128Load(j * columnBytes), ...localSet(into)];
  const addProduct = (one: number, other: number, into: number): Code => [
    ...[...localGet(one), ...localGet(other), ...f64x2Mul],
    ...[...localGet(into), ...f64x2Add, ...localSet(into)],
  ];
  /** The lanes of two sums added up, to the entries 2 · pair and the next of row `at`. */
  const store = (pair: number, [one, two]: readonly [number, number]): Code => {
    const both = [...localGet(one), ...localGet(two)];
    return [
      ...localGet(at),
      ...[...both, ...f64x2Shuffle(0, 2), ...both, ...f64x2Shuffle(1, 3), ...f64x2Add],
      ...[...localGet(at), ...v128Load(16 * pair), ...f64x2Add, ...v128Store(16 * pair)],
    ];
  };
  /** `rows` from row `first` on: pairs of sums of the four columns from b. */
  const storeRows = (first: number, rows: readonly (readonly (readonly [number, number] | null)[])[]): Code => [
    // at = sums + 8 (first · columns + b)
    ...[
      ...localGet(sums),
      ...localGet(first),
      ...localGet(columns),
      ...i32Mul,
      ...localGet(b),
      ...i32Add,
      ...i32Const(8),
      ...i32Mul,
      ...i32Add,
      ...localSet(at),
    ],
    ...rows.flatMap((pairs) => [...pairs.flatMap((pair, i) => (pair ? store(i, pair) : [])), ...localGet(at), ...localGet(wide), ...i32Add, ...localSet(at)]),
  ];
  const overRows = (step: Code): Code => [
    ...[...localGet(y), ...i32Const(columnBytes), ...i32Add, ...localSet(end)],
    ...repeatWhile([...step, ...advance(x, 16), ...advance(y, 16)], [...localGet(y), ...localGet(end), ...i32LessUnsigned]),
  ];
  const clear = (count: number): Code => range(count).flatMap((i) => [...v128Zero, ...localSet(sum + i)]);

  const beside = (i: number, j: number): number => sum + 4 * i + j;
  const tile: Code = [
    ...[...clear(8), ...addressOf(a), ...localSet(x), ...addressOf(b), ...localSet(y)],
    ...overRows([
      ...range(2).flatMap((i) => load(x, i, column + i)),
      ...range(4).flatMap((j) => [...load(y, j, column + 2), ...range(2).flatMap((i) => addProduct(column + i, column + 2, beside(i, j)))]),
    ]),
    ...storeRows(
      a,
      range(2).map((i) => range(2).map((pair) => [beside(i, 2 * pair), beside(i, 2 * pair + 1)] as const)),
    ),
    ...advance(a, 2),
  ];
  const among = (i: number, j: number): number => sum + (i > j ? among(j, i) - sum : j + [0, 3, 5, 6][i]!);
  const triangle: Code = [
    ...[...clear(10), ...addressOf(b), ...localSet(y)],
    ...overRows([...range(4).flatMap((j) => [...load(y, j, column + j), ...range(j + 1).flatMap((i) => addProduct(column + i, column + j, among(i, j)))])]),
    ...storeRows(
      b,
      range(4).map((i) => range(2).map((pair) => (2 * pair + 1 < i ? null : ([among(i, 2 * pair), among(i, 2 * pair + 1)] as const)))),
    ),
  ];
  const isBelow = (one: number, other: number): Code => [...localGet(one), ...localGet(other), ...i32LessUnsigned];
  return {
    name: "gram",
    parameters: 3,
    locals: [
      { count: 7, type: "i32" },
      { count: 14, type: "v128" },
    ],
    body: [
      ...[...localGet(columns), ...i32Const(8), ...i32Mul, ...localSet(wide)],
      ...repeatWhile(
        [...triangle, ...i32Const(0), ...localSet(a), ...when(isBelow(a, b), repeatWhile(tile, isBelow(a, b))), ...advance(b, 4)],
        isBelow(b, columns),
      ),
    ],
  };
})();

/** Two columns of the result += four columns of a panel, each times its weight: `weights` points at 4 and, `stride` bytes on, 4 more. */
const combine: WasmFunction = (() => {
  const [result, panel, weights, stride, end] = [0, 1, 2, 3, 4] as const;
  const [weight, x, sum] = [5, 13, 14] as const; // eight, one and two vectors
  const body: Code = [
    ...range(2).flatMap((i) => [...localGet(result), ...v128Load(i * columnBytes), ...localSet(sum + i)]),
    ...range(4).flatMap((j) => [
      ...[...localGet(panel), ...v128Load(j * columnBytes), ...localSet(x)],
      ...range(2).flatMap((i) => [...localGet(x), ...localGet(weight + 4 * i + j), ...f64x2Mul, ...localGet(sum + i), ...f64x2Add, ...localSet(sum + i)]),
    ]),
    ...range(2).flatMap((i) => [...localGet(result), ...localGet(sum + i), ...v128Store(i * columnBytes)]),
    ...[...advance(result, 16), ...advance(panel, 16)],
  ];
  return {
    name: "combine",
    parameters: 4,
    locals: [
      { count: 1, type: "i32" },
      { count: 11, type: "v128" },
    ],
    body: [
      ...range(4).flatMap((j) => [...localGet(weights), ...v128LoadSplat64(8 * j), ...localSet(weight + j)]),
      ...[...localGet(weights), ...localGet(stride), ...i32Add, ...localSet(weights)],
      ...range(4).flatMap((j) => [...localGet(weights), ...v128LoadSplat64(8 * j), ...localSet(weight + 4 + j)]),
      ...[...localGet(result), ...i32Const(columnBytes), ...i32Add, ...localSet(end)],
      ...repeatWhile(body, [...localGet(result), ...localGet(end), ...i32LessUnsigned]),
    ],
  };
})();

/** One column of a panel out of 128 float32 that lie side by side. */
const fillColumn: WasmFunction = (() => {
  const [from, to, end] = [0, 1, 2] as const;
  const pair = (i: number): Code => [...localGet(to), ...localGet(from), ...v128LoadZero64(8 * i), ...f64x2PromoteLow, ...v128Store(16 * i)];
  return {
    name: "fillColumn",
    parameters: 2,
    locals: [{ count: 1, type: "i32" }],
    body: [
      ...[...localGet(to), ...i32Const(columnBytes), ...i32Add, ...localSet(end)],
      ...repeatWhile([...range(4).flatMap(pair), ...advance(from, 32), ...advance(to, 64)], [...localGet(to), ...localGet(end), ...i32LessUnsigned]),
    ],
  };
})();

/** Two columns of a panel out of 128 rows of float32 that lie `stride` bytes apart. */
const fillPair: WasmFunction = (() => {
  const [from, to, stride, end] = [0, 1, 2, 3] as const;
  const [one, two] = [4, 5] as const;
  const row = (into: number): Code => [
    ...[...localGet(from), ...v128LoadZero64(0), ...f64x2PromoteLow, ...localSet(into)],
    ...[...localGet(from), ...localGet(stride), ...i32Add, ...localSet(from)],
  ];
  const both = [...localGet(one), ...localGet(two)];
  return {
    name: "fillPair",
    parameters: 3,
    locals: [
      { count: 1, type: "i32" },
      { count: 2, type: "v128" },
    ],
    body: [
      ...[...localGet(to), ...i32Const(columnBytes), ...i32Add, ...localSet(end)],
      ...repeatWhile(
        [
          ...[...row(one), ...row(two)],
          ...[...localGet(to), ...both, ...f64x2Shuffle(0, 2), ...v128Store(0)],
          ...[...localGet(to), ...both, ...f64x2Shuffle(1, 3), ...v128Store(columnBytes)],
          ...advance(to, 16),
        ],
        [...localGet(to), ...localGet(end), ...i32LessUnsigned],
      ),
    ],
  };
})();

/**
 * sums = XᵀX of whole panels of float32 values as they lie: `fill` makes `atOnce` columns of a panel out of what begins at `from`,
 * the next begin `fromStep` bytes on, those of the next panel `panelStep`. Columns that fill up the last tile hold anything.
 */
function gramOfPanels(name: string, fill: Code, atOnce: number, fromStep: Code, panelStep: Code): WasmFunction {
  const [panel, filled, source, sourceEnd, , sums, columns, from, to] = [0, 1, 2, 3, 4, 5, 6, 7, 8] as const;
  return {
    name,
    parameters: 7,
    locals: [{ count: 2, type: "i32" }],
    body: [
      ...[...localGet(sums), ...i32Const(0), ...localGet(columns), ...localGet(columns), ...i32Const(8), ...i32Mul, ...i32Mul, ...memoryFill],
      ...[...localGet(panel), ...localGet(filled), ...i32Add, ...localSet(filled)],
      ...repeatWhile(
        [
          ...[...localGet(source), ...localSet(from), ...localGet(panel), ...localSet(to)],
          ...repeatWhile(
            [...localGet(from), ...localGet(to), ...fill, ...localGet(from), ...fromStep, ...i32Add, ...localSet(from), ...advance(to, atOnce * columnBytes)],
            [...localGet(to), ...localGet(filled), ...i32LessUnsigned],
          ),
          ...[...localGet(panel), ...localGet(sums), ...localGet(columns), ...call(functions.indexOf(gram))],
          ...[...localGet(source), ...panelStep, ...i32Add, ...localSet(source)],
        ],
        [...localGet(source), ...localGet(sourceEnd), ...i32LessUnsigned],
      ),
    ],
  };
}

const functions = [gram, combine, fillColumn, fillPair];
const stride = localGet(4);
const gramOfColumns = gramOfPanels("gramOfColumns", call(functions.indexOf(fillColumn)), 1, stride, i32Const(4 * panelRows));
const gramOfRows = gramOfPanels("gramOfRows", [...stride, ...call(functions.indexOf(fillPair))], 2, i32Const(8), [
  ...stride,
  ...i32Const(panelRows),
  ...i32Mul,
]);

/** All arguments are byte addresses in the memory, or bytes from one to the next, but `columns`, a multiple of 4. */
export interface PanelKernels {
  gram(panel: number, sums: number, columns: number): void;
  combine(result: number, panel: number, weights: number, stride: number): void;
  fillColumn(from: number, to: number): void;
  fillPair(from: number, to: number, stride: number): void;
  /** sums = XᵀX of float32 columns `stride` bytes apart, the first from `source` to `sourceEnd`, whole panels; they fill `filled` bytes of a panel. */
  gramOfColumns(...addresses: GramOfPanels): void;
  /** The same of float32 rows that lie `stride` bytes apart, all from `source` to `sourceEnd`; 4 bytes more are read. */
  gramOfRows(...addresses: GramOfPanels): void;
}
export type GramOfPanels = [panel: number, filled: number, source: number, sourceEnd: number, stride: number, sums: number, columns: number];

/** The kernels, to be instantiated over a memory. @param sharedPages see `wasmModule` */
export function panelModule(sharedPages: number | null = null): WebAssembly.Module {
  return new WebAssembly.Module(wasmModule([...functions, gramOfColumns, gramOfRows], sharedPages));
}

/** What the kernels of this thread work in; it grows, and a view of it does not outlive that. */
export const memory = new WebAssembly.Memory({ initial: 1 });
export const kernels = new WebAssembly.Instance(panelModule(), { env: { memory } }).exports as unknown as PanelKernels;

/** Addresses of so many bytes each, one after another; whoever asked before has lost his. */
export function scratch(...sizes: readonly number[]): readonly number[] {
  let used = 0;
  const starts = sizes.map((size) => {
    const start = used;
    used += Math.ceil(size / 16) * 16;
    return start;
  });
  const missing = used - memory.buffer.byteLength;
  if (missing > 0) memory.grow(Math.ceil(missing / pageBytes));
  return starts;
}
