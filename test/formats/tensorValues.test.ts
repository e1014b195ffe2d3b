import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { canMap, mapFile, mappedBytes, unmapFile } from "../../server/formats/mappedFile.ts";
import { readHeader, writeSafetensors } from "../../server/formats/safetensors.ts";
import { convertedBytes, floatRange, floatValues, intValues } from "../../server/formats/tensorValues.ts";
import { expectCode } from "./expectCode.ts";
import { temporaryFolder } from "./temporaryFolder.ts";

function written() {
  const file = join(temporaryFolder(), "model.safetensors");
  const values = Float32Array.from({ length: 12 }, (_, i) => i - 4);
  writeSafetensors(file, [
    ...(["F32", "BF16", "F16"] as const).map((dtype) => ({ name: dtype, dtype, shape: [4, 3], data: values })),
    { name: "I64", dtype: "I64" as const, shape: [2], data: Int32Array.of(-1, 7) },
  ]);
  return { file, values, entries: readHeader(file).entries };
}

test("F32, BF16 and F16 give the same small whole numbers, whole and by rows", () => {
  const { values, entries } = written();
  for (const dtype of ["F32", "BF16", "F16"]) {
    const entry = entries.get(dtype)!;
    expect(floatValues(entry)).toEqual(values);
    expect(floatRange(entry, 1, 3)).toEqual(values.subarray(3, 9));
    expect(floatRange(entry, 4, 4)).toHaveLength(0);
  }
  expect([...intValues(entries.get("I64")!)]).toEqual([-1, 7]);
});

test("F32 is the mapped file itself, and a converted tensor is kept only when asked", () => {
  const { file, entries } = written();
  expect(floatValues(entries.get("F32")!).buffer).toBe(mapFile(file));
  expect(convertedBytes(entries.get("F32")!)).toBe(0);
  const half = entries.get("BF16")!;
  expect(convertedBytes(half)).toBe(48);
  expect(floatValues(half)).not.toBe(floatValues(half));
  const into = new Float32Array(12);
  expect(floatValues(half, { into })).toBe(into);
  expect(floatValues(half, { cache: true })).toBe(floatValues(half));
});

test("whole numbers asked for as float weights are refused by name", () => {
  const { entries } = written();
  expectCode(() => floatValues(entries.get("I64")!), "safetensors.unsupportedDtype", '"I64"', "expected a float weight");
});

test("rows outside the tensor are refused", () => {
  const { entries } = written();
  expectCode(() => floatRange(entries.get("F32")!, 2, 5), "internal", "2 to 5");
});

test("this system maps files", () => {
  expect(canMap()).toBe(process.platform === "linux" || process.platform === "darwin");
});

test("views stay readable after their file was let go", () => {
  const { file, values, entries } = written();
  const view = floatValues(entries.get("F32")!);
  unmapFile(file);
  expect(view).toEqual(values);
  expect(mapFile(file)).not.toBe(view.buffer);
});

test("a file that shrank since its header was read is refused before it is touched", () => {
  const { file, entries } = written();
  truncateSync(file, entries.get("F32")!.end - 4);
  expectCode(() => floatValues(entries.get("F32")!), "file.changed", "open it again");
});

test("a file that was replaced under the same path is mapped anew", () => {
  const file = join(temporaryFolder(), "bytes");
  writeFileSync(file, "first");
  expect(new TextDecoder().decode(mappedBytes(file, 0, 5))).toBe("first");
  writeFileSync(`${file}.new`, "second");
  truncateSync(file, 0);
  writeFileSync(file, "second");
  expect(new TextDecoder().decode(mappedBytes(file, 0, 6))).toBe("second");
});
