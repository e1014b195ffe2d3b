/** Tensors as they lie in host memory, between programs: plain typed arrays with a shape. */
import { WorkbenchError } from "../errors.ts";

export const dtypes = ["float32", "int32", "bool"] as const;
export type HostDtype = (typeof dtypes)[number];

export type HostTensor =
  | { readonly dtype: "float32"; readonly shape: readonly number[]; readonly data: Float32Array }
  | { readonly dtype: "int32"; readonly shape: readonly number[]; readonly data: Int32Array }
  | { readonly dtype: "bool"; readonly shape: readonly number[]; readonly data: Uint8Array };
export type FloatTensor = Extract<HostTensor, { dtype: "float32" }>;
export type IntTensor = Extract<HostTensor, { dtype: "int32" }>;

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/** @throws "program.badInput" when the data is not as long as the shape says */
export function float32(data: Float32Array, shape: readonly number[]): FloatTensor {
  checkLength(data.length, shape);
  return { dtype: "float32", shape, data };
}

/** @throws "program.badInput" when the data is not as long as the shape says */
export function int32(data: Int32Array | readonly number[], shape: readonly number[]): IntTensor {
  checkLength(data.length, shape);
  return { dtype: "int32", shape, data: data instanceof Int32Array ? data : Int32Array.from(data) };
}

function checkLength(length: number, shape: readonly number[]): void {
  if (length !== sizeOf(shape)) {
    throw new WorkbenchError("program.badInput", `tensor data has ${length} values; shape [${shape.join(", ")}] needs ${sizeOf(shape)}`);
  }
}
