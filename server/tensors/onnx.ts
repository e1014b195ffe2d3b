/**
 * The engine on ONNX Runtime: a program is traced once, lowered to an ONNX graph, and run as one session.
 *
 * Frozen weights are inputs of the graph, so one session serves every set of weights: all layers, all models of a shape.
 */
import "./noTelemetry.ts";
import { availableParallelism, totalmem } from "node:os";
import { join } from "node:path";
import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { WorkbenchError } from "../errors.ts";
import { keepFreedMemory } from "./allocator.ts";
import { loadCudaLibraries } from "./engineFolder.ts";
import type { Engine, EngineMemory, Program, ProgramFunction, Signature, Weight } from "./engine.ts";
import { inTurn, withFastGelu } from "./fusions.ts";
import type { HostTensor } from "./hostTensor.ts";
import type { Fusion, Value } from "./graph.ts";
import { LruCache } from "./lruCache.ts";
import { type BuiltGraph, type BuiltModel, HeldSession, type OutputSource, type Ort, toHost, toOrt } from "./onnxProgram.ts";
import { OnnxWeights } from "./onnxWeights.ts";
import { checkInputs, programKey } from "./signature.ts";
import { inputName, outputName, trace, weightName } from "./traceBackend.ts";
import { turnableWeights, turnedName, withFewRowsOnTheRight, withoutJoinedBias, withTurnedWeights } from "./weightLayouts.ts";

export const onnxEngineNames = ["onnx-cpu", "onnx-webgpu", "onnx-cuda"] as const;
export type OnnxEngineName = (typeof onnxEngineNames)[number];

export interface OnnxEngineOptions {
  /** Threads inside one operator; the machine's, up to 16, when left out. */
  readonly threads?: number;
  readonly maxPrograms?: number;
  readonly maxProgramBytes?: number;
  /** Bound on the weights kept on a device. */
  readonly maxWeightBytes?: number;
  /** Bound on transposed copies of weights; an eighth of the machine's memory when left out. */
  readonly maxTurnedBytes?: number;
  /** Where each session leaves its profile when it is given up; for measurements, as it takes time. */
  readonly profileFolder?: string;
}

// Every session has threads of its own, so sessions times threads must stay moderate.
const maxThreads = 16;
const defaults = { maxPrograms: 64, maxProgramBytes: 2 ** 30, maxWeightBytes: 8 * 2 ** 30 } as const;
// A session holds its graph several times over (nodes, kernels, plans): about this many bytes a node, and its constants.
const bytesPerNode = 4096;

export class OnnxEngine implements Engine {
  readonly name: OnnxEngineName;
  readonly #ort: Ort;
  readonly #sessionOptions: InferenceSession.SessionOptions;
  readonly #programs: LruCache<Program>;
  readonly #sessions: LruCache<HeldSession>;
  readonly #weights: OnnxWeights;

  constructor(name: OnnxEngineName, ort: Ort, options: OnnxEngineOptions = {}) {
    this.name = name;
    this.#ort = ort;
    this.#sessionOptions = { ...sessionOptions(name, options.threads), ...profiling(options.profileFolder) };
    const maxPrograms = options.maxPrograms ?? defaults.maxPrograms;
    const maxBytes = options.maxProgramBytes ?? defaults.maxProgramBytes;
    // Built models are small beside their sessions, and let an evicted session come back without a trace.
    this.#programs = new LruCache(4 * maxPrograms, maxBytes, () => {});
    this.#sessions = new LruCache(maxPrograms, maxBytes, (session) => {
      session.release();
    });
    const bounds = { maxBytes: options.maxWeightBytes ?? defaults.maxWeightBytes, maxTurnedBytes: options.maxTurnedBytes ?? totalmem() / 8 };
    this.#weights = new OnnxWeights(ort, bounds, name === "onnx-webgpu" ? this.#sessionOptions : undefined);
  }

  async compile(key: string, fn: ProgramFunction, signature: Signature): Promise<Program> {
    const cacheKey = programKey(key, signature);
    const known = this.#programs.get(cacheKey);
    if (known) return known;
    const { graph, outputs } = trace(key, fn, signature, {
      fusedMatMul: this.name !== "onnx-webgpu",
      broadcastPow: this.name !== "onnx-webgpu",
      decodesHalves: this.name === "onnx-cpu",
    });
    const { computed, sources } = outputSources(outputs, signature);
    const build = (own: string, ...fusions: Fusion[]): BuiltGraph => {
      const { bytes, nodeCount, usedInputs } = graph.toModel(computed, inTurn(fusions));
      return { key: own, bytes, usedInputs, held: bytes.length + nodeCount * bytesPerNode };
    };
    const isCpu = this.name === "onnx-cpu";
    const mayTurn = turnableWeights(signature);
    const turns = isCpu && mayTurn.length > 0 && signature.returnsMemory !== true;
    const fusions = [
      ...(this.name === "onnx-webgpu" ? [] : [withFastGelu]),
      ...(isCpu ? [withFewRowsOnTheRight(graph)] : []),
      ...(turns ? [withoutJoinedBias] : []),
    ];
    const plain = build(cacheKey, ...fusions);
    let turned: BuiltGraph | undefined;
    const buildTurned = () => (turned ??= build(`${cacheKey} turned`, ...fusions, withTurnedWeights(graph, new Set(mayTurn.map(weightName)))));
    const model: BuiltModel = { graph: plain, turned: turns ? { weights: mayTurn, build: buildTurned } : null, sources, signature };
    const program: Program = { run: (inputs, weights = {}) => this.#run(key, model, inputs, weights) };
    this.#programs.set(cacheKey, program, plain.bytes.length);
    try {
      await this.#session(key, plain, signature).ready();
    } catch (error) {
      this.#programs.delete(cacheKey);
      throw error;
    }
    return program;
  }

  async #run(
    key: string,
    model: BuiltModel,
    inputs: Readonly<Record<string, HostTensor>>,
    weights: Readonly<Record<string, Weight>>,
  ): Promise<Record<string, HostTensor>> {
    const { signature } = model;
    checkInputs(key, signature, inputs, weights);
    const feeds: Record<string, OrtTensor> = {};
    const graph = this.#chosen(model, weights, feeds);
    for (const name of Object.keys(signature.inputs)) {
      if (graph.usedInputs.has(inputName(name))) feeds[inputName(name)] = toOrt(this.#ort, inputs[name]!);
    }
    const used = Object.keys(signature.weights).filter((name) => graph.usedInputs.has(weightName(name)));
    const results = await this.#weights.use(
      used.map((name) => ({ weight: weights[name]!, isHalf: this.name === "onnx-cpu" && signature.halves?.[name] !== undefined })),
      (tensors) => {
        used.forEach((name, i) => {
          feeds[weightName(name)] = tensors[i]!;
        });
        return this.#session(key, graph, signature).run(feeds);
      },
    );
    const host: Record<string, HostTensor> = {};
    for (const [name, source] of Object.entries(model.sources)) {
      host[name] = source.kind === "input" ? inputs[source.name]! : (host[source.name] ?? toHost(name, results[outputName(source.name)]!));
    }
    return host;
  }

  /** The graph that takes its weights transposed, where the weights are at hand so; and feeds it with them. */
  #chosen({ graph, turned }: BuiltModel, weights: Readonly<Record<string, Weight>>, feeds: Record<string, OrtTensor>): BuiltGraph {
    if (!turned || !this.#weights.areOftenUsed(turned.weights.map((name) => weights[name]!))) return graph;
    const other = turned.build();
    const names = turned.weights.filter((name) => other.usedInputs.has(turnedName(weightName(name))));
    const tensors = names.length === 0 ? null : this.#weights.turned(names.map((name) => weights[name]!));
    if (!tensors) return graph;
    names.forEach((name, i) => {
      feeds[turnedName(weightName(name))] = tensors[i]!;
    });
    return other;
  }

  #session(key: string, graph: BuiltGraph, signature: Signature): HeldSession {
    const known = this.#sessions.get(graph.key);
    if (known) return known;
    const session = new HeldSession(this.#create(key, graph.bytes, signature));
    this.#sessions.set(graph.key, session, graph.held);
    // A session that could not be made must not be found again.
    session.ready().catch(() => {
      this.#sessions.delete(graph.key);
    });
    return session;
  }

  async #create(key: string, bytes: Uint8Array, signature: Signature): Promise<InferenceSession> {
    try {
      // Decoded weights are large and short-lived; a session's own arena would keep them, doubled. And every session has an arena
      // of its own: 80 LoRA steps on texts of 8 to 64 tokens (48 shapes) held 3.3 GB with arenas and 0.5 GB without,
      // for 4 % more processor time on GPT-2-small and none on a small model.
      const keepsArena = Object.keys(signature.halves ?? {}).length === 0 && signature.returnsMemory !== true;
      return await this.#ort.InferenceSession.create(bytes, { ...this.#sessionOptions, enableCpuMemArena: keepsArena });
    } catch (error) {
      throw new WorkbenchError(
        "engine.unsupportedOp",
        `program ${key} was refused by ${this.name}: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      );
    }
  }

  memory(): EngineMemory {
    return { programs: this.#programs.size, programBytes: this.#programs.bytes + this.#sessions.bytes, weightBytes: this.#weights.bytes, tfjsTensors: 0 };
  }

  async dispose(): Promise<void> {
    const freed = this.#sessions.values().map((session) => session.freed);
    this.#sessions.clear();
    this.#programs.clear();
    this.#weights.clear();
    await Promise.all(freed);
  }
}

/**
 * What a program must compute, and where each of its outputs comes from: a value that is an input, or that another output
 * has already, is the same array under a second name, as every output of a run is some megabytes out of ONNX Runtime.
 */
function outputSources(
  outputs: Readonly<Record<string, Value>>,
  signature: Signature,
): { computed: Record<string, Value>; sources: Record<string, OutputSource> } {
  const inputs = new Map(Object.keys(signature.inputs).map((name) => [inputName(name), name]));
  const first = new Map<number, string>();
  const computed: Record<string, Value> = {};
  const sources: Record<string, OutputSource> = {};
  for (const [name, value] of Object.entries(outputs)) {
    const input = value.input === undefined ? undefined : inputs.get(value.input);
    if (input !== undefined) {
      sources[name] = { kind: "input", name: input };
      continue;
    }
    const known = first.get(value.id) ?? name;
    if (known === name) {
      first.set(value.id, name);
      computed[outputName(name)] = value;
    }
    sources[name] = { kind: "output", name: known };
  }
  if (Object.keys(computed).length > 0) return { computed, sources };
  // ONNX Runtime refuses a graph without nodes, so a program that only hands on its inputs copies them.
  return {
    computed: Object.fromEntries(Object.entries(outputs).map(([name, value]) => [outputName(name), value])),
    sources: Object.fromEntries(Object.keys(outputs).map((name) => [name, { kind: "output", name }])),
  };
}

function sessionOptions(name: OnnxEngineName, threads: number | undefined): InferenceSession.SessionOptions {
  return {
    executionProviders: name === "onnx-cpu" ? ["cpu"] : name === "onnx-webgpu" ? ["webgpu", "cpu"] : ["cuda", "cpu"],
    // Left to itself ONNX Runtime pins its threads to cores, and the sessions of several workers to the same ones.
    intraOpNumThreads: threads ?? Math.min(availableParallelism(), maxThreads),
    // Threads that spin while they wait for work steal the cores of the other workers: on two busy cores the median run
    // of twelve GPT-2-small blocks took 507 ms with spinning and 326 ms without.
    extra: { session: { intra_op: { allow_spinning: "0" } } },
    // A planned block for all of a run comes on top of the arena that the first run filled: a LoRA step on GPT-2-small
    // takes 1.28 GB without the plan and 1.88 GB with it, in the same time.
    enableMemPattern: false,
    graphOptimizationLevel: "all",
    // Errors only: ONNX Runtime warns about every unused or shared initialiser.
    logSeverityLevel: 3,
  };
}

function profiling(folder: string | undefined): InferenceSession.SessionOptions {
  return folder === undefined ? {} : { enableProfiling: true, profileFilePrefix: join(folder, "session") };
}

/** @throws "engine.unavailable" when onnxruntime-node cannot be loaded */
export async function createOnnxEngine(name: OnnxEngineName, options: OnnxEngineOptions = {}): Promise<Engine> {
  keepFreedMemory();
  if (name === "onnx-cuda") loadCudaLibraries();
  return new OnnxEngine(name, await loadOrt(), options);
}

export async function loadOrt(): Promise<Ort> {
  try {
    return await import("onnxruntime-node");
  } catch (error) {
    throw new WorkbenchError("engine.unavailable", `onnxruntime-node did not load: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}
