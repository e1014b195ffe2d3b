/** What an engine is: something that turns a function of tfjs tensors into a program and runs it. */
import type { Tensor } from "@tensorflow/tfjs-core";
import type { HostDtype, HostTensor } from "./hostTensor.ts";

export const engineNames = ["onnx-cpu", "onnx-webgpu", "onnx-cuda", "tfjs-node-gpu", "tfjs-node", "wasm"] as const;
export type EngineName = (typeof engineNames)[number];

export interface TensorSpec {
  readonly shape: readonly number[];
  readonly dtype: HostDtype;
}

export const halfDtypes = ["BF16", "F16"] as const;
export type HalfDtype = (typeof halfDtypes)[number];

/**
 * A frozen parameter. It stays where the checkpoint has it until an engine asks for it:
 * engines may hold it by `key` (uploaded once, or wrapped once), so a key always means the same values.
 */
export interface Weight {
  readonly key: string;
  readonly shape: readonly number[];
  /** How the checkpoint has it, when that is half precision: an engine that can decodes these bits inside its programs. */
  readonly half?: { readonly dtype: HalfDtype; bits(): Uint16Array };
  /** Row-major float32 values; for F32 checkpoints a view of the mapped file, no copy. */
  data(): Float32Array;
}

export type Tensors = Record<string, Tensor>;

/** Written once in tfjs operations; must depend on nothing but its arguments and the program's key. */
export type ProgramFunction = (inputs: Tensors, weights: Tensors) => Tensors;

export interface Signature {
  readonly inputs: Readonly<Record<string, TensorSpec>>;
  /** Shapes of the frozen parameters (always float32). */
  readonly weights: Readonly<Record<string, readonly number[]>>;
  /** Those of them that every run will bring in half precision. */
  readonly halves?: Readonly<Record<string, HalfDtype>>;
  /** Whether it gives its memory back after each run: for programs that come in many shapes, of which each would keep its own. */
  readonly returnsMemory?: boolean;
}

export interface Program {
  /**
   * Runs once. Inputs and weights must have the shapes of the signature. Outputs that are one value, or an input, may share
   * one array: whoever writes into an output copies it first.
   * @throws "program.badInput" naming the tensor, what was found and what was expected
   */
  run(inputs: Readonly<Record<string, HostTensor>>, weights?: Readonly<Record<string, Weight>>): Promise<Record<string, HostTensor>>;
}

export interface EngineMemory {
  programs: number;
  /** Estimated bytes held by programs and by weights the engine copied for itself. */
  programBytes: number;
  weightBytes: number;
  /** Live tfjs tensors (0 between runs for the onnx engines; the cached weights for eager ones). */
  tfjsTensors: number;
}

export interface Engine {
  readonly name: EngineName;
  /**
   * The program of `fn` at these shapes: traced and built at the first call, then found by `key` + shapes.
   * The cache is bounded; the least recently used program goes first.
   */
  compile(key: string, fn: ProgramFunction, signature: Signature): Promise<Program>;
  memory(): EngineMemory;
  dispose(): Promise<void>;
}
