import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { WorkbenchError } from "../../server/errors.ts";
import { encodeSafetensors, parseSafetensors, readHeader, writeSafetensors } from "../../server/formats/safetensors.ts";
import { expectCode } from "./expectCode.ts";
import { temporaryFolder } from "./temporaryFolder.ts";

const seed = 21;

function fileOf(header: unknown, dataBytes = 0, claimed?: number): Uint8Array {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(claimed ?? text.length), true);
  bytes.set(text, 8);
  return bytes;
}
const f32 = (shape: unknown, ...offsets: unknown[]) => ({ dtype: "F32", shape, data_offsets: offsets });

test("what is written is read back bit for bit, with metadata, whatever the dtypes and names", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(
        fc.tuple(
          fc.string({ minLength: 1 }).filter((name) => name !== "__metadata__"),
          fc.array(fc.float({ noNaN: true }), { maxLength: 5 }),
          fc.constantFrom("F32", "I32", "I64"),
        ),
        { selector: ([name]) => name, maxLength: 6 },
      ),
      fc.dictionary(fc.string(), fc.string(), { noNullPrototype: true }),
      (list, metadata) => {
        const tensors = list.map(([name, values, dtype]) => ({
          name,
          dtype: dtype,
          shape: [values.length],
          data: dtype === "F32" ? Float32Array.from(values) : Int32Array.from(values),
        }));
        const parsed = parseSafetensors(encodeSafetensors(tensors, metadata));
        expect([...parsed.tensors.keys()].toSorted()).toEqual(tensors.map(({ name }) => name).toSorted());
        for (const { name, dtype, data } of tensors) {
          expect(parsed.tensors.get(name)!.dtype).toBe(dtype);
          expect(parsed.tensors.get(name)!.data).toEqual(data);
        }
        expect(parsed.metadata).toEqual(metadata);
      },
    ),
    { seed },
  );
});

test("a file is written whole under a temporary name, lazily, and its header says where the tensors lie", () => {
  const file = join(temporaryFolder(), "out.safetensors");
  writeSafetensors(
    file,
    [
      { name: "half", dtype: "F16", shape: [3], data: Float32Array.of(1, -2, 0.5) },
      { name: "late", dtype: "F32", shape: [2, 1], data: () => Float32Array.of(3, 4) },
      { name: "scalar", shape: [], data: Float32Array.of(7) },
      { name: "empty", shape: [0, 4], data: new Float32Array(0) },
    ],
    { format: "pt" },
  );
  expect(readdirSync(join(file, ".."))).toEqual(["out.safetensors"]);
  const { entries, metadata } = readHeader(file);
  expect(metadata).toEqual({ format: "pt" });
  expect(entries.get("late")).toMatchObject({ dtype: "F32", shape: [2, 1], file });
  expect(entries.get("late")!.begin % 8).toBe(0);
  expect(entries.get("half")!.end - entries.get("half")!.begin).toBe(6);
});

test("a failed write leaves neither a half file nor a temporary one", () => {
  const dir = temporaryFolder();
  const wrong = { name: "x", shape: [3], data: Float32Array.of(1) };
  expectCode(() => writeSafetensors(join(dir, "out.safetensors"), [wrong]), "internal", '"x"');
  expect(readdirSync(dir)).toEqual([]);
});

test.each([
  ["an empty file", new Uint8Array(0), "0 bytes"],
  ["a header longer than the file", fileOf({}, 0, 50), "50"],
  ["a header length over the cap", fileOf({}, 0, 2 ** 40), "at most 100000000"],
  ["text that is not JSON", fileOf("{nope"), "is not JSON"],
  ["bytes that are not UTF-8", Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0xc3, 0x28), "not UTF-8"],
  ["a list as header", fileOf([]), "a list"],
  ["an unknown dtype", fileOf({ a: { dtype: "F33", shape: [1], data_offsets: [0, 4] } }, 4), "near names: F32"],
  ["a negative dimension", fileOf({ a: f32([-1], 0, 4) }, 4), "[-1]"],
  ["a fractional dimension", fileOf({ a: f32([0.5], 0, 2) }, 2), "the number 0.5"],
  ["a shape that overflows", fileOf({ a: f32([2 ** 40, 2 ** 40], 0, 4) }, 4), "64 bits"],
  ["too few bytes for the shape", fileOf({ a: f32([2], 0, 4) }, 4), "expected 8"],
  ["offsets past the end", fileOf({ a: f32([2], 0, 8) }, 4), "[0, 8]"],
  ["offsets that run backwards", fileOf({ a: f32([0], 4, 0) }, 4), "[4, 0]"],
  ["three offsets", fileOf({ a: f32([1], 0, 4, 8) }, 4), "[begin, end]"],
  ["overlapping tensors", fileOf({ a: f32([1], 0, 4), b: f32([1], 2, 6) }, 6), '"b"'],
  ["two names for the same bytes", fileOf({ a: f32([1], 0, 4), b: f32([1], 0, 4) }, 4), "begins at data byte 0"],
  ["a hole between tensors", fileOf({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12), '"b"'],
  ["bytes after the last tensor", fileOf({ a: f32([1], 0, 4) }, 5), "where the last tensor ends"],
  ["metadata that is not text", fileOf({ __metadata__: { a: 1 } }), '__metadata__ "a"'],
  ["a tensor that is no record", fileOf({ a: 3 }), "number"],
])("%s is refused with where, found and expected", (_, bytes, words) => {
  const file = join(temporaryFolder(), "bad.safetensors");
  writeFileSync(file, bytes);
  expectCode(() => readHeader(file), "safetensors.malformed", file, words, "expected");
});

test("a missing file and a folder are told apart from a malformed file", () => {
  const dir = temporaryFolder();
  expectCode(() => readHeader(join(dir, "none.safetensors")), "file.notFound", "none.safetensors");
  expectCode(() => readHeader(dir), "file.unreadable", dir);
});

test("a tensor named __proto__ is an ordinary tensor", () => {
  const parsed = parseSafetensors(encodeSafetensors([{ name: "__proto__", shape: [1], data: Float32Array.of(5) }]));
  expect([...parsed.tensors.get("__proto__")!.data]).toEqual([5]);
});

const good = encodeSafetensors(
  [
    { name: "a", shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) },
    { name: "b", dtype: "F16", shape: [3], data: Float32Array.of(1, 2, 3) },
  ],
  { format: "pt" },
);

test("every truncation of a good file is refused", () => {
  for (let length = 0; length < good.length; length++) expectCode(() => parseSafetensors(good.subarray(0, length)), "safetensors.malformed");
});

/** Reads, and demands that a failure is one of ours. */
function readOrRefuse(bytes: Uint8Array): void {
  try {
    parseSafetensors(bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(WorkbenchError);
  }
}

test("no change of bytes in a good file does worse than an error of ours", () => {
  const headerEnd = good.length - 22;
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(headerEnd - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }), (changes) => {
      const bytes = good.slice();
      for (const [at, value] of changes) bytes[at] = value;
      readOrRefuse(bytes);
    }),
    { seed, numRuns: 2000 },
  );
});

test("no lying header does worse than an error of ours", () => {
  const number = fc.oneof(fc.nat(40), fc.integer(), fc.double(), fc.constant(2 ** 53), fc.constant(null), fc.string());
  const entry = fc.oneof(
    fc.jsonValue(),
    fc.record(
      {
        dtype: fc.constantFrom("F32", "BF16", "F4", "I64", "X"),
        shape: fc.oneof(fc.array(number, { maxLength: 4 }), number),
        data_offsets: fc.oneof(fc.array(number, { maxLength: 3 }), number),
      },
      { requiredKeys: [] },
    ),
  );
  fc.assert(
    fc.property(fc.dictionary(fc.string(), entry, { maxKeys: 4 }), fc.nat(64), (header, dataBytes) => readOrRefuse(fileOf(header, dataBytes))),
    { seed, numRuns: 2000 },
  );
});
