/**
 * Writes a WebAssembly module: the few instructions that loops over float64 panels need, by their names in the specification.
 * An instruction is a list of bytes, and code is instructions one after another.
 * @see https://webassembly.github.io/spec/core/binary/ for the encoding, `0xfd` being the prefix of the 128-bit instructions
 */
export type Code = readonly number[];

/** A function of i32 parameters that returns nothing; locals count on from the parameters. */
export interface WasmFunction {
  readonly name: string;
  readonly parameters: number;
  readonly locals: readonly { readonly count: number; readonly type: "i32" | "v128" }[];
  readonly body: Code;
}

const types = { i32: 0x7f, v128: 0x7b } as const;

export const localGet = (index: number): Code => [0x20, ...unsigned(index)];
export const localSet = (index: number): Code => [0x21, ...unsigned(index)];
export const i32Const = (value: number): Code => [0x41, ...signed(value)];
export const i32Add: Code = [0x6a];
export const i32Mul: Code = [0x6c];
export const i32LessUnsigned: Code = [0x49];
export const v128Load = (offset: number): Code => [0xfd, 0x00, 0, ...unsigned(offset)];
export const v128LoadSplat64 = (offset: number): Code => [0xfd, 0x0a, 0, ...unsigned(offset)];
export const v128LoadZero64 = (offset: number): Code => [0xfd, 0x5d, 0, ...unsigned(offset)];
export const v128Store = (offset: number): Code => [0xfd, 0x0b, 0, ...unsigned(offset)];
export const v128Zero: Code = [0xfd, 0x0c, ...Array.from({ length: 16 }, () => 0)];
/** Two of the four float64 of two vectors: 0 and 1 name the first's, 2 and 3 the second's. */
export const f64x2Shuffle = (low: number, high: number): Code => [
  0xfd,
  0x0d,
  ...[low, high].flatMap((lane) => Array.from({ length: 8 }, (_, i) => 8 * lane + i)),
];
export const f64x2Add: Code = [0xfd, 0xf0, 0x01];
export const f64x2Sub: Code = [0xfd, 0xf1, 0x01];
export const f64x2Mul: Code = [0xfd, 0xf2, 0x01];
/** The lower two float32 as float64. */
export const f64x2PromoteLow: Code = [0xfd, 0x5f];

/** `body` once, and again while `condition` leaves something other than 0. */
export const repeatWhile = (body: Code, condition: Code): Code => [0x03, 0x40, ...body, ...condition, 0x0d, 0, 0x0b];

/** Sets bytes: takes an address, their value and their number. */
export const memoryFill: Code = [0xfc, 0x0b, 0x00];

/** Calls the module's function of this place in its list, with what was put down before. */
export const call = (place: number): Code => [0x10, ...unsigned(place)];

/** `body` if `condition` leaves something other than 0. */
export const when = (condition: Code, body: Code): Code => [...condition, 0x04, 0x40, ...body, 0x0b];

/** local ← local + bytes */
export const advance = (index: number, bytes: number): Code => [...localGet(index), ...i32Const(bytes), ...i32Add, ...localSet(index)];

/**
 * A module of `functions`, over a memory that it takes as `env.memory`.
 * @param sharedPages what that memory may grow to where threads share it; the memory's own says the same
 */
export function wasmModule(functions: readonly WasmFunction[], sharedPages: number | null = null): Uint8Array<ArrayBuffer> {
  const limits = sharedPages === null ? [0x00, 1] : [0x03, 1, ...unsigned(sharedPages)];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, vector(functions.map(({ parameters }) => [0x60, ...vector(Array.from({ length: parameters }, () => [types.i32])), 0]))),
    ...section(2, vector([[...text("env"), ...text("memory"), 0x02, ...limits]])),
    ...section(3, vector(functions.map((_, type) => unsigned(type)))),
    ...section(7, vector(functions.map(({ name }, index) => [...text(name), 0x00, ...unsigned(index)]))),
    ...section(
      10,
      vector(functions.map(({ locals, body }) => sized([...vector(locals.map(({ count, type }) => [...unsigned(count), types[type]])), ...body, 0x0b]))),
    ),
  ]);
}

const section = (id: number, content: Code): Code => [id, ...sized(content)];
const sized = (content: Code): Code => [...unsigned(content.length), ...content];
const vector = (items: readonly Code[]): Code => [...unsigned(items.length), ...items.flat()];
const text = (value: string): Code => sized([...new TextEncoder().encode(value)]);

/** LEB128: seven bits a byte, the eighth says that more follow. */
function unsigned(value: number): Code {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

function signed(value: number): Code {
  return value >= -64 && value < 64 ? [value & 0x7f] : [(value & 0x7f) | 0x80, ...signed(value >> 7)];
}
