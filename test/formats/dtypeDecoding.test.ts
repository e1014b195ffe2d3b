import fc from "fast-check";
import { expect, test } from "vitest";
import { bf16FromFloats, f16FromFloats, floatsFromBf16, floatsFromBytes, floatsFromF16, intsFromBytes } from "../../server/formats/dtypeDecoding.ts";
import { expectCode } from "./expectCode.ts";

const seed = 20;
const bitsOf = (value: number) => new Uint32Array(Float32Array.of(value).buffer)[0]!;

test.each([
  [0x0000, 0],
  [0x8000, -0],
  [0x3c00, 1],
  [0xc000, -2],
  [0x3555, 0.333251953125],
  [0x7bff, 65504],
  [0x0001, 2 ** -24],
  [0x83ff, -1023 * 2 ** -24],
  [0x0400, 2 ** -14],
  [0x7c00, Infinity],
  [0xfc00, -Infinity],
  [0x7e00, NaN],
])("half precision %i is the number IEEE 754 says", (bits, value) => {
  expect(Object.is(floatsFromF16(Uint16Array.of(bits))[0], value)).toBe(true);
});

test.each([
  [0x3f80, 1],
  [0xc040, -3],
  [0x0001, 2 ** -133],
  [0x807f, -127 * 2 ** -133],
  [0x7f7f, 255 * 2 ** 120],
  [0x7f80, Infinity],
  [0xff80, -Infinity],
  [0x7fc0, NaN],
  [0x8000, -0],
])("bfloat16 %i is the upper half of that float32", (bits, value) => {
  expect(Object.is(floatsFromBf16(Uint16Array.of(bits))[0], value)).toBe(true);
});

test("every half-precision and bfloat16 number but NaN comes back from float32 with the same bits", () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const isNaN16 = (bits: number) => (bits & 0x7c00) === 0x7c00 && (bits & 0x3ff) !== 0;
  const isNaNBf = (bits: number) => (bits & 0x7f80) === 0x7f80 && (bits & 0x7f) !== 0;
  const half = f16FromFloats(floatsFromF16(all));
  const brain = bf16FromFloats(floatsFromBf16(all));
  expect(all.filter((bits) => !isNaN16(bits) && half[bits] !== bits)).toHaveLength(0);
  expect(all.filter((bits) => !isNaNBf(bits) && brain[bits] !== bits)).toHaveLength(0);
  expect(all.filter((bits) => isNaN16(bits) && !isNaN16(half[bits]!))).toHaveLength(0);
  expect(all.filter((bits) => isNaNBf(bits) && !isNaNBf(brain[bits]!))).toHaveLength(0);
});

test.each([
  [1 + 2 ** -11, 0x3c00, "half way rounds to the even neighbour below"],
  [1 + 3 * 2 ** -11, 0x3c02, "half way rounds to the even neighbour above"],
  [65519.99, 0x7bff, "just under the overflow threshold is the largest number"],
  [65520, 0x7c00, "the overflow threshold is infinity"],
  [2 ** -25, 0x0000, "half the smallest subnormal rounds to zero"],
  [3 * 2 ** -26, 0x0001, "three quarters of the smallest subnormal rounds up"],
  [2 ** -14 - 2 ** -26, 0x0400, "a subnormal that rounds up becomes the smallest normal"],
])("%d as half precision is %i: %s", (value, bits) => {
  expect(f16FromFloats(Float32Array.of(value))[0]).toBe(bits);
});

test("bfloat16 is the nearest of its neighbours, the even one at half way", () => {
  expect([...bf16FromFloats(Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20))]).toEqual([0x3f80, 0x3f82, 0x3f81]);
});

test("float32 bytes on a 4-byte boundary are viewed, others are copied to the same values", () => {
  const bytes = new Uint8Array(13);
  bytes.set(new Uint8Array(Float32Array.of(1.5, -2.25).buffer), 4);
  const viewed = floatsFromBytes(bytes.subarray(4, 12), "F32", "t");
  expect(viewed.buffer).toBe(bytes.buffer);
  bytes.copyWithin(5, 4, 12);
  const copied = floatsFromBytes(bytes.subarray(5, 13), "F32", "t");
  expect(copied.buffer).not.toBe(bytes.buffer);
  expect(copied.map(bitsOf)).toEqual(Float32Array.of(1.5, -2.25).map(bitsOf));
});

test("integers that int32 cannot hold are refused, not wrapped", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 33n), max: 2n ** 33n }), (value) => {
      const bytes = new Uint8Array(BigInt64Array.of(value).buffer);
      if (value >= -(2n ** 31n) && value < 2n ** 31n) expect(intsFromBytes(bytes, "I64", "t")[0]).toBe(Number(value));
      else expectCode(() => intsFromBytes(bytes, "I64", "t"), "safetensors.unsupportedDtype", `${value}`);
    }),
    { seed },
  );
});
