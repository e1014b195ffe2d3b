/** Reads a run's `arrays.safetensors` (float32 only): 8 bytes of header length, a JSON header, then the numbers. */
import type { NamedArray } from "../probes/result.ts";

interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

const isEntry = (value: unknown): value is Entry =>
  typeof value === "object" &&
  value !== null &&
  "dtype" in value &&
  "shape" in value &&
  "data_offsets" in value &&
  Array.isArray(value.shape) &&
  Array.isArray(value.data_offsets);

/** @param described axis names by array, from the run's result; an array not named there gets none */
export function readArrays(bytes: ArrayBuffer, described: Readonly<Record<string, { readonly axes: readonly string[] }>> = {}): Record<string, NamedArray> {
  if (bytes.byteLength < 8) throw new Error(`arrays.safetensors has ${bytes.byteLength} bytes; expected at least 8`);
  const headerBytes = Number(new DataView(bytes).getBigUint64(0, true));
  if (headerBytes > bytes.byteLength - 8) throw new Error(`arrays.safetensors: header of ${headerBytes} bytes in a file of ${bytes.byteLength}`);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 8, headerBytes))) as Record<string, unknown>;
  const arrays: Record<string, NamedArray> = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    if (!isEntry(entry) || entry.dtype !== "F32") throw new Error(`arrays.safetensors: "${name}" is not a float32 array`);
    const [begin, end] = entry.data_offsets;
    const size = entry.shape.reduce((n, dim) => n * dim, 1);
    if (end - begin !== 4 * size || 8 + headerBytes + end > bytes.byteLength) {
      throw new Error(`arrays.safetensors: "${name}" covers bytes ${begin} to ${end}; its shape [${entry.shape.join(", ")}] needs ${4 * size}`);
    }
    // Copied out: a view would need the data to start at a multiple of 4, which the format does not promise.
    const data = new Float32Array(bytes.slice(8 + headerBytes + begin, 8 + headerBytes + end));
    arrays[name] = { shape: entry.shape, axes: described[name]?.axes ?? [], data };
  }
  return arrays;
}
