/** Kernels a fast tfjs backend lacks, run by tfjs's plain JavaScript backend on copied values. Slow, but complete. */
import * as tf from "@tensorflow/tfjs-core";
import type { DataId, KernelConfig, KernelBackend, NamedTensorInfoMap, TensorInfo } from "@tensorflow/tfjs-core";
import { readyBackend } from "./tfjsBackend.ts";

/** Registers for `backend` every kernel that only the "cpu" backend has. */
export async function registerCpuFallbacks(backend: string): Promise<void> {
  await import("@tensorflow/tfjs-backend-cpu");
  await readyBackend("cpu");
  const has = new Set(tf.getKernelsForBackend(backend).map(({ kernelName }) => kernelName));
  for (const kernel of tf.getKernelsForBackend("cpu")) {
    if (!has.has(kernel.kernelName)) tf.registerKernel(throughCpu(kernel, backend));
  }
}

function throughCpu(kernel: KernelConfig, backendName: string): KernelConfig {
  return {
    kernelName: kernel.kernelName,
    backendName,
    kernelFunc: ({ inputs, attrs, backend }) => {
      const cpu = tf.findBackend("cpu") as KernelBackend;
      const device = backend as KernelBackend;
      const held: DataId[] = [];
      const copyIn = (info: TensorInfo): TensorInfo => {
        const dataId = cpu.write(device.readSync(info.dataId), info.shape, info.dtype);
        held.push(dataId);
        return { ...info, dataId };
      };
      const copied = Array.isArray(inputs)
        ? (inputs as TensorInfo[]).map(copyIn) as unknown as NamedTensorInfoMap
        : Object.fromEntries(Object.entries(inputs).map(([name, info]) => [name, info && copyIn(info)]));
      const results = kernel.kernelFunc({ inputs: copied, backend: cpu, ...(attrs ? { attrs } : {}) });
      const outputs = (Array.isArray(results) ? results : [results]).map((info) => {
        const values = cpu.readSync(info.dataId);
        const output = { ...info, dataId: device.write(values, info.shape, info.dtype) };
        held.push(info.dataId);
        return output;
      });
      for (const dataId of new Set(held)) cpu.disposeData(dataId, true);
      return Array.isArray(results) ? outputs : outputs[0]!;
    },
  };
}
