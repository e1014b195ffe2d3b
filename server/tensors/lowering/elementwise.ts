/** Elementwise kernels. Broadcast operands are used as they were before the broadcast; only the result is (perhaps) repeated. */
import type * as tf from "@tensorflow/tfjs-core";
import type { Graph, Value } from "../graph.ts";
import type { Attribute, OnnxDtype } from "../onnxModel.ts";
import { sameShape } from "../signature.ts";
import { broadcastShape, constantDtype, type Lowering, type Lowerings, reads, uniformValue } from "./lowering.ts";

/** One ONNX operator over operands of one dtype, at the smallest shape that carries the information. */
export function apply(graph: Graph, op: string, operands: readonly Value[], dtype: OnnxDtype, attributes: Readonly<Record<string, Attribute>> = {}): Value {
  const full = operands.map(({ shape }) => shape).reduce(broadcastShape);
  const narrow = operands.map((value) => value.narrow ?? value);
  const folded = fold(op, operands);
  if (folded !== undefined) return graph.uniform(folded, full, "float32");
  const shape = narrow.map((value) => value.shape).reduce(broadcastShape);
  return graph.expand(graph.op(op, narrow, shape, dtype, attributes), full);
}

const foldable: Readonly<Record<string, (a: number, b: number) => number>> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Div: (a, b) => a / b,
};

/** Arithmetic of two known numbers, rounded as the engine would: so that pow(x, 3 − 1) is seen to be a square. */
function fold(op: string, [a, b]: readonly Value[]): number | undefined {
  const rule = foldable[op];
  if (!rule || !a || !b || a.dtype !== "float32") return undefined;
  const [x, y] = [uniformValue(a), uniformValue(b)];
  return x === undefined || y === undefined ? undefined : Math.fround(rule(x, y));
}

export function float(graph: Graph, value: Value): Value {
  return graph.cast(value, "float32");
}

/** Arithmetic has no bool form; tfjs counts true as 1. */
function numeric(graph: Graph, value: Value): Value {
  return value.dtype === "bool" ? graph.cast(value, "int32") : value;
}

function number(graph: Graph, value: number, like: Value): Value {
  return graph.scalar(value, like.dtype === "float32" ? "float32" : "int32");
}

export function add(graph: Graph, a: Value, b: Value): Value {
  return neutral(a, b, 0) ?? apply(graph, "Add", [a, b], a.dtype);
}
export function sub(graph: Graph, a: Value, b: Value): Value {
  return (uniformValue(b) === 0 && covers(a, b) ? a : undefined) ?? apply(graph, "Sub", [a, b], a.dtype);
}
export function mul(graph: Graph, a: Value, b: Value): Value {
  if (uniformValue(a) === 1) return graph.expand(b, broadcastShape(a.shape, b.shape));
  if (uniformValue(b) === 1) return graph.expand(a, broadcastShape(a.shape, b.shape));
  return apply(graph, "Mul", [a, b], a.dtype);
}
export function div(graph: Graph, a: Value, b: Value): Value {
  if (uniformValue(b) === 1 && covers(a, b)) return a;
  return apply(graph, "Div", [a, b], a.dtype);
}

function covers(a: Value, b: Value): boolean {
  return sameShape(a.shape, broadcastShape(a.shape, b.shape));
}

/** The other operand, when one is the neutral element everywhere. */
function neutral(a: Value, b: Value, element: number): Value | undefined {
  if (Object.is(uniformValue(b), element) && covers(a, b)) return a;
  if (Object.is(uniformValue(a), element) && covers(b, a)) return b;
  return undefined;
}

const arithmetic = (make: (graph: Graph, a: Value, b: Value) => Value): Lowering =>
  reads("a", "b")((graph, { a, b }) => make(graph, numeric(graph, a), numeric(graph, b)));
const compare = (op: string): Lowering => reads("a", "b")((graph, { a, b }) => apply(graph, op, [numeric(graph, a), numeric(graph, b)], "bool"));
const logical = (op: string): Lowering => reads("a", "b")((graph, { a, b }) => apply(graph, op, [a, b], "bool"));
const unary = (op: string, attributes: Readonly<Record<string, Attribute>> = {}): Lowering =>
  reads("x")((graph, { x }) => apply(graph, op, [float(graph, x)], "float32", attributes));
/** Kept in the operand's own dtype. */
const sameType = (make: (graph: Graph, x: Value) => Value): Lowering => reads("x")((graph, { x }) => make(graph, numeric(graph, x)));
/** Of the operand as float32. */
const ofFloat = (make: (graph: Graph, x: Value) => Value): Lowering => reads("x")((graph, { x }) => make(graph, float(graph, x)));

function floor(graph: Graph, x: Value): Value {
  return x.dtype === "float32" ? apply(graph, "Floor", [x], "float32") : x;
}
/** The remainder with the divisor's sign, as tfjs has it. */
function floorMod(graph: Graph, a: Value, b: Value): Value {
  if (a.dtype === "int32") return apply(graph, "Mod", [a, b], "int32");
  return sub(graph, a, mul(graph, floor(graph, div(graph, a, b)), b));
}
function floorDiv(graph: Graph, a: Value, b: Value): Value {
  if (a.dtype === "int32") return div(graph, sub(graph, a, floorMod(graph, a, b)), b);
  return graph.cast(floor(graph, div(graph, a, b)), "int32");
}
export function select(graph: Graph, condition: Value, t: Value, e: Value): Value {
  if (t.dtype !== "bool") return apply(graph, "Where", [condition, t, e], t.dtype);
  return graph.cast(apply(graph, "Where", [condition, graph.cast(t, "int32"), graph.cast(e, "int32")], "int32"), "bool");
}
function pow(graph: Graph, a: Value, b: Value): Value {
  const exponent = a.dtype === "float32" && covers(a, b) ? uniformValue(b) : undefined;
  switch (exponent) {
    case 1:
      return a;
    case 2:
      return mul(graph, a, a);
    case 3:
      return mul(graph, mul(graph, a, a), a);
    case 0.5:
      return apply(graph, "Sqrt", [a], "float32");
    case -1:
      return apply(graph, "Reciprocal", [a], "float32");
    default: {
      if (graph.options.broadcastPow || uniformValue(b) !== undefined) return apply(graph, "Pow", [a, b], a.dtype);
      const shape = broadcastShape(a.shape, b.shape);
      return graph.op("Pow", [graph.expand(a, shape), graph.expand(b, shape)], shape, a.dtype);
    }
  }
}
/** atan(a/b), moved to the right quadrant. */
function atan2(graph: Graph, a: Value, b: Value): Value {
  const zero = graph.scalar(0, "float32");
  const angle = apply(graph, "Atan", [div(graph, a, b)], "float32");
  const half = select(graph, apply(graph, "GreaterOrEqual", [a, zero], "bool"), graph.scalar(Math.PI, "float32"), graph.scalar(-Math.PI, "float32"));
  const right = apply(graph, "Greater", [b, zero], "bool");
  const left = apply(graph, "Less", [b, zero], "bool");
  const vertical = mul(graph, apply(graph, "Sign", [a], "float32"), graph.scalar(Math.PI / 2, "float32"));
  return select(graph, right, angle, select(graph, left, add(graph, angle, half), vertical));
}
/** exp(x) − 1; for |x| < ½ by its series to x⁷/7!, the rest of which is below 1e-7 of it, so that nothing cancels. */
function expm1(graph: Graph, x: Value): Value {
  const constant = (value: number): Value => graph.scalar(value, "float32");
  let series = constant(1 / 5040);
  for (const factorial of [720, 120, 24, 6, 2, 1]) series = add(graph, mul(graph, series, x), constant(1 / factorial));
  const isNear = apply(graph, "Less", [apply(graph, "Abs", [x], "float32"), constant(0.5)], "bool");
  return select(graph, isNear, mul(graph, series, x), sub(graph, apply(graph, "Exp", [x], "float32"), constant(1)));
}
/** log(1 + x); with u = 1 + x rounded, log(u)·x/(u−1) undoes the rounding (Kahan). */
function log1p(graph: Graph, x: Value): Value {
  const one = graph.scalar(1, "float32");
  const u = add(graph, x, one);
  const lost = apply(graph, "Equal", [u, one], "bool");
  const corrected = mul(graph, apply(graph, "Log", [u], "float32"), div(graph, x, sub(graph, u, one)));
  return select(graph, lost, x, corrected);
}

export const elementwiseLowerings: Lowerings = {
  Add: arithmetic(add),
  Sub: arithmetic(sub),
  Multiply: arithmetic(mul),
  RealDiv: arithmetic((graph, a, b) => div(graph, float(graph, a), float(graph, b))),
  FloorDiv: arithmetic(floorDiv),
  Mod: arithmetic(floorMod),
  Maximum: arithmetic((graph, a, b) => apply(graph, "Max", [a, b], a.dtype)),
  Minimum: arithmetic((graph, a, b) => apply(graph, "Min", [a, b], a.dtype)),
  Pow: arithmetic(pow),
  Atan2: arithmetic(atan2),
  SquaredDifference: arithmetic((graph, a, b) => {
    const d = sub(graph, a, b);
    return mul(graph, d, d);
  }),
  AddN: (graph, operands) => Object.values(operands).reduce((total, value) => add(graph, total, value)),
  Prelu: reads("x", "alpha")((graph, { x, alpha }) => apply(graph, "PRelu", [x, alpha], "float32")),

  Equal: compare("Equal"),
  NotEqual: reads("a", "b")((graph, { a, b }) => apply(graph, "Not", [apply(graph, "Equal", [numeric(graph, a), numeric(graph, b)], "bool")], "bool")),
  Less: compare("Less"),
  LessEqual: compare("LessOrEqual"),
  Greater: compare("Greater"),
  GreaterEqual: compare("GreaterOrEqual"),
  LogicalAnd: logical("And"),
  LogicalOr: logical("Or"),
  LogicalXor: logical("Xor"),
  LogicalNot: reads("x")((graph, { x }) => apply(graph, "Not", [x], "bool")),
  Select: reads("condition", "t", "e")((graph, { condition, t, e }) => select(graph, condition, t, e)),

  Abs: sameType((graph, x) => apply(graph, "Abs", [x], x.dtype)),
  Neg: sameType((graph, x) => apply(graph, "Neg", [x], x.dtype)),
  Sign: sameType((graph, x) => apply(graph, "Sign", [x], x.dtype)),
  Square: sameType((graph, x) => mul(graph, x, x)),
  Floor: sameType(floor),
  Ceil: sameType((graph, x) => (x.dtype === "float32" ? apply(graph, "Ceil", [x], "float32") : x)),
  Round: sameType((graph, x) => (x.dtype === "float32" ? apply(graph, "Round", [x], "float32") : x)),
  Relu: sameType((graph, x) => apply(graph, "Max", [x, number(graph, 0, x)], x.dtype)),
  Step: reads("x")((graph, { x }, { alpha = 0 }: Partial<tf.StepAttrs>) => {
    const positive = apply(graph, "Greater", [x, number(graph, 0, x)], "bool");
    return alpha === 0 ? graph.cast(positive, "float32") : select(graph, positive, graph.scalar(1, "float32"), graph.scalar(alpha, "float32"));
  }),
  ClipByValue: reads("x")((graph, { x }, { clipValueMin, clipValueMax }: tf.ClipByValueAttrs) =>
    apply(graph, "Clip", [x, number(graph, clipValueMin, x), number(graph, clipValueMax, x)], x.dtype),
  ),
  Relu6: ofFloat((graph, x) => apply(graph, "Clip", [x, graph.scalar(0, "float32"), graph.scalar(6, "float32")], "float32")),
  LeakyRelu: reads("x")((graph, { x }, { alpha }: tf.LeakyReluAttrs) => apply(graph, "LeakyRelu", [float(graph, x)], "float32", { alpha: { float: alpha } })),
  Exp: unary("Exp"),
  Log: unary("Log"),
  Sqrt: unary("Sqrt"),
  Reciprocal: unary("Reciprocal"),
  Rsqrt: ofFloat((graph, x) => apply(graph, "Reciprocal", [apply(graph, "Sqrt", [x], "float32")], "float32")),
  Expm1: ofFloat(expm1),
  Log1p: ofFloat(log1p),
  Tanh: unary("Tanh"),
  Sigmoid: unary("Sigmoid"),
  Erf: unary("Erf"),
  Softplus: unary("Softplus"),
  Elu: unary("Elu"),
  Selu: unary("Selu"),
  Sin: unary("Sin"),
  Cos: unary("Cos"),
  Tan: unary("Tan"),
  Asin: unary("Asin"),
  Acos: unary("Acos"),
  Atan: unary("Atan"),
  Sinh: unary("Sinh"),
  Cosh: unary("Cosh"),
  Asinh: unary("Asinh"),
  Acosh: unary("Acosh"),
  Atanh: unary("Atanh"),
  IsNan: ofFloat((graph, x) => apply(graph, "IsNaN", [x], "bool")),
  IsInf: ofFloat((graph, x) => apply(graph, "IsInf", [x], "bool")),
  // x − x is 0 for finite x, and NaN otherwise.
  IsFinite: ofFloat((graph, x) => apply(graph, "Equal", [apply(graph, "Sub", [x, x], "float32"), graph.scalar(0, "float32")], "bool")),
  Cast: reads("x")((graph, { x }, { dtype }: tf.CastAttrs) => graph.cast(x, constantDtype(dtype))),
  Identity: reads("x")((_graph, { x }) => x),
};
