/** Which engines this machine has. */
import "./noTelemetry.ts";
import { WorkbenchError } from "../errors.ts";
import { didYouMean } from "../nearNames.ts";
import { createWasmEngine } from "./eager.ts";
import { type Engine, type EngineName, engineNames } from "./engine.ts";
import { hasGpuDevice, probeGpu } from "./gpuProbe.ts";
import { createOnnxEngine, loadOrt } from "./onnx.ts";
import { createTfjsNodeEngine, type TfjsNodeName } from "./tfjsNode.ts";

export interface EngineOptions {
  /** Threads inside one operator, where the engine has threads. */
  readonly threads?: number;
}

export interface EngineAvailability {
  readonly name: EngineName;
  readonly available: boolean;
  /** Why not, or what makes it available. */
  readonly reason: string;
  readonly detail: string;
}

interface Provider {
  readonly title: string;
  create(options: EngineOptions): Promise<Engine>;
  /** Throws, or answers whether it is to be picked unasked. */
  check(): Promise<{ preferred: boolean; detail: string }>;
}

/** In the order of preference. */
const providers: Record<EngineName, Provider> = {
  "onnx-cuda": {
    title: "ONNX Runtime, CUDA",
    create: (options) => createOnnxEngine("onnx-cuda", options),
    check: async () => {
      await loadOrt();
      if (!hasGpuDevice()) throw new Error("no GPU device on this machine");
      const probe = await probeGpu("cuda");
      if (!probe.works) throw new Error(probe.detail);
      return { preferred: true, detail: probe.detail };
    },
  },
  "onnx-webgpu": {
    title: "ONNX Runtime, WebGPU",
    create: (options) => createOnnxEngine("onnx-webgpu", options),
    check: async () => {
      await loadOrt();
      const { VK_ICD_FILENAMES, VK_DRIVER_FILES } = process.env;
      if (!hasGpuDevice() && !VK_ICD_FILENAMES && !VK_DRIVER_FILES) throw new Error("no GPU device on this machine");
      const probe = await probeGpu("webgpu");
      if (!probe.works) throw new Error(probe.detail);
      // A software driver answers too; it is slower than the CPU it runs on.
      const faster = probe.gpuMs! < probe.cpuMs!;
      return { preferred: faster, detail: faster ? probe.detail : `${probe.detail}: slower than the CPU (a software driver?), so never picked unasked` };
    },
  },
  "onnx-cpu": {
    title: "ONNX Runtime, CPU",
    create: (options) => createOnnxEngine("onnx-cpu", options),
    check: async () => {
      await loadOrt();
      return { preferred: true, detail: "bundled with onnxruntime-node" };
    },
  },
  "tfjs-node-gpu": tfjsNode("tfjs-node-gpu", "TensorFlow.js, libtensorflow with CUDA"),
  "tfjs-node": tfjsNode("tfjs-node", "TensorFlow.js, libtensorflow"),
  wasm: {
    title: "TensorFlow.js, WebAssembly",
    create: () => createWasmEngine(),
    check: async () => {
      await (await createWasmEngine()).dispose();
      return { preferred: true, detail: "one thread; needs nothing native" };
    },
  },
};
export const preference = Object.keys(providers) as EngineName[];

function tfjsNode(name: TfjsNodeName, title: string): Provider {
  return {
    title,
    create: (options) => createTfjsNodeEngine(name, options),
    check: async () => {
      await (await createTfjsNodeEngine(name)).dispose();
      return { preferred: true, detail: `@tensorflow/${name}, on the ${name === "tfjs-node-gpu" ? "GPU" : "CPU"}` };
    },
  };
}

/** @throws "engine.unknown" listing near names */
export function parseEngineName(name: string): EngineName {
  const known = engineNames.find((candidate) => candidate === name);
  if (!known) throw new WorkbenchError("engine.unknown", `unknown engine "${name}"; ${didYouMean(name, engineNames)}`);
  return known;
}

/** @throws "engine.unknown" for a name that is no engine, "engine.unavailable" when it does not load here */
export async function createEngine(name: EngineName, options: EngineOptions = {}): Promise<Engine> {
  return providers[parseEngineName(name)].create(options);
}

export type Checked = EngineAvailability & { readonly preferred: boolean };

export async function checkEngine(name: EngineName): Promise<Checked> {
  const { title } = providers[name];
  try {
    const { preferred, detail } = await providers[name].check();
    return { name, available: true, preferred, reason: title, detail };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { name, available: false, preferred: false, reason: message.split("\n")[0] ?? "", detail: title };
  }
}

/** Every engine and whether it works here, in the order of preference. */
export async function availableEngines(): Promise<EngineAvailability[]> {
  const found: EngineAvailability[] = [];
  // One after another: the GPU probes time themselves.
  for (const name of preference) {
    const { preferred: _preferred, ...availability } = await checkEngine(name);
    found.push(availability);
  }
  return found;
}
