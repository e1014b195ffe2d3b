/** What one site adds, run by itself: the method's `delta` on inputs of the test's choosing. */
import { sharedEngine } from "../../../server/runs/subject.ts";
import type { SiteState } from "../../../server/adapters/method.ts";
import { float32 } from "../../../server/tensors/hostTensor.ts";
import type { Harness } from "./harness.ts";
import * as tf from "@tensorflow/tfjs-core";
import { lawEngine } from "../../lawEngine.ts";

let programs = 0;

/**
 * @param xClean `[rows, dIn]`
 * @param dropped the same after dropout
 * @returns `[rows, dOut]`
 */
export async function siteDelta(
  { adaptation }: Harness,
  { site, trained, frozen }: SiteState,
  xClean: Float32Array,
  dropped?: Float32Array,
): Promise<Float32Array> {
  const { method, options } = adaptation;
  const engine = await sharedEngine({ engine: lawEngine });
  const shape = [xClean.length / site.dIn, site.dIn];
  const inputs = { ...trained, "x:clean": float32(xClean, shape), ...(dropped ? { "x:dropped": float32(dropped, shape) } : {}) };
  const weights = { ...frozen, "w:base": site.baseWeight };
  const program = await engine.compile(
    `delta of one site ${programs++}`,
    (given, held) => {
      const [clean, weight] = [given["x:clean"]!, held["w:base"]!];
      const base = tf.matMul(clean, weight, false, site.stored === "outIn");
      return {
        delta: method!.delta({ site, options, x: given["x:dropped"] ?? clean, xClean: clean, base, weight, trained: given, frozen: held, tasks: null }),
      };
    },
    {
      inputs: Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, { shape: tensor.shape, dtype: tensor.dtype }])),
      weights: Object.fromEntries(Object.entries(weights).map(([name, tensor]) => [name, tensor.shape])),
    },
  );
  const { delta } = await program.run(inputs, weights);
  return Float32Array.from(delta!.data);
}

/** M x of each row of `x`: `[rows, n]` → `[rows, m]`, in float64. @param matrix `[m, n]` */
export function timesRows(x: Float32Array, matrix: ArrayLike<number>, m: number, n: number): Float32Array {
  return Float32Array.from({ length: (x.length / n) * m }, (_, at) => {
    const [row, o] = [Math.floor(at / m), at % m];
    let sum = 0;
    for (let i = 0; i < n; i++) sum += matrix[o * n + i]! * x[row * n + i]!;
    return sum;
  });
}

/** W as `[dOut, dIn]`, however it is stored. */
export function baseRows({ baseWeight, stored, dIn, dOut }: SiteState["site"]): Float32Array {
  const w = baseWeight.data();
  return Float32Array.from({ length: dOut * dIn }, (_, at) => (stored === "outIn" ? w[at]! : w[(at % dIn) * dOut + Math.floor(at / dIn)]!));
}
