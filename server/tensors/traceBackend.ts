/** A tfjs backend that computes nothing: it records the operations a program performs, as a graph. */
import * as tf from "@tensorflow/tfjs-core";
import type { BackendValues, DataType, NamedAttrMap, NamedTensorInfoMap, TensorInfo } from "@tensorflow/tfjs-core";
import { at } from "../at.ts";
import { WorkbenchError } from "../errors.ts";
import type { ProgramFunction, Signature, Tensors, HalfDtype } from "./engine.ts";
import { Graph, type GraphOptions, type Value } from "./graph.ts";
import { elementwiseLowerings } from "./lowering/elementwise.ts";
import { indexingLowerings } from "./lowering/indexing.ts";
import type { Lowering, Lowerings } from "./lowering/lowering.ts";
import { matMulLowerings } from "./lowering/matMul.ts";
import { reduceLowerings } from "./lowering/reduce.ts";
import { shapeLowerings } from "./lowering/shape.ts";
import { withBackend } from "./tfjsBackend.ts";
import "./gradients.ts";

const backendName = "trace";

export const lowerings: Lowerings = {
  ...elementwiseLowerings,
  ...matMulLowerings,
  ...reduceLowerings,
  ...shapeLowerings,
  ...indexingLowerings,
};

// tfjs's own name for what identifies a tensor's data; any object does.
type DataId = Record<string, never>;

class TraceBackend extends tf.KernelBackend {
  graph: Graph | undefined;
  readonly #values = new Map<object, { value: Value; references: number }>();

  value(dataId: object): Value {
    const entry = this.#values.get(dataId);
    if (!entry) throw new Error("internal: a traced tensor is not of this trace");
    return entry.value;
  }

  /** A tensor that stands for `value`. */
  tensor(value: Value): TensorInfo {
    if (value.dtype !== "float32" && value.dtype !== "int32" && value.dtype !== "bool") throw new Error(`internal: ${value.dtype} stays inside a lowering`);
    const dataId: DataId = {};
    this.#values.set(dataId, { value, references: 1 });
    return { dataId, shape: [...value.shape], dtype: value.dtype };
  }

  override write(values: BackendValues | null, shape: number[], dtype: DataType): object {
    return this.tensor(this.#written(values, shape, dtype)).dataId;
  }

  override move(dataId: object, values: BackendValues, shape: number[], dtype: DataType, references: number): void {
    this.#values.set(dataId, { value: this.#written(values, shape, dtype), references });
  }

  #written(values: BackendValues | null, shape: number[], dtype: DataType): Value {
    if (dtype !== "float32" && dtype !== "int32" && dtype !== "bool")
      throw new WorkbenchError("engine.unsupportedOp", `a program made a ${dtype} tensor; expected float32, int32 or bool`);
    const graph = this.graph;
    if (!graph) throw new Error("internal: a tensor was made on the trace backend outside a trace");
    const data = values as ArrayLike<number> | null;
    if (!data) return graph.uniform(0, shape, dtype);
    if (data.length > 1 && isUniform(data)) return graph.uniform(at(data, 0), shape, dtype);
    const typed = dtype === "float32" ? Float32Array.from(data) : dtype === "int32" ? Int32Array.from(data) : Uint8Array.from(data);
    return graph.constant(typed, shape, dtype);
  }

  override read(dataId: object): Promise<BackendValues> {
    return Promise.resolve(this.readSync(dataId));
  }
  override readSync(dataId: object): BackendValues {
    const { dtype, shape } = this.value(dataId);
    throw new WorkbenchError(
      "engine.unsupportedOp",
      `a program read the values of a ${dtype} [${shape.join(", ")}] tensor; it is traced without values, so it may only combine tensors`,
    );
  }

  override disposeData(dataId: object, force = false): boolean {
    const entry = this.#values.get(dataId);
    if (entry && !force && --entry.references > 0) return false;
    this.#values.delete(dataId);
    return true;
  }
  override refCount(dataId: object): number {
    return this.#values.get(dataId)?.references ?? 0;
  }
  override incRef(dataId: object): void {
    const entry = this.#values.get(dataId);
    if (entry) entry.references++;
  }
  override numDataIds(): number {
    return this.#values.size;
  }
  override memory(): { unreliable: boolean } {
    return { unreliable: false };
  }
  override floatPrecision(): 32 {
    return 32;
  }
  override epsilon(): number {
    return 1e-7;
  }
  override dispose(): void {
    this.#values.clear();
  }
}

function isUniform(data: ArrayLike<number>): boolean {
  for (let i = 1; i < data.length; i++) if (!Object.is(data[i], data[0])) return false;
  return true;
}

const backend = new TraceBackend();
tf.registerBackend(backendName, () => backend, 0);
// Instantiates the backend, so that switching to it later needs no waiting.
tf.engine().findBackend(backendName);

for (const [kernelName, lowering] of Object.entries(lowerings)) {
  tf.registerKernel({ kernelName, backendName, kernelFunc: ({ inputs, attrs }) => record(lowering, inputs, attrs) });
}

function record(lowering: Lowering, inputs: NamedTensorInfoMap, attrs: NamedAttrMap | undefined): TensorInfo | TensorInfo[] {
  const operands: Record<string, Value> = {};
  // Kernels of many operands get an array; its keys 0, 1, … keep their order in an object.
  for (const [name, info] of Object.entries(inputs)) if (info) operands[name] = backend.value(info.dataId);
  const { graph } = backend;
  if (!graph) throw new Error("internal: a kernel ran on the trace backend outside a trace");
  const result = lowering(graph, operands, (attrs ?? {}) as never);
  return Array.isArray(result) ? result.map((value) => backend.tensor(value)) : backend.tensor(result);
}

export interface Trace {
  readonly graph: Graph;
  /** Under the program's own names. */
  readonly outputs: Readonly<Record<string, Value>>;
}
export const inputName = (name: string): string => `in.${name}`;
export const weightName = (name: string): string => `w.${name}`;
export const outputName = (name: string): string => `out.${name}`;

/**
 * Runs `fn` on tensors without values and returns what it did.
 * @throws "engine.unsupportedOp" naming the kernel that has no lowering, or saying that values were read
 */
export function trace(key: string, fn: ProgramFunction, signature: Signature, options: GraphOptions): Trace {
  const graph = new Graph(options);
  return withBackend(backendName, () => {
    const outer = backend.graph;
    backend.graph = graph;
    try {
      const outputs: Record<string, Value> = {};
      tidied(() => {
        const inputs: Tensors = {};
        const weights: Tensors = {};
        for (const [name, { shape, dtype }] of Object.entries(signature.inputs)) inputs[name] = placeholder(graph.input(inputName(name), shape, dtype));
        for (const [name, shape] of Object.entries(signature.weights))
          weights[name] = placeholder(weightInput(graph, weightName(name), shape, signature.halves?.[name]));
        for (const [name, tensor] of Object.entries(fn(inputs, weights))) outputs[name] = backend.value(tensor.dataId);
      });
      return { graph, outputs };
    } catch (error) {
      const missing = error instanceof Error ? /Kernel '(\w+)' not registered/.exec(error.message)?.[1] : undefined;
      if (missing === undefined) throw error;
      throw new WorkbenchError("engine.unsupportedOp", `program ${key} uses ${missing}, which has no lowering to ONNX`, { cause: error });
    } finally {
      backend.graph = outer;
    }
  });
}

/** `tf.tidy`, and when it throws, of what a gradient keeps for its way back too, which tfjs lets go only there. */
function tidied(body: () => void): void {
  const engine = tf.engine();
  const keep = engine.keep.bind(engine);
  const kept: tf.Tensor[] = [];
  engine.keep = (tensor) => {
    kept.push(tensor);
    return keep(tensor);
  };
  try {
    tf.tidy(body);
  } catch (error) {
    tf.dispose(kept);
    throw error;
  } finally {
    engine.keep = keep;
  }
}

function weightInput(graph: Graph, name: string, shape: readonly number[], half: HalfDtype | undefined): Value {
  if (half === undefined || !graph.options.decodesHalves) return graph.input(name, shape, "float32");
  return graph.decodeHalf(graph.input(name, shape, half === "BF16" ? "uint16" : "float16"));
}

function placeholder(value: Value): tf.Tensor {
  return tf.engine().makeTensorFromTensorInfo(backend.tensor(value));
}
