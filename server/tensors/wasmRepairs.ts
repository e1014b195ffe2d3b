/**
 * Kernels of tfjs's wasm backend that answer wrongly for some arguments, and what answers instead.
 * Found by the conformance suite, in tfjs-backend-wasm 4.22.
 */
import * as tf from "@tensorflow/tfjs-core";
import type { KernelBackend, KernelFunc, NamedAttrMap, NamedTensorInfoMap, TensorInfo } from "@tensorflow/tfjs-core";
import { sizeOf } from "./hostTensor.ts";
import { broadcastShape } from "./lowering/lowering.ts";
import { sameShape } from "./signature.ts";

export interface Repair {
  /** Whether the backend's own kernel is wrong for these arguments. */
  wrong(inputs: NamedTensorInfoMap, attrs: NamedAttrMap): boolean;
  /** What to run then; the plain JavaScript kernel when left out. */
  readonly instead?: (native: KernelFunc) => KernelFunc;
}

export const wasmRepairs: Readonly<Record<string, Repair>> = {
  // Pairs batch i with batch i, and sizes the result by the larger batch: right only if one operand has a single batch,
  // or both have the same. The JavaScript kernel has the same fault.
  BatchMatMul: {
    wrong: ({ a, b }) => {
      const [left, right] = [a!.shape.slice(0, -2), b!.shape.slice(0, -2)];
      return !sameShape(left, right) && sizeOf(left) !== 1 && sizeOf(right) !== 1;
    },
    instead:
      (native) =>
      ({ inputs, attrs, backend }) => {
        const batch = broadcastShape(inputs["a"]!.shape.slice(0, -2), inputs["b"]!.shape.slice(0, -2));
        const a = repeated(inputs["a"]!, batch, backend as KernelBackend);
        const b = repeated(inputs["b"]!, batch, backend as KernelBackend);
        const product = native({ inputs: { a, b }, backend, ...(attrs ? { attrs } : {}) });
        for (const { dataId } of [a, b]) (backend as KernelBackend).disposeData(dataId);
        return product;
      },
  },
  // Ignores the batch when it steps through the indices.
  GatherV2: { wrong: (_inputs, { batchDims }) => ((batchDims as number | undefined) ?? 0) > 0 },
  // Writes integers into a float result.
  OneHot: { wrong: (_inputs, { dtype }) => dtype !== "int32" },
  // Leaves the result of an empty sum unwritten.
  Sum: { wrong: ({ x }) => sizeOf(x!.shape) === 0 },
  // Takes alpha as one value per last axis.
  Prelu: { wrong: () => true },
  // Reads booleans, one byte each, as four.
  Select: { wrong: ({ t }) => t!.dtype === "bool" },
  // Computed as log(1 + x) and exp(x) − 1, which cancel near 0.
  Log1p: { wrong: () => true },
  Expm1: { wrong: () => true },
};

/** `x` with its batch axes tiled to `batch`. */
function repeated(x: TensorInfo, batch: readonly number[], backend: KernelBackend): TensorInfo {
  const matrix = x.shape.slice(-2);
  const own = [...batch.map((_, i) => x.shape.slice(0, -2)[i - batch.length + x.shape.length - 2] ?? 1)];
  const reps = [...batch.map((dim, i) => dim / own[i]!), 1, 1];
  const tile = tf.getKernel("Tile", "wasm").kernelFunc;
  return tile({ inputs: { x: { ...x, shape: [...own, ...matrix] } }, attrs: { reps }, backend }) as TensorInfo;
}
