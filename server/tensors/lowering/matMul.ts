/** Matrix products, so arranged that a frozen weight is never transposed or copied. */
import type { Graph, Value } from "../graph.ts";
import { sizeOf } from "../hostTensor.ts";
import { add, apply } from "./elementwise.ts";
import { broadcastShape, type Lowerings } from "./lowering.ts";

function swapLast(graph: Graph, x: Value): Value {
  const rank = x.shape.length;
  const perm = [...Array(rank - 2).keys(), rank - 1, rank - 2];
  return graph.op(
    "Transpose",
    [x],
    perm.map((axis) => x.shape[axis]!),
    x.dtype,
    { perm },
  );
}

function matMul(graph: Graph, a: Value, b: Value, transposeA: boolean, transposeB: boolean): Value {
  const batch = broadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const [m, inner] = transposeA ? [a.shape.at(-1)!, a.shape.at(-2)!] : [a.shape.at(-2)!, a.shape.at(-1)!];
  const n = transposeB ? b.shape.at(-2)! : b.shape.at(-1)!;
  const shape = [...batch, m, n];
  if (sizeOf(shape) === 0 || inner === 0) return graph.uniform(0, shape, a.dtype === "int32" ? "int32" : "float32");

  const oneRight = sizeOf(b.shape.slice(0, -2)) === 1;
  const oneLeft = sizeOf(a.shape.slice(0, -2)) === 1;
  if (a.dtype === "float32" && oneRight && (!transposeA || oneLeft)) {
    // One right operand for all rows (a linear layer): a single two-dimensional product.
    const rows = transposeA ? graph.reshape(a, [inner, m]) : graph.reshape(a, [sizeOf(batch) * m, inner]);
    const right = graph.reshape(b, b.shape.slice(-2));
    const product =
      transposeA || transposeB
        ? graph.op("Gemm", [rows, right], [sizeOf(batch) * m, n], "float32", { transA: Number(transposeA), transB: Number(transposeB) })
        : graph.op("MatMul", [rows, right], [sizeOf(batch) * m, n], "float32");
    return graph.reshape(product, shape);
  }
  if (!transposeA && !transposeB) return graph.op("MatMul", [a, b], shape, a.dtype);
  if (graph.options.fusedMatMul && a.dtype === "float32") {
    return graph.op("FusedMatMul", [a, b], shape, "float32", { transA: Number(transposeA), transB: Number(transposeB) }, "com.microsoft");
  }
  return graph.op("MatMul", [transposeA ? swapLast(graph, a) : a, transposeB ? swapLast(graph, b) : b], shape, a.dtype);
}

const activations: Readonly<Record<string, string>> = { relu: "Relu", elu: "Elu", sigmoid: "Sigmoid" };

export const matMulLowerings: Lowerings = {
  BatchMatMul: (graph, { a, b }, { transposeA, transposeB }) => matMul(graph, a!, b!, transposeA === true, transposeB === true),
  _FusedMatMul: (graph, { a, b, bias }, { transposeA, transposeB, activation }) => {
    const product = matMul(graph, a!, b!, transposeA === true, transposeB === true);
    const sum = bias ? add(graph, product, bias) : product;
    if (activation === null || activation === undefined || activation === "linear") return sum;
    const op = activations[activation as string];
    if (!op) throw new Error(`internal: fused activation ${String(activation)} has no lowering`);
    return apply(graph, op, [sum], "float32");
  },
  Einsum: (graph, operands, attributes) => {
    const equation = (attributes["equation"] as string).replaceAll(" ", "");
    const [left, output] = equation.split("->") as [string, string];
    const values = Object.values(operands);
    const sizes = new Map<string, number>();
    left.split(",").forEach((term, i) => [...term].forEach((subscript, axis) => sizes.set(subscript, values[i]!.shape[axis]!)));
    return graph.op(
      "Einsum",
      values,
      [...output].map((subscript) => sizes.get(subscript)!),
      values[0]!.dtype,
      { equation },
    );
  },
};
