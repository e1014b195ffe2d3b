/** An engine that runs programs operation by operation on a tfjs backend: the fallback that needs nothing native. */
import * as tf from "@tensorflow/tfjs-core";
import type { Engine, EngineMemory, EngineName, Program, ProgramFunction, Signature, Tensors, Weight } from "./engine.ts";
import { type HostTensor, sizeOf } from "./hostTensor.ts";
import { LruCache } from "./lruCache.ts";
import { checkInputs, programKey } from "./signature.ts";
import { readyBackend, withBackend } from "./tfjsBackend.ts";
import "./gradients.ts";

const maxPrograms = 512;
/** Loads the wasm backend and what it lacks. */
export async function createWasmEngine(options: { maxWeightBytes?: number } = {}): Promise<Engine> {
  await import("@tensorflow/tfjs-backend-wasm");
  await readyBackend("wasm");
  const { registerCpuFallbacks } = await import("./cpuFallback.ts");
  const { wasmRepairs } = await import("./wasmRepairs.ts");
  await registerCpuFallbacks("wasm", wasmRepairs);
  return new EagerEngine("wasm", "wasm", options.maxWeightBytes ?? defaultMaxWeightBytes);
}

export const defaultMaxWeightBytes = 2 ** 30;

export class EagerEngine implements Engine {
  readonly name: EngineName;
  readonly #backend: string;
  readonly #programs = new LruCache<Program>(maxPrograms, Infinity, () => {});
  readonly #weights: LruCache<tf.Tensor>;

  constructor(name: EngineName, backend: string, maxWeightBytes: number) {
    this.name = name;
    this.#backend = backend;
    this.#weights = new LruCache(Infinity, maxWeightBytes, (tensor) => {
      tensor.dispose();
    });
  }

  compile(key: string, fn: ProgramFunction, signature: Signature): Promise<Program> {
    const cacheKey = programKey(key, signature);
    let program = this.#programs.get(cacheKey);
    if (!program) {
      program = { run: (inputs, weights = {}) => this.#run(key, fn, signature, inputs, weights) };
      this.#programs.set(cacheKey, program, 0);
    }
    return Promise.resolve(program);
  }

  async #run(
    key: string,
    fn: ProgramFunction,
    signature: Signature,
    inputs: Readonly<Record<string, HostTensor>>,
    weights: Readonly<Record<string, Weight>>,
  ): Promise<Record<string, HostTensor>> {
    checkInputs(key, signature, inputs, weights);
    const frozen = new Set<tf.Tensor>();
    const outputs = withBackend(this.#backend, () => {
      const weightTensors: Tensors = {};
      for (const name of Object.keys(signature.weights)) {
        const tensor = this.#weightTensor(weights[name]!);
        weightTensors[name] = tensor;
        frozen.add(tensor);
      }
      return tf.tidy(() => {
        const inputTensors: Tensors = {};
        for (const name of Object.keys(signature.inputs)) inputTensors[name] = toTensor(inputs[name]!);
        return fn(inputTensors, weightTensors);
      });
    });
    const host: Record<string, HostTensor> = {};
    try {
      for (const [name, tensor] of Object.entries(outputs)) host[name] = await toHost(tensor);
    } finally {
      for (const tensor of new Set(Object.values(outputs))) if (!frozen.has(tensor)) tensor.dispose();
      // Only now: a weight of this run must not be disposed while the run still reads it.
      this.#weights.trim();
    }
    return host;
  }

  #weightTensor(weight: Weight): tf.Tensor {
    const cached = this.#weights.get(weight.key);
    if (cached) return cached;
    const tensor = tf.keep(tf.tensor(weight.data(), [...weight.shape], "float32"));
    this.#weights.add(weight.key, tensor, sizeOf(weight.shape) * 4);
    return tensor;
  }

  memory(): EngineMemory {
    return { programs: this.#programs.size, programBytes: 0, weightBytes: this.#weights.bytes, tfjsTensors: this.#weights.size };
  }

  dispose(): Promise<void> {
    this.#programs.clear();
    this.#weights.clear();
    return Promise.resolve();
  }
}

function toTensor(host: HostTensor): tf.Tensor {
  return tf.tensor(host.data, [...host.shape], host.dtype);
}

async function toHost(tensor: tf.Tensor): Promise<HostTensor> {
  const shape = tensor.shape;
  const data = await tensor.data();
  switch (tensor.dtype) {
    case "float32":
      return { dtype: "float32", shape, data: data instanceof Float32Array ? data : Float32Array.from(data) };
    case "int32":
      return { dtype: "int32", shape, data: data instanceof Int32Array ? data : Int32Array.from(data) };
    case "bool":
      return { dtype: "bool", shape, data: Uint8Array.from(data) };
    default:
      throw new Error(`internal: a program returned a ${tensor.dtype} tensor`);
  }
}
