/** Values of tensors in checkpoint files, as float32: F32 straight from the mapped file, F16 and BF16 converted. */
import { WorkbenchError } from "../errors.ts";
import { floatsFromBytes, intsFromBytes, isFloatDtype, floatDtypes, safetensorsBits } from "./dtypeDecoding.ts";
import { mappedBytes, passingBytes, releasePages } from "./mappedFile.ts";
import type { TensorEntry } from "./safetensors.ts";

const converted = new WeakMap<TensorEntry, Float32Array>();

/**
 * All values of a float tensor, row-major. F32 is a view of the mapped file: never write to it.
 *
 * @param options.cache keep a converted copy for as long as the entry lives; F32 needs none
 * @param options.into where to convert to; not used for F32, nor together with cache
 * @throws "safetensors.unsupportedDtype" for anything but F32, F16 and BF16
 */
export function floatValues(entry: TensorEntry, { cache = false, into }: { cache?: boolean; into?: Float32Array } = {}): Float32Array {
  const have = converted.get(entry);
  if (have !== undefined) return have;
  const values = floats(entry, entry.begin, entry.end, cache ? undefined : into);
  if (cache && entry.dtype !== "F32") converted.set(entry, values);
  return values;
}

/** Rows `[rowStart, rowEnd)` of the first axis, without touching the others. */
export function floatRange(entry: TensorEntry, rowStart: number, rowEnd: number): Float32Array {
  const rows = entry.shape[0] ?? 1;
  if (!(Number.isInteger(rowStart) && Number.isInteger(rowEnd) && 0 <= rowStart && rowStart <= rowEnd && rowEnd <= rows)) {
    throw new WorkbenchError(
      "internal",
      `internal: rows ${rowStart} to ${rowEnd} of tensor "${entry.name}" [${entry.shape.join(", ")}]; expected a range inside 0 to ${rows}`,
    );
  }
  const rowBytes = rows === 0 ? 0 : (entry.end - entry.begin) / rows;
  return floats(entry, entry.begin + rowStart * rowBytes, entry.begin + rowEnd * rowBytes);
}

/** @throws "safetensors.unsupportedDtype" for anything but I32 and I64 */
export function intValues(entry: TensorEntry): Int32Array {
  return intsFromBytes(passingBytes(entry.file, entry.begin, entry.end, entry.identity), entry.dtype, whereOf(entry));
}

/** The stored bytes themselves, mapped; for a program that converts on its own. Never write to them. */
export function tensorBytes(entry: TensorEntry): Uint8Array<ArrayBuffer> {
  return mappedBytes(entry.file, entry.begin, entry.end, entry.identity);
}

/** Bytes of float32 that `floatValues` will hold beside the file: 0 for F32 in place. */
export function convertedBytes(entry: TensorEntry): number {
  const isInPlace = entry.dtype === "F32" && entry.begin % 4 === 0;
  return isInPlace ? 0 : ((entry.end - entry.begin) / safetensorsBits[entry.dtype]) * 32;
}

function floats(entry: TensorEntry, begin: number, end: number, into?: Float32Array): Float32Array {
  if (!isFloatDtype(entry.dtype)) {
    throw new WorkbenchError("safetensors.unsupportedDtype", `${whereOf(entry)} is ${entry.dtype}; expected a float weight: ${floatDtypes.join(", ")}`);
  }
  if (entry.dtype === "F32") return floatsFromBytes(mappedBytes(entry.file, begin, end, entry.identity), "F32", whereOf(entry));
  const bytes = passingBytes(entry.file, begin, end, entry.identity);
  const values = floatsFromBytes(bytes, entry.dtype, whereOf(entry), into);
  releasePages(bytes);
  return values;
}

function whereOf({ file, name }: TensorEntry): string {
  return `${file}: tensor "${name}"`;
}
