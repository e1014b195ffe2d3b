/** What the methods that train two factors A and B share: their options, start, product, and tensors in the file. */
import * as tf from "@tensorflow/tfjs-core";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import type { FactoredMatrix } from "../linalg/factored.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import { gaussians, uniforms } from "../linalg/random.ts";
import { savedKey, type None, type StartContext, type TrainingSite } from "./method.ts";

/** A `[rank, dIn]` and B `[dOut, rank]` of one site. */
export type Factors<Value> = { loraA: Value; loraB: Value };

export interface LoraTensors {
  readonly trained: Factors<FloatTensor>;
  readonly frozen: None;
  readonly memory: None;
}

interface FactorState {
  readonly site: TrainingSite;
  readonly trained: Factors<FloatTensor>;
}

export const rankOption = z.int().min(1).max(4096).describe("Rank of the update");
export const alphaOption = z.number().positive().describe("Scale of the update before it is divided by the rank");
export const loraOptions = z.strictObject({
  rank: rankOption.default(8),
  alpha: alphaOption.default(8),
  init: z.enum(["kaiming", "gaussian"]).default("kaiming").describe("How A starts: uniform in ±1/√dIn, or normal with deviation 1/rank; B starts at zero"),
});
export type LoraOptions = z.infer<typeof loraOptions>;

export const loraRules = { loraA: { decays: true }, loraB: { decays: true } };

/** @throws "training.badOptions" naming the site */
export function checkRank(rank: number, { name, dIn, dOut }: Pick<TrainingSite, "name" | "dIn" | "dOut">): void {
  if (rank > Math.min(dIn, dOut))
    throw new WorkbenchError("training.badOptions", `rank is ${rank}; "${name}" is [${dOut}, ${dIn}], so expected at most ${Math.min(dIn, dOut)}`, {
      field: "options.rank",
    });
}

/** A ~ U(±1/√dIn) (kaiming_uniform with a = √5) or N(0, 1/r²); B = 0. */
export function startLora(
  { name, dIn, dOut }: Pick<TrainingSite, "name" | "dIn" | "dOut">,
  { options: { rank, init = "kaiming" }, random }: { options: { rank: number; init?: LoraOptions["init"] } } & Pick<StartContext<unknown>, "random">,
): LoraTensors {
  const stream = random("loraA", name);
  const a = init === "gaussian" ? gaussians(rank * dIn, 1 / rank, stream) : uniforms(rank * dIn, 1 / Math.sqrt(dIn), stream);
  return { trained: { loraA: float32(a, [rank, dIn]), loraB: float32(new Float32Array(dOut * rank), [dOut, rank]) }, frozen: {}, memory: {} };
}

/** s · (x Aᵀ) Bᵀ: `[rows, dIn]` → `[rows, dOut]` */
export function lowRankProduct(x: tf.Tensor, a: tf.Tensor, b: tf.Tensor, scaling: number): tf.Tensor {
  // The scale on the thin product: rows · rank numbers, not rows · dOut.
  return tf.matMul(tf.mul(tf.matMul(x, a, false, true), scaling), b, false, true);
}

/** s·B·A of a site that holds `loraA` and `loraB`. */
export function loraFactors({ site: { dIn, dOut }, trained: { loraA: a, loraB: b } }: FactorState, scale: number): FactoredMatrix {
  return { left: b.data, right: a.data, dOut, dIn, rank: a.data.length / dIn, scale };
}

/** lora_A and lora_B of every site, under PEFT's keys. */
export function loraTensors(sites: readonly FactorState[]): Map<string, FloatTensor> {
  return new Map(
    sites.flatMap(({ site, trained }) => [
      [savedKey(site, "lora_A.weight"), trained.loraA],
      [savedKey(site, "lora_B.weight"), trained.loraB],
    ]),
  );
}
