/** Which engines this machine has, and which one to use. */
import { WorkbenchError } from "../errors.ts";
import { didYouMean } from "../nearNames.ts";
import { createWasmEngine } from "./eager.ts";
import { type Engine, type EngineName, engineNames } from "./engine.ts";
import { createOnnxEngine } from "./onnx.ts";

export interface EngineOptions { readonly threads?: number }

/** @throws "engine.unknown" for a name that is no engine, "engine.unavailable" when it does not load here */
export async function createEngine(name: EngineName, options: EngineOptions = {}): Promise<Engine> {
  switch (name) {
    case "onnx-cpu": case "onnx-webgpu": case "onnx-cuda": return createOnnxEngine(name, options);
    case "wasm": return createWasmEngine();
    case "tfjs-node": case "tfjs-node-gpu": throw new WorkbenchError("engine.unavailable", `${name} is not installed`);
    default: throw new WorkbenchError("engine.unknown", `unknown engine "${name satisfies never as string}"; ${didYouMean(name, engineNames)}`);
  }
}
