/** Number formats of weight files and how each becomes float32 or int32, and back. */
import { WorkbenchError } from "../errors.ts";

/** Bits of one element, by safetensors dtype name. */
export const safetensorsBits = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;
export type SafetensorsDtype = keyof typeof safetensorsBits;

/** The dtypes that `floatsFromBytes` converts. */
export const floatDtypes = ["F32", "BF16", "F16"] as const;
export type FloatDtype = (typeof floatDtypes)[number];

export function isSafetensorsDtype(name: unknown): name is SafetensorsDtype {
  return typeof name === "string" && Object.hasOwn(safetensorsBits, name);
}

export function isFloatDtype(dtype: SafetensorsDtype): dtype is FloatDtype {
  return (floatDtypes as readonly string[]).includes(dtype);
}

/**
 * Float32 values of little-endian F32, BF16 or F16 bytes. F32 that lies on a 4-byte boundary is a view, not a copy.
 *
 * @param where names the tensor in an error
 * @param into where a conversion writes, of the same length; pages that are already in use make it twice as fast
 * @throws "safetensors.unsupportedDtype" for every other dtype
 */
export function floatsFromBytes(bytes: Uint8Array, dtype: SafetensorsDtype, where: string, into?: Float32Array): Float32Array {
  switch (dtype) {
    case "F32":
      return aligned(bytes, 4, (buffer, offset, length) => new Float32Array(buffer, offset, length));
    case "BF16":
      return floatsFromBf16(halves(bytes), into);
    case "F16":
      return floatsFromF16(halves(bytes), into);
    default:
      throw new WorkbenchError("safetensors.unsupportedDtype", `${where} is ${dtype}; expected a float weight: ${floatDtypes.join(", ")}`);
  }
}

/**
 * Int32 values of I32 or I64 bytes.
 *
 * @throws "safetensors.unsupportedDtype" for other dtypes, and for an I64 value that int32 cannot hold
 */
export function intsFromBytes(bytes: Uint8Array, dtype: SafetensorsDtype, where: string): Int32Array {
  if (dtype === "I32") return aligned(bytes, 4, (buffer, offset, length) => new Int32Array(buffer, offset, length));
  if (dtype !== "I64") throw new WorkbenchError("safetensors.unsupportedDtype", `${where} is ${dtype}; expected whole numbers: I32, I64`);
  const wide = aligned(bytes, 8, (buffer, offset, length) => new BigInt64Array(buffer, offset, length));
  const narrow = new Int32Array(wide.length);
  wide.forEach((value, i) => {
    narrow[i] = Number(value);
    if (BigInt(narrow[i]) !== value) {
      throw new WorkbenchError("safetensors.unsupportedDtype", `${where} holds ${value} at ${i}; expected values between -2^31 and 2^31 - 1`);
    }
  });
  return narrow;
}

export function floatsFromBf16(bits: Uint16Array, into: Float32Array = new Float32Array(bits.length)): Float32Array {
  const out = destinationBits(into, bits.length);
  // Two numbers a step were no faster: the time goes into memory.
  for (let i = 0; i < out.length; i++) out[i] = bits[i]! << 16;
  return into;
}

export function floatsFromF16(bits: Uint16Array, into: Float32Array = new Float32Array(bits.length)): Float32Array {
  f16Table ??= makeF16Table();
  // Through integers: a NaN keeps its payload, and the loop has no float conversion in it.
  const table = f16Table;
  const out = destinationBits(into, bits.length);
  for (let i = 0; i < out.length; i++) out[i] = table[bits[i]!]!;
  return into;
}

/** BF16 bits, rounded to nearest, ties to even; NaN stays NaN. */
export function bf16FromFloats(values: Float32Array): Uint16Array {
  const bits = floatBits(values);
  const out = new Uint16Array(bits.length);
  // A plain loop: Uint16Array.from with a function takes about 40 times as long.
  for (let i = 0; i < out.length; i++) {
    const b = bits[i]!;
    out[i] = (b & 0x7fffffff) > 0x7f800000 ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
  return out;
}

/** F16 bits, rounded to nearest, ties to even; too large becomes infinity, NaN stays NaN. */
export function f16FromFloats(values: Float32Array): Uint16Array {
  const bits = floatBits(values);
  const out = new Uint16Array(bits.length);
  for (let i = 0; i < out.length; i++) out[i] = f16FromFloatBits(bits[i]!);
  return out;
}

function f16FromFloatBits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // rounds to 65520 or more: infinity
  if (magnitude >= 0x38800000) {
    // Normal: move the exponent bias from 127 to 15, then drop 13 bits of mantissa.
    const moved = magnitude - (112 << 23);
    return sign | ((moved + 0xfff + ((moved >>> 13) & 1)) >>> 13);
  }
  // Subnormal: a whole number of 2^-24 steps; scaling by a power of two is exact in float64.
  floatOfBits[0] = magnitude;
  const steps = asFloat[0]! * 2 ** 24;
  const floor = Math.floor(steps);
  const rest = steps - floor;
  return sign | (floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0));
}

const floatOfBits = new Uint32Array(1);
const asFloat = new Float32Array(floatOfBits.buffer);

let f16Table: Uint32Array | undefined;
/** Float32 bits of all 65,536 half-precision numbers. */
function makeF16Table(): Uint32Array {
  const table = new Uint32Array(65536);
  const value = new Float32Array(1);
  const valueBits = new Uint32Array(value.buffer);
  for (let half = 0; half < 65536; half++) {
    const sign = (half & 0x8000) << 16;
    const exponent = (half >>> 10) & 0x1f;
    const mantissa = half & 0x3ff;
    if (exponent === 0) {
      value[0] = mantissa * 2 ** -24;
      table[half] = sign | valueBits[0]!;
    } else {
      table[half] = sign | ((exponent === 31 ? 255 : exponent + 112) << 23) | (mantissa << 13);
    }
  }
  return table;
}

function halves(bytes: Uint8Array): Uint16Array {
  return aligned(bytes, 2, (buffer, offset, length) => new Uint16Array(buffer, offset, length));
}

function destinationBits(into: Float32Array, length: number): Uint32Array {
  if (into.length !== length) throw new WorkbenchError("internal", `internal: a conversion of ${length} numbers was given room for ${into.length}`);
  return floatBits(into);
}

function floatBits(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

function aligned<T>(bytes: Uint8Array, itemBytes: number, view: (buffer: ArrayBufferLike, offset: number, length: number) => T): T {
  const source = bytes.byteOffset % itemBytes === 0 ? bytes : new Uint8Array(bytes);
  return view(source.buffer, source.byteOffset, source.byteLength / itemBytes);
}
