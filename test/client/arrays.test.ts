/** The client's reader of `arrays.safetensors`. */
import { describe, expect, test } from "vitest";
import { readArrays } from "../../client/arrays.ts";
import type { ProbeEvent } from "../../probes/result.ts";
import { packEvents, unpackEvents } from "../../server/packedEvents.ts";

/** A file as the format has it, with the header padded so that the numbers start at an odd address. */
function file(header: object, numbers: Float32Array, padding = ""): ArrayBuffer {
  const text = new TextEncoder().encode(JSON.stringify(header) + padding);
  const bytes = new Uint8Array(8 + text.length + numbers.byteLength);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  bytes.set(new Uint8Array(numbers.buffer), 8 + text.length);
  return bytes.buffer;
}
const two = { a: { dtype: "F32", shape: [2, 2], data_offsets: [0, 16] }, b: { dtype: "F32", shape: [1], data_offsets: [16, 20] } };

describe("arrays.safetensors", () => {
  test.each(["", " ", "  ", "   "])("is read wherever its numbers start (header padded by %j)", (padding) => {
    const arrays = readArrays(file(two, Float32Array.of(1, NaN, 3, 4, 5), padding), { a: { axes: ["layer", "position"] } });
    expect(arrays["a"]).toEqual({ shape: [2, 2], axes: ["layer", "position"], data: Float32Array.of(1, NaN, 3, 4) });
    expect(arrays["b"]).toEqual({ shape: [1], axes: [], data: Float32Array.of(5) });
  });

  test("metadata is no array", () => {
    expect(Object.keys(readArrays(file({ __metadata__: { made: "by" }, ...two }, new Float32Array(5))))).toEqual(["a", "b"]);
  });

  test("another dtype is refused by name", () => {
    expect(() => readArrays(file({ c: { dtype: "F16", shape: [1], data_offsets: [0, 2] } }, new Float32Array(1)))).toThrow(/"c" is not a float32 array/);
  });

  test("numbers that do not fill the shape, or lie beyond the end, are refused", () => {
    expect(() => readArrays(file({ d: { dtype: "F32", shape: [3], data_offsets: [0, 8] } }, new Float32Array(3)))).toThrow(/"d" covers bytes 0 to 8/);
    expect(() => readArrays(file({ d: { dtype: "F32", shape: [3], data_offsets: [0, 12] } }, new Float32Array(2)))).toThrow(/"d" covers/);
  });

  test("a header longer than the file, or a file without one, is refused", () => {
    expect(() => readArrays(file(two, new Float32Array(0)).slice(0, 20))).toThrow(/header of/);
    expect(() => readArrays(new ArrayBuffer(3))).toThrow(/3 bytes/);
  });
});

test("packed events are the same events again, from a buffer or from a view at an odd address", () => {
  const events: ProbeEvent[] = [
    { type: "array", name: "a", shape: [3], axes: ["i"] },
    { type: "tile", array: "a", offset: 0, data: Float32Array.of(0.5, -2) },
    { type: "progress", done: 1, total: 2, unit: "steps" },
    { type: "tile", array: "a", offset: 2, data: Float32Array.of(NaN) },
  ];
  const { events: packed, numbers } = packEvents(events);
  const shifted = new Uint8Array(numbers.length + 1);
  shifted.set(numbers, 1);
  for (const given of [numbers, numbers.slice().buffer, shifted.subarray(1)]) expect(unpackEvents(packed, given)).toEqual(events);
});
