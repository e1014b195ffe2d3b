/**
 * Products of a few rows with a frozen weight spend a third of their time bringing the weight into the order that the kernel reads
 * it in. Two rewritings of a graph make that cheaper.
 *
 *   x W    → x (Wᵀ)ᵀ    read along its rows, where it lies in a row, and not across them: 128 rows by 768 × 3072 cold take 5.1 ms of
 *                       processor time for 6.4. The transposed copy is the engine's, made once (`OnnxWeights.turned`), and the
 *                       numbers are the same to the last bit, so that it does not show when it is made.
 *   x Wᵀ   → (W xᵀ)ᵀ    with few rows: the weight is the left factor, which is read as it lies: 16 rows take 1.4 ms for 1.8.
 *
 * The figures are of sixteen weights in turn, ONNX Runtime 1.30 on two Xeon cores with AVX-512, November 2026.
 */
import { at } from "../at.ts";
import type { Fusion, Graph, Node, Value } from "./graph.ts";
import { sizeOf } from "./hostTensor.ts";
import type { Signature } from "./engine.ts";

/** More rows use what is read often enough for its order not to matter. */
const mostRowsTurned = 1024;
const mostRowsOnTheRight = 48;
/** Smaller weights stay in the cache. */
const leastWeight = 2 ** 16;

/** The input that brings a weight transposed. */
export const turnedName = (input: string): string => `${input} turned`;

/** Weights of a program that are large matrices in float32, by their names. */
export function turnableWeights({ weights, halves = {} }: Signature): string[] {
  return Object.entries(weights).flatMap(([name, shape]) => (shape.length === 2 && halves[name] === undefined && sizeOf(shape) >= leastWeight ? [name] : []));
}

/** A product of rows with a weight, as two of the graph's operators have it. */
interface Product {
  readonly rows: Value;
  readonly weight: Value;
  readonly isTransposed: boolean;
  readonly count: number;
}

function productOf({ op, inputs, attributes }: Node): Product | undefined {
  const isPlain = op === "MatMul" || ((op === "FusedMatMul" || op === "Gemm") && attributes["transA"] === 0 && attributes["transB"] === 0);
  const isTransposed = (op === "FusedMatMul" || op === "Gemm") && attributes["transA"] === 0 && attributes["transB"] === 1;
  const [rows, weight] = inputs;
  if ((!isPlain && !isTransposed) || inputs.length !== 2 || !rows || weight?.shape.length !== 2 || sizeOf(weight.shape) < leastWeight) return undefined;
  return { rows, weight, isTransposed, count: sizeOf(rows.shape.slice(0, -1)) };
}

const swapped = ([rows = 0, columns = 0]: readonly number[]): number[] => [columns, rows];

/**
 * Products as nodes that ONNX Runtime does not join with the bias after them: it does so for plain products alone, in an order of sums that
 * a transposed weight's would not share, and lays the bias out on one thread.
 */
export const withoutJoinedBias: Fusion = (nodes) =>
  nodes.map((node) =>
    node.op === "MatMul" && productOf(node) ? { ...node, op: "FusedMatMul", domain: "com.microsoft", attributes: { transA: 0, transB: 0 } } : node,
  );

/** Weights that stand untransposed on the right come in transposed. @param mayTurn the inputs that bring such weights */
export function withTurnedWeights(graph: Graph, mayTurn: ReadonlySet<string>): Fusion {
  const turned = new Map<string, Value>();
  return (nodes) =>
    nodes.map((node) => {
      const product = productOf(node);
      const name = product?.weight.input;
      // One row is summed in another order where the weight is transposed.
      if (!product || product.isTransposed || name === undefined || !mayTurn.has(name) || product.count < 2 || product.count > mostRowsTurned) return node;
      const weight = turned.get(name) ?? graph.input(turnedName(name), swapped(product.weight.shape), "float32");
      turned.set(name, weight);
      const attributes = { transA: 0, transB: 1 };
      return { op: "FusedMatMul", domain: "com.microsoft", inputs: [product.rows, weight], attributes, outputs: node.outputs };
    });
}

/** A few rows times a transposed weight, as the weight times a few columns. */
export function withFewRowsOnTheRight(graph: Graph): Fusion {
  return (nodes) => {
    // What the graph has already, and shares, is written once, where it is first needed.
    const written = new Set<Node>();
    const once = (all: readonly (Node | undefined)[]): Node[] => {
      const found = all.filter((node) => node !== undefined).filter((node) => !written.has(node));
      for (const node of found) written.add(node);
      return found;
    };
    return nodes.flatMap((node) => {
      const product = productOf(node);
      const isFrozen = product?.weight.input !== undefined || product?.weight.half !== undefined;
      if (!product?.isTransposed || !isFrozen || product.count < 2 || product.count > mostRowsOnTheRight) return once([node]);
      const { rows, weight, count } = product;
      const [width, inner] = [at(weight.shape, 0), at(weight.shape, 1)];
      const flat = graph.reshape(rows, [count, inner]);
      const columns = graph.op("FusedMatMul", [weight, flat], [width, count], "float32", { transA: 0, transB: 1 }, "com.microsoft");
      const back = graph.op("Transpose", [columns], [count, width], "float32", { perm: [1, 0] });
      const result = at(node.outputs, 0);
      const shaped: Node = { op: "Reshape", domain: "", inputs: [back, graph.ints(result.shape)], attributes: { allowzero: 1 }, outputs: node.outputs };
      return once([flat === rows ? undefined : flat.node, columns.node, back.node, shaped]);
    });
  };
}
