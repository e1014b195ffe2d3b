/**
 * The inner loops of small dense matrices whose columns lie one after another, in float64, two values an instruction.
 * Lengths are rounded up to the kernels' steps: what lies past the end of a column is read, so it must be finite where it counts.
 */
import {
  advance,
  type Code,
  f64x2Add,
  f64x2Mul,
  f64x2Shuffle,
  f64x2Sub,
  i32Add,
  i32LessUnsigned,
  localGet,
  localSet,
  repeatWhile,
  v128Load,
  v128LoadSplat64,
  v128Store,
  v128Zero,
  wasmModule,
  type WasmFunction,
} from "./wasmModule.ts";

const [bytes, pageBytes] = [8, 2 ** 16] as const;
/** Entries that `combine` takes at once, and so may reach past the end. */
const block = 8;
const slack = 2 * block;
const quarters = [0, 1, 2, 3] as const;
const isBelow = (index: number, end: number): Code => [...localGet(index), ...localGet(end), ...i32LessUnsigned];
const sumOf = (index: number, more: number): Code => [...localGet(index), ...localGet(more), ...i32Add];

/** out[c] = x · column c, two columns at a time. */
const dots: WasmFunction = (() => {
  const [out, columns, x, outEnd, length, stride, one, two, at, end] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] as const;
  const [left, right, value] = [10, 11, 12] as const;
  const product = (column: number, sum: number): Code => [
    ...[...localGet(column), ...v128Load(0), ...localGet(value), ...f64x2Mul],
    ...[...localGet(sum), ...f64x2Add, ...localSet(sum), ...advance(column, 16)],
  ];
  const both = [...localGet(left), ...localGet(right)];
  return {
    name: "dots",
    parameters: 6,
    locals: [
      { count: 4, type: "i32" },
      { count: 3, type: "v128" },
    ],
    body: repeatWhile(
      [
        ...[...localGet(columns), ...localSet(one), ...sumOf(columns, stride), ...localSet(two)],
        ...[...localGet(x), ...localSet(at), ...sumOf(x, length), ...localSet(end)],
        ...[...v128Zero, ...localSet(left), ...v128Zero, ...localSet(right)],
        ...repeatWhile(
          [...localGet(at), ...v128Load(0), ...localSet(value), ...product(one, left), ...product(two, right), ...advance(at, 16)],
          isBelow(at, end),
        ),
        ...[...localGet(out), ...both, ...f64x2Shuffle(0, 2), ...both, ...f64x2Shuffle(1, 3), ...f64x2Add, ...v128Store(0)],
        ...[...sumOf(columns, stride), ...localGet(stride), ...i32Add, ...localSet(columns), ...advance(out, 16)],
      ],
      isBelow(out, outEnd),
    ),
  };
})();

/** y −= Σ weights[c] · column c, eight entries at a time. */
const combine: WasmFunction = (() => {
  const [y, columns, weights, weightsEnd, end, stride, weight, column] = [0, 1, 2, 3, 4, 5, 6, 7] as const;
  const [sum, factor] = [8, 12] as const; // four vectors and one
  return {
    name: "combine",
    parameters: 6,
    locals: [
      { count: 2, type: "i32" },
      { count: 5, type: "v128" },
    ],
    body: repeatWhile(
      [
        ...quarters.flatMap((i) => [...localGet(y), ...v128Load(16 * i), ...localSet(sum + i)]),
        ...[...localGet(columns), ...localSet(column), ...localGet(weights), ...localSet(weight)],
        ...repeatWhile(
          [
            ...[...localGet(weight), ...v128LoadSplat64(0), ...localSet(factor)],
            ...quarters.flatMap((i) => [
              ...[...localGet(sum + i), ...localGet(column), ...v128Load(16 * i)],
              ...[...localGet(factor), ...f64x2Mul, ...f64x2Sub, ...localSet(sum + i)],
            ]),
            ...[...advance(weight, bytes), ...sumOf(column, stride), ...localSet(column)],
          ],
          isBelow(weight, weightsEnd),
        ),
        ...quarters.flatMap((i) => [...localGet(y), ...localGet(sum + i), ...v128Store(16 * i)]),
        ...[...advance(y, block * bytes), ...advance(columns, block * bytes)],
      ],
      isBelow(y, end),
    ),
  };
})();

/** column c += weights[c] · x, each. */
const addOuter: WasmFunction = (() => {
  const [columns, weights, x, weightsEnd, length, stride, to, at, end] = [0, 1, 2, 3, 4, 5, 6, 7, 8] as const;
  const factor = 9;
  return {
    name: "addOuter",
    parameters: 6,
    locals: [
      { count: 3, type: "i32" },
      { count: 1, type: "v128" },
    ],
    body: repeatWhile(
      [
        ...[...localGet(weights), ...v128LoadSplat64(0), ...localSet(factor)],
        ...[...localGet(columns), ...localSet(to), ...localGet(x), ...localSet(at), ...sumOf(x, length), ...localSet(end)],
        ...repeatWhile(
          [
            ...[...localGet(to), ...localGet(to), ...v128Load(0)],
            ...[...localGet(at), ...v128Load(0), ...localGet(factor), ...f64x2Mul, ...f64x2Add, ...v128Store(0)],
            ...[...advance(to, 16), ...advance(at, 16)],
          ],
          isBelow(at, end),
        ),
        ...[...sumOf(columns, stride), ...localSet(columns), ...advance(weights, bytes)],
      ],
      isBelow(weights, weightsEnd),
    ),
  };
})();

const memory = new WebAssembly.Memory({ initial: 1 });
const { exports } = new WebAssembly.Instance(new WebAssembly.Module(wasmModule([dots, combine, addOuter])), { env: { memory } });
const kernels = exports as Record<"dots" | "combine" | "addOuter", (...addresses: number[]) => void>;
let space = new Float64Array(memory.buffer);

/** `length` zeros that the products below work in, by index; whoever asked before has lost his. */
export function workspace(length: number): Float64Array {
  const missing = bytes * (length + slack) - memory.buffer.byteLength;
  if (missing > 0) {
    memory.grow(Math.ceil(missing / pageBytes));
    space = new Float64Array(memory.buffer);
  }
  return space.fill(0, 0, length + slack);
}

/** Columns in the workspace: `count` of them from index `first`, `stride` entries apart; `length` entries of each count. */
export interface Columns {
  readonly first: number;
  readonly count: number;
  readonly length: number;
  readonly stride: number;
}

/** `[count]` at `out` ← products of each column with x; the length is rounded up to 2, and one entry past an odd count is overwritten. */
export function dotsWith(x: number, { first, count, length, stride }: Columns, out: number): void {
  if (count > 0) kernels.dots(bytes * out, bytes * first, bytes * x, bytes * (out + count), bytes * length, bytes * stride);
}

/** y ← y − Σ weights[c] · column c; the length is rounded up to 8. */
export function subtractCombined(y: number, weights: number, { first, count, length, stride }: Columns): void {
  if (count > 0) kernels.combine(bytes * y, bytes * first, bytes * weights, bytes * (weights + count), bytes * (y + length), bytes * stride);
}

/** column c ← column c + weights[c] · x, each; the length is rounded up to 2. */
export function addToEach({ first, count, length, stride }: Columns, weights: number, x: number): void {
  if (count > 0) kernels.addOuter(bytes * first, bytes * weights, bytes * x, bytes * (weights + count), bytes * length, bytes * stride);
}
