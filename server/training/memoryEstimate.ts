/** Memory that a training run will need, stated before it starts. */
import { freemem } from "node:os";
import { WorkbenchError } from "../errors.ts";
import type { LoadedModel } from "../models/loadModel.ts";

export interface MemoryPart {
  readonly label: string;
  readonly bytes: number;
}

export interface MemoryRequest {
  readonly model: Pick<LoadedModel, "config" | "plan" | "checkpoint" | "parameters">;
  /** Numbers that are trained. */
  readonly trained: number;
  /** Numbers that methods keep beside the base and do not train. */
  readonly frozen: number;
  /** Whether all weights are trained: the base is then copied. */
  readonly isFull: boolean;
  /** Numbers that the loss is taken over: tokens of the vocabulary, or labels. */
  readonly classes: number;
  /** Of the largest batch: examples, positions of each with padding, and places whose prediction counts. */
  readonly batch: { readonly rows: number; readonly positions: number; readonly predictions: number };
  /** Of the largest batch of pinned prompts that a look runs; null where nothing is pinned. */
  readonly look: { readonly rows: number; readonly positions: number } | null;
}

const float = 4;
/** Node, this program and ONNX Runtime, with the programs of some batch shapes. */
const programBytes = 170 * 2 ** 20;
/** Numbers of logits in one piece, as the loss over frozen weights cuts them. */
const logitsAtOnce = 13_000_000;
/** A larger share of what is free is refused: other programs, and the next step of this one, want some too. */
const mostOfFree = 0.9;

/**
 * Bytes by kind, in the order of the sum.
 *
 * Activations of one batch of R = rows · positions tokens, P of them predicted, in numbers of 4 bytes:
 *   layers · R · (14 d + m · dMlp + 1.3 · heads · positions) + 4 · L + 4 P d
 * with m = 3, or 6 where the MLP is gated: what the backward pass reads again of each layer, pattern of attention included. L are the
 * logits held at once: P · classes, at most 13e6 over frozen weights, where the loss is taken in pieces. A look is a forward pass alone, with
 * logits after each row's prompt: R · (10 d + 8 · dMlp + 2 · heads · positions) + rows · classes; it comes between two steps, so the larger counts. With
 * looks of 8 × 64, 1 × 512 and 1 × 1024 tokens after steps of 16, GPT-2-small came out 4 to 5 % below, a small Llama 3 to 6 % above.
 * Programs give their memory back after a step, so the largest batch decides. The factors were fitted to peaks measured on the CPU;
 * eight of GPT-2-small, a small Llama and the demo, of 256 to 4,096 tokens, came out 13 % below to 16 % above (bench/trainingMemory.ts).
 * What decoding a base in half precision takes is a bound, not measured.
 */
export function memoryEstimate({ model, trained, frozen, isFull, classes, batch, look }: MemoryRequest): MemoryPart[] {
  const { nLayers, nHeads, dModel, dMlp } = model.config;
  const tokens = batch.rows * batch.positions;
  const isGated = model.plan.some(({ params }) => params.some(({ name }) => name === "mlp.W_gate"));
  const perToken = 14 * dModel + (isGated ? 6 : 3) * dMlp + 1.3 * nHeads * batch.positions;
  const logits = isFull ? batch.predictions * classes : Math.min(batch.predictions * classes, logitsAtOnce);
  const ofStep = nLayers * tokens * perToken + 4 * logits + 4 * batch.predictions * dModel;
  const ofLook = look ? look.rows * (look.positions * (10 * dModel + 8 * dMlp + 2 * nHeads * look.positions) + classes) : 0;
  const isHalf = Object.keys(model.checkpoint.dtypes).some((dtype) => dtype !== "F32");
  return [
    { label: "program and engine", bytes: programBytes },
    { label: "base weights (mapped from the file)", bytes: model.checkpoint.bytes },
    ...(isHalf ? [{ label: "base weights decoded to 32 bits", bytes: float * model.parameters }] : []),
    { label: isFull ? "copy of all weights" : "adapter", bytes: float * trained },
    { label: "gradients", bytes: 2 * float * trained },
    { label: "optimizer (two moments)", bytes: 2 * float * trained },
    ...(frozen > 0 ? [{ label: "frozen tensors of the method", bytes: float * frozen }] : []),
    { label: `activations of one ${ofLook > ofStep ? "look at the pinned prompts" : "batch"}`, bytes: Math.round(float * Math.max(ofStep, ofLook)) },
  ];
}

export const totalBytes = (parts: readonly MemoryPart[]): number => parts.reduce((sum, { bytes }) => sum + bytes, 0);

/** Free memory with what the system would give back (Linux counts its caches), at most what the process is allowed. */
export function availableMemory(): number {
  const allowed = process.constrainedMemory();
  return allowed > 0 ? Math.min(freemem(), allowed) : freemem();
}

/** @throws "training.overBudget" with the numbers */
export function refuseOverBudget(parts: readonly MemoryPart[], available = availableMemory()): void {
  const needed = totalBytes(parts);
  if (needed <= mostOfFree * available) return;
  const largest = parts
    .toSorted((a, b) => b.bytes - a.bytes)
    .slice(0, 3)
    .map(({ label, bytes }) => `${label} ${gigabytes(bytes)}`);
  throw new WorkbenchError(
    "training.overBudget",
    `the run needs about ${gigabytes(needed)} (${largest.join(", ")}); ${gigabytes(available)} is available, of which ${100 * mostOfFree} % may be ` +
      `used. Smaller batches (with accumulate) or a smaller data.maxLength need less`,
    { field: "batchSize" },
  );
}

const gigabytes = (bytes: number): string => (bytes < 2 ** 30 ? `${Math.round(bytes / 2 ** 20)} MB` : `${(bytes / 2 ** 30).toPrecision(3)} GB`);
