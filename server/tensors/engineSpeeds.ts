/** What two measured blocks say of an engine, and which engine is therefore the one for a model. */
import * as z from "zod";
import { engineNames, type EngineName } from "./engine.ts";

/** A transformer block that engines are measured on; its linear maps have 12 · width² weights. */
export interface MeasuredBlock {
  readonly width: number;
  readonly heads: number;
  readonly rows: number;
}
/** One where what a call costs counts, and one of GPT-2-small's width where products count. */
export const measuredBlocks = {
  small: { width: 64, heads: 4, rows: 16 },
  large: { width: 768, heads: 12, rows: 128 },
} as const satisfies Record<string, MeasuredBlock>;

/** Seconds of one run of each block. */
const blockSeconds = z.strictObject({ small: z.number().positive(), large: z.number().positive() });
export type BlockSeconds = z.infer<typeof blockSeconds>;

/** Why an engine has no time, and whether it was only late: then it may have one on another day. */
const noSeconds = z.strictObject({ failed: z.string(), isLate: z.boolean() });

/** Of each engine what it took, or why it has no time. */
export const engineSpeeds = z.partialRecord(z.enum(engineNames), z.union([blockSeconds, noSeconds]));
export type EngineSpeeds = z.infer<typeof engineSpeeds>;

/** Floating point operations of the linear maps of a block: 2 · weights · rows. */
const operations = (weights: number, rows: number): number => 2 * weights * rows;
const measuredOperations = ({ width, rows }: MeasuredBlock): number => operations(12 * width ** 2, rows);

/** Rows of a run that stands for all: a prompt, or a tile of a sweep. */
const usualRows = 128;
/** Parameters of a block of GPT-2-small, where no model says otherwise. */
export const usualBlockParameters = 12 * 768 ** 2;

/**
 * Seconds of a run of a block with that many parameters: overhead + operations / speed, both from the two measured blocks.
 * Where noise gives no such line (a large block no slower than a small one), the large one's speed without overhead.
 */
export function predictedSeconds({ small, large }: BlockSeconds, blockParameters: number): number {
  const [few, many] = [measuredOperations(measuredBlocks.small), measuredOperations(measuredBlocks.large)];
  const perOperation = large > small ? (large - small) / (many - few) : large / many;
  return Math.max(0, small - few * perOperation) + operations(blockParameters, usualRows) * perOperation;
}

/** An engine of an earlier place in the order of preference stays unless another takes this share of its time or less: measuring is not exact. */
const worthChanging = 0.9;

export interface Ranked {
  readonly name: EngineName;
  readonly seconds: number;
}

/** The measured ones of `names`, given in the order of preference: the one to take first, then the others by time. */
export function ranked(speeds: EngineSpeeds, names: readonly EngineName[], blockParameters: number): Ranked[] {
  const known = names.flatMap((name): Ranked[] => {
    const speed = speeds[name];
    return speed === undefined || "failed" in speed ? [] : [{ name, seconds: predictedSeconds(speed, blockParameters) }];
  });
  const fastest = Math.min(...known.map(({ seconds }) => seconds));
  const taken = known.find(({ seconds }) => seconds * worthChanging <= fastest);
  return taken ? [taken, ...known.filter((other) => other !== taken).sort((a, b) => a.seconds - b.seconds)] : [];
}

/** "0.412 ms", "31.5 ms" */
export const milliseconds = (seconds: number): string => `${Number((1000 * seconds).toPrecision(3))} ms`;

/** "onnx-cpu 0.5 ms for a block, tfjs-node 3.6 ms" */
export const rankedWords = (ranks: readonly Ranked[]): string =>
  ranks.map(({ name, seconds }, i) => `${name} ${milliseconds(seconds)}${i === 0 ? " for a block" : ""}`).join(", ");
