/** Kernels a fast tfjs backend lacks, or has wrong, run by tfjs's plain JavaScript backend on copied values. Slow, but right. */
import * as tf from "@tensorflow/tfjs-core";
import type { DataId, KernelConfig, KernelBackend, KernelFunc, NamedTensorInfoMap, TensorInfo } from "@tensorflow/tfjs-core";
import { readyBackend } from "./tfjsBackend.ts";
import type { Repair } from "./wasmRepairs.ts";

let registered: Promise<void> | undefined;

/** Registers for `backend`, once, every kernel that only the "cpu" backend has, and the repairs. */
export function registerCpuFallbacks(backend: string, repairs: Readonly<Record<string, Repair>>): Promise<void> {
  return (registered ??= register(backend, repairs));
}

async function register(backend: string, repairs: Readonly<Record<string, Repair>>): Promise<void> {
  await import("@tensorflow/tfjs-backend-cpu");
  await readyBackend("cpu");
  const own = new Map(tf.getKernelsForBackend(backend).map((kernel) => [kernel.kernelName, kernel]));
  for (const kernel of tf.getKernelsForBackend("cpu")) {
    const native = own.get(kernel.kernelName);
    const repair = repairs[kernel.kernelName];
    const fallback = throughCpu(kernel.kernelFunc);
    if (!native) {
      tf.registerKernel({ kernelName: kernel.kernelName, backendName: backend, kernelFunc: fallback });
    } else if (repair) {
      tf.unregisterKernel(kernel.kernelName, backend);
      const instead = repair.instead?.(native.kernelFunc) ?? fallback;
      tf.registerKernel({ ...native, kernelFunc: (call) => (repair.wrong(call.inputs, call.attrs ?? {}) ? instead : native.kernelFunc)(call) });
    }
  }
}

function throughCpu(kernelFunc: KernelConfig["kernelFunc"]): KernelFunc {
  return ({ inputs, attrs, backend }) => {
    const cpu = tf.findBackend("cpu");
    const device = backend as KernelBackend;
    const held: DataId[] = [];
    const copyIn = (info: TensorInfo): TensorInfo => {
      const dataId = cpu.write(device.readSync(info.dataId), info.shape, info.dtype);
      held.push(dataId);
      return { ...info, dataId };
    };
    const copied = Array.isArray(inputs)
      ? ((inputs as TensorInfo[]).map(copyIn) as unknown as NamedTensorInfoMap)
      : Object.fromEntries(Object.entries(inputs).map(([name, info]) => [name, info && copyIn(info)]));
    const results = kernelFunc({ inputs: copied, backend: cpu, ...(attrs ? { attrs } : {}) });
    const outputs = (Array.isArray(results) ? results : [results]).map((info) => {
      held.push(info.dataId);
      return { ...info, dataId: device.write(cpu.readSync(info.dataId), info.shape, info.dtype) };
    });
    for (const dataId of new Set(held)) cpu.disposeData(dataId, true);
    return Array.isArray(results) ? outputs : outputs[0]!;
  };
}
