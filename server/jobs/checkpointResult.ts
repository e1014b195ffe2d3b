/** The result so far that a training run stores in each checkpoint: what to show of a run whose server was killed. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { emptyResult, type NamedArray, type ProbeResult } from "../../probes/result.ts";
import { figureOfFile } from "./olderFigures.ts";
import { parseSafetensors } from "../formats/safetensors.ts";

/** Written by this program in the same version or another: only the outline is looked at. */
const storedFile = z.looseObject({
  figures: z.array(z.looseObject({ id: z.string(), kind: z.string() })),
  arrays: z.record(z.string(), z.object({ shape: z.array(z.number()), axes: z.array(z.string()) })),
});

/** Empty when the checkpoint was written by another version, or before the first number. */
export function checkpointResult(dir: string): ProbeResult {
  let raw: unknown;
  let bytes: Uint8Array;
  try {
    raw = JSON.parse(readFileSync(join(dir, "figures.json"), "utf8"));
    bytes = readFileSync(join(dir, "arrays.safetensors"));
  } catch {
    return emptyResult;
  }
  const parsed = storedFile.safeParse(raw);
  if (!parsed.success) return emptyResult;
  const { tensors } = parseSafetensors(bytes, `${dir}/arrays.safetensors`);
  const arrays: Record<string, NamedArray> = {};
  for (const [name, { shape, axes }] of Object.entries(parsed.data.arrays)) {
    const data = tensors.get(name)?.data;
    if (data instanceof Float32Array) arrays[name] = { shape, axes, data };
  }
  const { figures = [], ...stored } = raw as Partial<ProbeResult>;
  return { ...emptyResult, ...stored, figures: figures.map(figureOfFile), arrays };
}
