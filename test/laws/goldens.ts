/** Reads the reference data that fixtures/reference/make.py wrote. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { parseSafetensors } from "../../server/formats/safetensors.ts";

export const referenceDir = fileURLToPath(new URL("../../fixtures/reference", import.meta.url));

export interface Golden {
  readonly metadata: Readonly<Record<string, string>>;
  readonly names: readonly string[];
  floats(name: string): Float32Array;
  shape(name: string): readonly number[];
  /** Rows of token ids. */
  ids(name: string): number[][];
}

export function readGolden(...path: string[]): Golden {
  const { tensors, metadata } = parseSafetensors(readFileSync(join(referenceDir, ...path)));
  const get = (name: string) => {
    const tensor = tensors.get(name);
    if (!tensor) throw new Error(`golden has no "${name}"`);
    return tensor;
  };
  return {
    metadata,
    names: [...tensors.keys()],
    floats: (name) => Float32Array.from(get(name).data),
    shape: (name) => get(name).shape,
    ids(name) {
      const { data, shape } = get(name);
      return Array.from({ length: shape[0]! }, (_, row) => Array.from(data.subarray(row * shape[1]!, (row + 1) * shape[1]!)));
    },
  };
}

/** max |found − expected| / max |expected|, finite values only; infinities must agree. */
export function relativeError(found: Float32Array, expected: Float32Array): number {
  if (found.length !== expected.length) return Infinity;
  let scale = 1e-12;
  let error = 0;
  for (let i = 0; i < expected.length; i++) {
    if (!Number.isFinite(expected[i]!)) {
      if (found[i] !== expected[i]) return Infinity;
      continue;
    }
    if (!Number.isFinite(found[i]!)) return Infinity;
    scale = Math.max(scale, Math.abs(expected[i]!));
    error = Math.max(error, Math.abs(expected[i]! - found[i]!));
  }
  return error / scale;
}
