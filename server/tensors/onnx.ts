/**
 * The engine on ONNX Runtime: a program is traced once, lowered to an ONNX graph, and run as one session.
 *
 * On the CPU frozen weights are inputs of the graph, fed as views of the mapped checkpoint: no copy, and one session
 * serves every weight set (all layers, all models of a shape). On a GPU they must stay on the device between runs, so
 * there they are initialisers, and a session belongs to one weight set.
 */
import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { WorkbenchError } from "../errors.ts";
import type { Engine, EngineMemory, EngineName, Program, ProgramFunction, Signature, Weight } from "./engine.ts";
import type { HostTensor } from "./hostTensor.ts";
import { LruCache } from "./lruCache.ts";
import { type BuiltModel, HeldSession, type Ort, toHost, toOrt, weightSetKey } from "./onnxProgram.ts";
import { checkInputs, programKey } from "./signature.ts";
import { inputName, outputName, trace, weightName } from "./traceBackend.ts";

export const onnxEngineNames = ["onnx-cpu", "onnx-webgpu", "onnx-cuda"] as const;
export type OnnxEngineName = (typeof onnxEngineNames)[number];

export interface OnnxEngineOptions {
  /** Threads inside one operator; the engine's own choice when left out. */
  readonly threads?: number;
  readonly maxPrograms?: number;
  readonly maxProgramBytes?: number;
  /** Bound on weights copied into sessions (GPU) or wrapped for them. */
  readonly maxWeightBytes?: number;
}

const defaults = { maxPrograms: 128, maxProgramBytes: 2 ** 30, maxWeightBytes: 8 * 2 ** 30 } as const;
// A session holds its graph several times over (nodes, kernels, plans): about this many bytes a node, and its constants.
const bytesPerNode = 4096;
// An external buffer's wrapper is small; what it wraps belongs to the checkpoint.
const maxWrappedWeights = 4096;

export class OnnxEngine implements Engine {
  readonly name: OnnxEngineName;
  readonly #ort: Ort;
  readonly #sessionOptions: InferenceSession.SessionOptions;
  readonly #programs: LruCache<Program>;
  readonly #sessions: LruCache<HeldSession>;
  readonly #wrapped: LruCache<OrtTensor>;
  readonly #residentWeights: boolean;

  constructor(name: OnnxEngineName, ort: Ort, options: OnnxEngineOptions = {}) {
    this.name = name;
    this.#ort = ort;
    this.#sessionOptions = sessionOptions(name, options.threads);
    this.#residentWeights = name !== "onnx-cpu";
    const maxPrograms = options.maxPrograms ?? defaults.maxPrograms;
    const maxBytes = (options.maxProgramBytes ?? defaults.maxProgramBytes) + (this.#residentWeights ? options.maxWeightBytes ?? defaults.maxWeightBytes : 0);
    // Built models are small beside their sessions, and let an evicted session come back without a trace.
    this.#programs = new LruCache(4 * maxPrograms, options.maxProgramBytes ?? defaults.maxProgramBytes, () => {});
    this.#sessions = new LruCache(maxPrograms, maxBytes, (session) => { session.release(); });
    this.#wrapped = new LruCache(maxWrappedWeights, Infinity, () => {});
  }

  async compile(key: string, fn: ProgramFunction, signature: Signature): Promise<Program> {
    const cacheKey = programKey(key, signature);
    const known = this.#programs.get(cacheKey);
    if (known) return known;
    const { graph, outputs } = trace(key, fn, signature, { fusedMatMul: this.name !== "onnx-webgpu" });
    const { bytes, nodeCount, usedInputs } = graph.toModel(Object.fromEntries(Object.entries(outputs).map(([name, value]) => [outputName(name), value])));
    const model: BuiltModel = { bytes, usedInputs, outputNames: Object.keys(outputs), signature };
    const held = bytes.length + nodeCount * bytesPerNode;
    const program: Program = {
      run: (inputs, weights = {}) => this.#run(key, cacheKey, model, held, inputs, weights),
    };
    this.#programs.set(cacheKey, program, bytes.length);
    if (!this.#residentWeights) await this.#session(cacheKey, held, () => this.#create(key, bytes)).ready();
    return program;
  }

  async #run(
    key: string, cacheKey: string, model: BuiltModel, held: number,
    inputs: Readonly<Record<string, HostTensor>>, weights: Readonly<Record<string, Weight>>,
  ): Promise<Record<string, HostTensor>> {
    const { signature } = model;
    checkInputs(key, signature, inputs, weights);
    const feeds: Record<string, OrtTensor> = {};
    for (const name of Object.keys(signature.inputs)) {
      if (model.usedInputs.has(inputName(name))) feeds[inputName(name)] = toOrt(this.#ort, inputs[name]!);
    }
    for (const name of Object.keys(signature.weights)) {
      if (model.usedInputs.has(weightName(name))) feeds[weightName(name)] = this.#wrap(weights[name]!);
    }
    const session = this.#session(cacheKey, held, () => this.#create(key, model.bytes));
    const results = await session.run(feeds);
    return Object.fromEntries(model.outputNames.map((name) => [name, toHost(name, results[outputName(name)]!)]));
  }

  #session(cacheKey: string, bytes: number, create: () => Promise<InferenceSession>): HeldSession {
    const known = this.#sessions.get(cacheKey);
    if (known) return known;
    const session = new HeldSession(create());
    this.#sessions.set(cacheKey, session, bytes);
    // A session that could not be made must not be found again.
    session.ready().catch(() => { this.#sessions.delete(cacheKey); });
    return session;
  }

  async #create(key: string, bytes: Uint8Array): Promise<InferenceSession> {
    try {
      return await this.#ort.InferenceSession.create(bytes, this.#sessionOptions);
    } catch (error) {
      throw new WorkbenchError("engine.unsupportedOp", `program ${key} was refused by ${this.name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }

  #wrap(weight: Weight): OrtTensor {
    const known = this.#wrapped.get(weight.key);
    if (known) return known;
    const tensor = new this.#ort.Tensor("float32", weight.data(), weight.shape);
    this.#wrapped.set(weight.key, tensor, 0);
    return tensor;
  }

  memory(): EngineMemory {
    return { programs: this.#programs.size, programBytes: this.#programs.bytes + this.#sessions.bytes, weightBytes: 0, tfjsTensors: 0 };
  }

  dispose(): Promise<void> {
    this.#sessions.clear();
    this.#programs.clear();
    this.#wrapped.clear();
    return Promise.resolve();
  }
}

function sessionOptions(name: OnnxEngineName, threads: number | undefined): InferenceSession.SessionOptions {
  return {
    executionProviders: name === "onnx-cpu" ? ["cpu"] : name === "onnx-webgpu" ? ["webgpu", "cpu"] : ["cuda", "cpu"],
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    graphOptimizationLevel: "all",
    // Errors only: ONNX Runtime warns about every unused or shared initialiser.
    logSeverityLevel: 3,
  };
}

/** @throws "engine.unavailable" when onnxruntime-node cannot be loaded */
export async function createOnnxEngine(name: OnnxEngineName, options: OnnxEngineOptions = {}): Promise<Engine> {
  return new OnnxEngine(name, await loadOrt(), options);
}

export async function loadOrt(): Promise<Ort> {
  try {
    return await import("onnxruntime-node");
  } catch (error) {
    throw new WorkbenchError("engine.unavailable", `onnxruntime-node did not load: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}
