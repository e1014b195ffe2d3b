/** Matrix products, so arranged that a frozen weight is never transposed or copied. */
import type * as tf from "@tensorflow/tfjs-core";
import { at, named } from "../../at.ts";
import type { Graph, Value } from "../graph.ts";
import { sizeOf } from "../hostTensor.ts";
import { sameShape } from "../signature.ts";
import { add, apply } from "./elementwise.ts";
import { broadcastShape, type Lowerings, reads, readsAll } from "./lowering.ts";

function swapLast(graph: Graph, x: Value): Value {
  const rank = x.shape.length;
  const perm = [...Array(rank - 2).keys(), rank - 1, rank - 2];
  return graph.op(
    "Transpose",
    [x],
    perm.map((axis) => at(x.shape, axis)),
    x.dtype,
    { perm },
  );
}

function matMul(graph: Graph, a: Value, b: Value, transposeA: boolean, transposeB: boolean): Value {
  const batch = broadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const [m, inner] = transposeA ? [at(a.shape, -1), at(a.shape, -2)] : [at(a.shape, -2), at(a.shape, -1)];
  const n = at(b.shape, transposeB ? -2 : -1);
  const shape = [...batch, m, n];
  if (sizeOf(shape) === 0 || inner === 0) return graph.uniform(0, shape, a.dtype === "int32" ? "int32" : "float32");

  const oneRight = sizeOf(b.shape.slice(0, -2)) === 1;
  const oneLeft = sizeOf(a.shape.slice(0, -2)) === 1;
  if (a.dtype === "float32" && oneRight && (!transposeA || oneLeft)) {
    const right2d = graph.reshape(b, b.shape.slice(-2));
    // A linear layer: one right operand for all rows.
    if (!transposeA && transposeB && graph.options.fusedMatMul && sameShape(shape.slice(0, -1), a.shape.slice(0, -1)))
      return graph.op("FusedMatMul", [a, right2d], shape, "float32", { transA: 0, transB: 1 }, "com.microsoft");
    const rows = transposeA ? graph.reshape(a, [inner, m]) : graph.reshape(a, [sizeOf(batch) * m, inner]);
    const product =
      transposeA || transposeB
        ? graph.op("Gemm", [rows, right2d], [sizeOf(batch) * m, n], "float32", { transA: Number(transposeA), transB: Number(transposeB) })
        : graph.op("MatMul", [rows, right2d], [sizeOf(batch) * m, n], "float32");
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
  BatchMatMul: reads("a", "b")((graph, { a, b }, { transposeA, transposeB }: tf.BatchMatMulAttrs) => matMul(graph, a, b, transposeA, transposeB)),
  _FusedMatMul: (graph, { bias, ...factors }, { transposeA, transposeB, activation }: Partial<tf._FusedMatMulAttrs>) => {
    const { a, b } = named("a fused product", factors, ["a", "b"]);
    const product = matMul(graph, a, b, transposeA === true, transposeB === true);
    const sum = bias ? add(graph, product, bias) : product;
    if ((activation ?? "linear") === "linear") return sum;
    const op = activations[activation ?? ""];
    if (!op) throw new Error(`internal: fused activation ${activation} has no lowering`);
    return apply(graph, op, [sum], "float32");
  },
  Einsum: readsAll((graph, values, { equation: spaced }: tf.EinsumAttrs, first) => {
    const equation = spaced.replaceAll(" ", "");
    const [left = "", output = ""] = equation.split("->");
    const shape = Array<number>(output.length);
    for (const [i, term] of left.split(",").entries())
      for (const [axis, subscript] of [...term].entries()) {
        const place = output.indexOf(subscript);
        if (place >= 0) shape[place] = at(at(values, i).shape, axis);
      }
    return graph.op("Einsum", values, shape, first.dtype, { equation });
  }),
};
