/**
 * Chains of nodes that ONNX Runtime has as one, found when a graph is written: only then is it known that nothing else reads
 * what lies between. A program that also goes back, and so reads the sigmoid again, keeps the chain.
 */
import type { Fusion, Node, Value } from "./graph.ts";
import { uniformValue } from "./lowering/lowering.ts";

/** One after the other. */
export const inTurn =
  (fusions: readonly Fusion[]): Fusion =>
  (nodes, outputs) =>
    fusions.reduce((so, fusion) => fusion(so, outputs), nodes);

/** How often each value is read, by its id. */
function readCounts(nodes: readonly Node[], outputs: readonly Value[]): ReadonlyMap<number, number> {
  const reads = new Map<number, number>();
  for (const { id } of [...nodes.flatMap(({ inputs }) => inputs), ...outputs]) reads.set(id, (reads.get(id) ?? 0) + 1);
  return reads;
}

const slope = 2 * Math.sqrt(2 / Math.PI);

/**
 * x σ(x (b x² + a)) with the numbers of GELU's tanh form, six passes over memory, as FastGelu, one.
 */
export const withFastGelu: Fusion = (nodes, outputs) => {
  const reads = readCounts(nodes, outputs);
  const replaced = new Map<Node, Node | null>();
  for (const node of nodes) {
    const found = geluOf(node, ({ id }) => reads.get(id) === 1);
    if (!found) continue;
    for (const between of found.chain) replaced.set(between, null);
    replaced.set(node, { op: "FastGelu", domain: "com.microsoft", inputs: [found.x], attributes: {}, outputs: node.outputs });
  }
  if (replaced.size === 0) return nodes;
  return nodes.map((node) => (replaced.has(node) ? replaced.get(node) : node)).filter((node): node is Node => node != null);
};

/** The input of the GELU that ends in `node`, and what lies between; undefined when it is none, or when something else reads of it. */
function geluOf(node: Node, isReadOnce: (value: Value) => boolean): { x: Value; chain: readonly Node[] } | undefined {
  const inside = (value: Value | undefined, op: string): Node | undefined => (value?.node?.op === op && isReadOnce(value) ? value.node : undefined);
  const uniform = ({ inputs }: Node, expected: number): Value | undefined => inputs.find((value) => isNear(uniformValue(value), expected));
  if (node.op !== "Mul") return undefined;
  const gate = node.inputs.find((value) => inside(value, "Sigmoid"));
  const x = other(node, gate);
  const sigmoid = inside(gate, "Sigmoid");
  const inner = inside(sigmoid?.inputs[0], "Mul");
  const shifted = inner && inside(other(inner, x), "Add");
  const cubic = shifted && inside(other(shifted, uniform(shifted, slope)), "Mul");
  const square = cubic && inside(other(cubic, uniform(cubic, 0.044715 * slope)), "Mul");
  if (!x || !sigmoid || !inner || !shifted || !cubic || !square?.inputs.every(({ id }) => id === x.id)) return undefined;
  return { x, chain: [sigmoid, inner, shifted, cubic, square] };
}

/** The second of two operands, of which `known` is one. */
function other({ inputs: [one, two] }: Node, known: Value | undefined): Value | undefined {
  if (!known) return undefined;
  return one?.id === known.id ? two : two?.id === known.id ? one : undefined;
}

const isNear = (found: number | undefined, expected: number): boolean => found !== undefined && Math.abs(found - expected) < 1e-6 * expected;
