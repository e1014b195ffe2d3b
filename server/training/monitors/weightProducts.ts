/** W X and Wᵀ Y of a base weight, on the engine that already holds it. */
import * as tf from "@tensorflow/tfjs-core";
import type { TrainingSite } from "../../adapters/method.ts";
import type { Engine } from "../../tensors/engine.ts";
import { float32 } from "../../tensors/hostTensor.ts";

/** Both take and give vectors, one an entry of the list. */
export interface WeightProducts {
  /** W x of each: `[dIn]` → `[dOut]` */
  times(xs: readonly Float64Array[]): Promise<Float64Array[]>;
  /** Wᵀ y of each: `[dOut]` → `[dIn]` */
  timesTransposed(ys: readonly Float64Array[]): Promise<Float64Array[]>;
}

export function weightProducts(
  engine: Engine,
  { baseWeight, stored, dIn, dOut }: Pick<TrainingSite, "baseWeight" | "stored" | "dIn" | "dOut">,
): WeightProducts {
  const product = async (vectors: readonly Float64Array[], isTransposed: boolean): Promise<Float64Array[]> => {
    if (vectors.length === 0) return [];
    const [from, to] = isTransposed ? [dOut, dIn] : [dIn, dOut];
    const flat = new Float32Array(vectors.length * from);
    vectors.forEach((vector, i) => flat.set(vector, i * from));
    // Rows are vectors: x Wᵀ, or y W, with W as it is stored.
    const turned = isTransposed ? stored === "inOut" : stored === "outIn";
    const program = await engine.compile(`weight product ${turned}`, (inputs, weights) => ({ out: tf.matMul(inputs["x"]!, weights["w"]!, false, turned) }), {
      inputs: { x: { shape: [vectors.length, from], dtype: "float32" } },
      weights: { w: baseWeight.shape },
    });
    const { data } = (await program.run({ x: float32(flat, [vectors.length, from]) }, { w: baseWeight }))["out"]!;
    return vectors.map((_, i) => Float64Array.from(data.subarray(i * to, (i + 1) * to)));
  };
  return { times: (xs) => product(xs, false), timesTransposed: (ys) => product(ys, true) };
}
