/**
 * The graph a trace writes. It keeps one node for equal work, forgets what no output needs, and keeps broadcasts
 * symbolic: a value that is only a small one repeated remembers the small one (`narrow`), so constants stay small.
 */
import { at } from "../at.ts";
import { onnxDtypes, type Attribute, type ModelInitialiser, type ModelNode, type OnnxDtype, onnxModel } from "./onnxModel.ts";
import { sizeOf } from "./hostTensor.ts";
import { sameShape } from "./signature.ts";

export interface Value {
  readonly id: number;
  readonly shape: readonly number[];
  readonly dtype: OnnxDtype;
  /** How it is made; an input or a constant has no node. */
  readonly node?: Node;
  readonly input?: string;
  readonly constant?: ConstantData;
  /** This value is `half` (float16, or the bits of bfloat16) decoded to float32. */
  readonly half?: Value;
  /** This value is `narrow` broadcast to `shape`. */
  readonly narrow?: Value;
}
export interface Node {
  readonly op: string;
  readonly domain: string;
  readonly inputs: readonly Value[];
  readonly attributes: Readonly<Record<string, Attribute>>;
  readonly outputs: Value[];
}
/** Nodes in the order of their work, and what is read of them from outside, to nodes that compute the same. */
export type Fusion = (nodes: readonly Node[], outputs: readonly Value[]) => readonly Node[];
export type ConstantData = Float32Array | Int32Array | Uint8Array | BigInt64Array;
export interface Spec {
  readonly shape: readonly number[];
  readonly dtype: OnnxDtype;
}
export interface GraphOptions {
  /** Whether the runtime has com.microsoft.FusedMatMul (a product of transposed operands, without copies). */
  readonly fusedMatMul: boolean;
  /** Whether its Pow takes operands of different shapes (the WebGPU provider of ONNX Runtime 1.30 fails at run time). */
  readonly broadcastPow: boolean;
  /** Whether half-precision weights come as they are and are decoded in the graph. */
  readonly decodesHalves: boolean;
}

// Larger constants are compared by identity only: hashing them would cost more than a duplicate.
const maxSharedConstant = 4096;

export class Graph {
  readonly options: GraphOptions;
  readonly inputs: Value[] = [];
  readonly #shared = new Map<string, Value[]>();
  #nextId = 0;

  constructor(options: GraphOptions) {
    this.options = options;
  }

  input(name: string, shape: readonly number[], dtype: OnnxDtype): Value {
    const value: Value = { id: this.#nextId++, shape, dtype, input: name };
    this.inputs.push(value);
    return value;
  }

  /** float16, or uint16 that holds bfloat16, as float32; remembers where it came from, so that rows can be taken first. */
  decodeHalf(half: Value): Value {
    const source = half.dtype === "uint16" ? this.op("BitCast", [half], half.shape, "bfloat16", { to: onnxDtypes.bfloat16 }) : half;
    return { ...this.op("Cast", [source], half.shape, "float32", { to: onnxDtypes.float32 }), half };
  }

  /** A node with several outputs; equal nodes are one node. */
  node(op: string, inputs: readonly Value[], specs: readonly Spec[], attributes: Readonly<Record<string, Attribute>> = {}, domain = ""): Value[] {
    const key = `${domain}.${op}(${inputs.map(({ id }) => id).join()})${JSON.stringify(attributes)}:${specs.map(({ shape }) => shape.join("x")).join()}`;
    const known = this.#shared.get(key);
    if (known) return known;
    const node: Node = { op, domain, inputs, attributes, outputs: [] };
    for (const spec of specs) node.outputs.push({ id: this.#nextId++, shape: spec.shape, dtype: spec.dtype, node });
    this.#shared.set(key, node.outputs);
    return node.outputs;
  }

  op(
    op: string,
    inputs: readonly Value[],
    shape: readonly number[],
    dtype: OnnxDtype,
    attributes: Readonly<Record<string, Attribute>> = {},
    domain = "",
  ): Value {
    return at(this.node(op, inputs, [{ shape, dtype }], attributes, domain), 0);
  }

  constant(data: ConstantData, shape: readonly number[], dtype: OnnxDtype): Value {
    const make = (): Value => ({ id: this.#nextId++, shape, dtype, constant: data });
    if (data.length > maxSharedConstant) return make();
    const key = `constant ${dtype} ${shape.join("x")} ${signedText(data)}`;
    const [known] = this.#shared.get(key) ?? [];
    if (known) return known;
    const value = make();
    this.#shared.set(key, [value]);
    return value;
  }

  scalar(value: number, dtype: "float32" | "int32" | "bool"): Value {
    const data = dtype === "float32" ? Float32Array.of(value) : dtype === "int32" ? Int32Array.of(value) : Uint8Array.of(value ? 1 : 0);
    return this.constant(data, [], dtype);
  }

  /** A list of sizes, axes or positions, as ONNX operators want it. */
  ints(values: readonly number[]): Value {
    return this.constant(BigInt64Array.from(values, BigInt), [values.length], "int64");
  }

  uniform(value: number, shape: readonly number[], dtype: "float32" | "int32" | "bool"): Value {
    return this.expand(this.scalar(value, dtype), shape);
  }

  expand(value: Value, shape: readonly number[]): Value {
    if (sameShape(value.shape, shape)) return value;
    const narrow = value.narrow ?? value;
    const key = `expand ${narrow.id} ${shape.join("x")}`;
    const [known] = this.#shared.get(key) ?? [];
    if (known) return known;
    const node: Node = { op: "Expand", domain: "", inputs: [narrow, this.ints(shape)], attributes: {}, outputs: [] };
    const expanded: Value = { id: this.#nextId++, shape, dtype: value.dtype, node, narrow };
    node.outputs.push(expanded);
    this.#shared.set(key, [expanded]);
    return expanded;
  }

  reshape(value: Value, shape: readonly number[]): Value {
    if (sameShape(value.shape, shape)) return value;
    if (value.narrow && sizeOf(value.narrow.shape) === 1) return this.expand(this.reshape(value.narrow, []), shape);
    const source = value.node?.op === "Reshape" ? at(value.node.inputs, 0) : value;
    if (sameShape(source.shape, shape)) return source;
    return this.op("Reshape", [source, this.ints(shape)], shape, value.dtype, { allowzero: 1 });
  }

  cast(value: Value, dtype: OnnxDtype): Value {
    if (value.dtype === dtype) return value;
    const narrow = value.narrow ?? value;
    return this.expand(this.op("Cast", [narrow], narrow.shape, dtype, { to: onnxDtypes[dtype] }), value.shape);
  }

  /** The model that computes `outputs`; inputs keep their names, output i is named as its key. `fuse` may put one node in the place of several. */
  toModel(
    outputs: Readonly<Record<string, Value>>,
    fuse: Fusion = (nodes) => nodes,
  ): { bytes: Uint8Array<ArrayBuffer>; nodeCount: number; usedInputs: Set<string> } {
    const nodes: ModelNode[] = [];
    const initialisers: ModelInitialiser[] = [];
    const usedInputs = new Set<string>();
    // By id: a value may have been copied with something added, and is still the same value.
    const names = new Map<number, string>();
    const name = (value: Value): string => {
      const known = names.get(value.id);
      if (known) return known;
      const made = value.input ?? `v${value.id}`;
      names.set(value.id, made);
      if (value.input !== undefined) usedInputs.add(value.input);
      if (value.constant) {
        const { buffer, byteOffset, byteLength } = value.constant;
        initialisers.push({ name: made, dtype: value.dtype, shape: value.shape, bytes: new Uint8Array(buffer, byteOffset, byteLength) });
      }
      return made;
    };
    const needed = fuse(neededNodes(Object.values(outputs)), Object.values(outputs));
    // A computed value that is an output bears the output's name; a copy of it would cost as much as many an operator.
    const copied: [output: string, value: Value][] = [];
    for (const [output, value] of Object.entries(outputs)) {
      if (value.node && !names.has(value.id) && needed.length > mayBecomeEmpty) names.set(value.id, output);
      else copied.push([output, value]);
    }
    for (const node of needed) {
      nodes.push({
        op: node.op,
        domain: node.domain,
        attributes: node.attributes,
        inputs: node.inputs.map(name),
        outputs: node.outputs.map(name),
      });
    }
    // An output that is an input, a constant, or another output too is a copy under its own name.
    for (const [output, value] of copied) {
      nodes.push({ op: "Identity", domain: "", inputs: [name(value)], outputs: [output], attributes: {} });
    }
    const bytes = onnxModel({
      nodes,
      initialisers,
      inputs: this.inputs.flatMap(({ input, dtype, shape }) => (input !== undefined && usedInputs.has(input) ? [{ name: input, dtype, shape }] : [])),
      outputs: Object.entries(outputs).map(([output, value]) => ({ name: output, dtype: value.dtype, shape: value.shape })),
    });
    return { bytes, nodeCount: nodes.length, usedInputs };
  }
}

/** ONNX Runtime refuses a graph that its optimiser empties, as x + 0; one of so few nodes keeps the copies of its outputs. */
const mayBecomeEmpty = 4;

function signedText(data: ConstantData): string {
  // String(-0) is "0", and 1/-0 is not 1/0.
  return Array.from(data as ArrayLike<number | bigint>, (value) => (Object.is(value, -0) ? "-0" : String(value))).join();
}

/** The nodes that `outputs` need, each after its own inputs (depth first, without recursion: graphs are deep). */
function neededNodes(outputs: readonly Value[]): Node[] {
  const order: Node[] = [];
  const state = new Map<Node, "open" | "done">();
  const stack: Node[] = [];
  for (const { node } of outputs) {
    if (node) stack.push(node);
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      if (!state.has(top)) {
        state.set(top, "open");
        for (const { node: source } of top.inputs) if (source && !state.has(source)) stack.push(source);
      } else {
        stack.pop();
        if (state.get(top) === "open") {
          state.set(top, "done");
          order.push(top);
        }
      }
    }
  }
  return order;
}
