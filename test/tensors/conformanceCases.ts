/** Every operation a program may use, with its definition in float64. One line a case; both engines and their gradients run all. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import { alongAxis, type Array64, at, build, erf, map, matMul, reduce, reshape, softmax, zip } from "./reference64.ts";

/** Where inputs lie: "apart" values keep 0.05 from each other and from 0, so that no derivative sits on a kink. */
export type Domain = "any" | "positive" | "unit" | "apart";
export interface Case {
  readonly fn: (inputs: Tensor[]) => Tensor;
  readonly reference: (inputs: Array64[]) => Array64;
  readonly shapes: readonly (readonly number[])[];
  readonly domain: Domain;
  /** False where the operation has no derivative, or returns integers. */
  readonly gradient: boolean;
}

const scalars = (shapes: readonly (readonly number[])[], domain: Domain, fn: Case["fn"], reference: Case["reference"], gradient = true): Case =>
  ({ fn, reference, shapes, domain, gradient });
const unary = (fn: (x: Tensor) => Tensor, f: (x: number) => number, domain: Domain = "any", gradient = true): Case =>
  scalars([[2, 5]], domain, ([x]) => fn(x!), ([x]) => map(x!, f), gradient);
const binary = (fn: (a: Tensor, b: Tensor) => Tensor, f: (a: number, b: number) => number, domain: Domain = "any", gradient = true): Case =>
  scalars([[2, 3, 4], [3, 1]], domain, ([a, b]) => fn(a!, b!), ([a, b]) => zip(a!, b!, f), gradient);
const reduction = (fn: (x: Tensor) => Tensor, axes: number[], f: (values: number[]) => number, domain: Domain = "any", gradient = true): Case =>
  scalars([[2, 3, 4]], domain, ([x]) => fn(x!), ([x]) => reduce(x!, axes, f), gradient);
const product = (a: readonly number[], b: readonly number[], transposeA = false, transposeB = false): Case =>
  scalars([a, b], "any", ([x, y]) => tf.matMul(x!, y!, transposeA, transposeB), ([x, y]) => matMul(x!, y!, transposeA, transposeB));
/** Result entry = operand's entry at `from(index)`. */
const moved = (shape: readonly number[], fn: (x: Tensor) => Tensor, to: readonly number[], from: (index: number[]) => number[]): Case =>
  scalars([shape], "any", ([x]) => fn(x!), ([x]) => build(to, (index) => at(x!, from(index))));

const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);
const times = (values: number[]): number => values.reduce((total, value) => total * value, 1);
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const truth = (condition: boolean): number => Number(condition);
const floorMod = (a: number, b: number): number => a - b * Math.floor(a / b);
const descending = (line: number[]): number[] => [...line].sort((a, b) => b - a);
const running = (line: number[]): number[] => line.map((_, i) => sum(line.slice(0, i + 1)));

export const cases: Readonly<Record<string, Case>> = {
  add: binary(tf.add, (a, b) => a + b),
  sub: binary(tf.sub, (a, b) => a - b),
  mul: binary(tf.mul, (a, b) => a * b),
  div: binary(tf.div, (a, b) => a / b, "positive"),
  pow: binary(tf.pow, (a, b) => a ** b, "positive"),
  maximum: binary(tf.maximum, Math.max, "apart"),
  minimum: binary(tf.minimum, Math.min, "apart"),
  squaredDifference: binary(tf.squaredDifference, (a, b) => (a - b) ** 2),
  mod: binary(tf.mod, floorMod, "positive"),
  "mod of signed numbers takes the divisor's sign": unary((x) => tf.mod(x, 0.7), (x) => floorMod(x, 0.7), "apart"),
  atan2: binary(tf.atan2, Math.atan2, "apart"),
  floorDiv: binary(tf.floorDiv, (a, b) => Math.floor(a / b), "apart", false),
  equal: binary((a, b) => tf.equal(tf.round(a), tf.round(b)), (a, b) => truth(Math.round(a) === Math.round(b)), "apart", false),
  notEqual: binary((a, b) => tf.notEqual(tf.round(a), tf.round(b)), (a, b) => truth(Math.round(a) !== Math.round(b)), "apart", false),
  less: binary(tf.less, (a, b) => truth(a < b), "apart", false),
  lessEqual: binary(tf.lessEqual, (a, b) => truth(a <= b), "apart", false),
  greater: binary(tf.greater, (a, b) => truth(a > b), "apart", false),
  greaterEqual: binary(tf.greaterEqual, (a, b) => truth(a >= b), "apart", false),
  logicalAnd: binary((a, b) => tf.logicalAnd(tf.greater(a, 0), tf.greater(b, 0)), (a, b) => truth(a > 0 && b > 0), "apart", false),
  logicalOr: binary((a, b) => tf.logicalOr(tf.greater(a, 0), tf.greater(b, 0)), (a, b) => truth(a > 0 || b > 0), "apart", false),
  logicalXor: binary((a, b) => tf.logicalXor(tf.greater(a, 0), tf.greater(b, 0)), (a, b) => truth(a > 0 !== b > 0), "apart", false),
  logicalNot: unary((x) => tf.logicalNot(tf.greater(x, 0)), (x) => truth(x <= 0), "apart", false),
  where: binary((a, b) => tf.where(tf.greater(a, 0), tf.mul(a, b), b), (a, b) => a > 0 ? a * b : b, "apart"),
  "where of booleans": unary((x) => tf.where(tf.greater(x, 0), tf.less(x, 1), tf.greater(x, -1)), (x) => truth(x > 0 ? x < 1 : x > -1), "apart", false),
  addN: binary((a, b) => tf.addN([a, tf.mul(a, b), a]), (a, b) => 2 * a + a * b),

  neg: unary(tf.neg, (x) => -x),
  abs: unary(tf.abs, Math.abs, "apart"),
  exp: unary(tf.exp, Math.exp),
  expm1: unary(tf.expm1, Math.expm1),
  "expm1 near 0 does not cancel": unary((x) => tf.mul(tf.expm1(tf.mul(x, 1e-4)), 1e4), (x) => Math.expm1(x * 1e-4) * 1e4),
  log: unary(tf.log, Math.log, "positive"),
  log1p: unary(tf.log1p, Math.log1p, "positive"),
  "log1p near 0 does not cancel": unary((x) => tf.mul(tf.log1p(tf.mul(x, 1e-4)), 1e4), (x) => Math.log1p(x * 1e-4) * 1e4),
  sqrt: unary(tf.sqrt, Math.sqrt, "positive"),
  rsqrt: unary(tf.rsqrt, (x) => 1 / Math.sqrt(x), "positive"),
  square: unary(tf.square, (x) => x * x),
  reciprocal: unary(tf.reciprocal, (x) => 1 / x, "positive"),
  "pow 3": unary((x) => tf.pow(x, 3), (x) => x ** 3, "apart"),
  "pow 0.5": unary((x) => tf.pow(x, 0.5), Math.sqrt, "positive"),
  tanh: unary(tf.tanh, Math.tanh),
  erf: unary(tf.erf, erf),
  sigmoid: unary(tf.sigmoid, sigmoid),
  softplus: unary(tf.softplus, (x) => Math.log1p(Math.exp(x))),
  relu: unary(tf.relu, (x) => Math.max(x, 0), "apart"),
  relu6: unary((x) => tf.relu6(tf.mul(x, 6)), (x) => Math.min(Math.max(6 * x, 0), 6), "apart"),
  leakyRelu: unary((x) => tf.leakyRelu(x, 0.3), (x) => x > 0 ? x : 0.3 * x, "apart"),
  prelu: binary((a, b) => tf.prelu(a, tf.reshape(b, [1, 3, 1])), (a, b) => a > 0 ? a : a * b, "apart"),
  elu: unary(tf.elu, (x) => x > 0 ? x : Math.expm1(x), "apart"),
  selu: unary(tf.selu, (x) => 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * Math.expm1(x)), "apart"),
  sin: unary(tf.sin, Math.sin),
  cos: unary(tf.cos, Math.cos),
  tan: unary(tf.tan, Math.tan, "unit"),
  asin: unary(tf.asin, Math.asin, "unit"),
  acos: unary(tf.acos, Math.acos, "unit"),
  atan: unary(tf.atan, Math.atan),
  sinh: unary(tf.sinh, Math.sinh),
  cosh: unary(tf.cosh, Math.cosh),
  sign: unary(tf.sign, Math.sign, "apart"),
  step: unary((x) => tf.step(x, 0.25), (x) => x > 0 ? 1 : 0.25, "apart"),
  floor: unary(tf.floor, Math.floor, "apart"),
  ceil: unary(tf.ceil, Math.ceil, "apart"),
  round: unary(tf.round, Math.round, "apart"),
  clipByValue: unary((x) => tf.clipByValue(x, -0.52, 0.71), (x) => Math.min(Math.max(x, -0.52), 0.71), "apart"),
  isNaN: unary((x) => tf.isNaN(tf.log(x)), (x) => truth(x < 0), "apart", false),
  isInf: unary((x) => tf.isInf(tf.exp(tf.mul(x, 1e4))), (x) => truth(x > 0), "apart", false),
  isFinite: unary((x) => tf.isFinite(tf.exp(tf.mul(x, 1e4))), (x) => truth(x <= 0), "apart", false),
  "cast to int32 truncates": unary((x) => tf.cast(tf.mul(x, 3), "int32"), (x) => Math.trunc(3 * x) + 0, "apart", false),
  "cast of a bool": unary((x) => tf.cast(tf.greater(x, 0), "float32"), (x) => truth(x > 0), "apart", false),
  "gelu, tanh form": unary(
    (x) => tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(tf.mul(tf.add(x, tf.mul(tf.pow(x, 3), 0.044715)), Math.sqrt(2 / Math.PI))), 1)),
    (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))),
  silu: unary((x) => tf.mul(x, tf.sigmoid(x)), (x) => x * sigmoid(x)),
  "int32 arithmetic": unary(
    (x) => { const i = tf.cast(tf.mul(x, 5), "int32"); return tf.add(tf.mul(i, tf.scalar(3, "int32")), tf.mod(i, tf.scalar(4, "int32"))); },
    (x) => Math.trunc(5 * x) * 3 + floorMod(Math.trunc(5 * x), 4), "apart", false),
  "int32 division rounds down": unary((x) => tf.div(tf.cast(tf.mul(x, 5), "int32"), tf.scalar(4, "int32")), (x) => Math.floor(Math.trunc(5 * x) / 4), "apart", false),

  "matMul": product([3, 4], [4, 5]),
  "matMul, A transposed": product([4, 3], [4, 5], true),
  "matMul, B transposed": product([3, 4], [5, 4], false, true),
  "matMul, both transposed": product([4, 3], [5, 4], true, true),
  "matMul, batches": product([2, 3, 3, 4], [2, 3, 4, 5]),
  "matMul, batches, A transposed": product([2, 4, 3], [2, 4, 5], true),
  "matMul, batches, B transposed": product([2, 3, 3, 4], [2, 3, 5, 4], false, true),
  "matMul, batches, both transposed": product([2, 4, 3], [2, 5, 4], true, true),
  "matMul, one weight for a batch": product([2, 3, 4], [4, 5]),
  "matMul, one transposed weight for a batch": product([2, 3, 4], [5, 4], false, true),
  "matMul, one weight for a transposed batch": product([2, 4, 3], [4, 5], true),
  "matMul, one left operand": product([3, 4], [2, 4, 5]),
  "matMul, crossed batch broadcast": product([2, 1, 3, 4], [1, 3, 4, 5]),
  "matMul, crossed batch broadcast, B transposed": product([2, 1, 3, 4], [1, 3, 5, 4], false, true),
  "fused matMul": scalars([[3, 4], [4, 5], [5]], "apart", ([a, b, c]) => tf.fused.matMul({ a: a!, b: b!, bias: c!, activation: "relu" }),
    ([a, b, c]) => map(zip(matMul(a!, b!), c!, (x, y) => x + y), (x) => Math.max(x, 0))),
  "einsum": scalars([[2, 3, 4], [4, 5]], "any", ([a, b]) => tf.einsum("bij,jk->bik", a!, b!), ([a, b]) => matMul(a!, b!)),
  "einsum, a sum and a product": scalars([[2, 3], [2, 3]], "any", ([a, b]) => tf.einsum("ij,ij->i", a!, b!), ([a, b]) => reduce(zip(a!, b!, (x, y) => x * y), [1], sum)),

  "sum": reduction((x) => tf.sum(x, [0, 2]), [0, 2], sum),
  "sum of everything": reduction((x) => tf.sum(x), [0, 1, 2], sum),
  "mean": reduction((x) => tf.mean(x, -1), [2], (values) => sum(values) / values.length),
  "mean of everything": reduction((x) => tf.mean(x), [0, 1, 2], (values) => sum(values) / values.length),
  "mean, axis kept": scalars([[2, 3]], "any", ([x]) => tf.mean(x!, 1, true), ([x]) => reshape(reduce(x!, [1], (values) => sum(values) / values.length), [2, 1])),
  "max": reduction((x) => tf.max(x, 1), [1], (values) => Math.max(...values), "apart"),
  "min": reduction((x) => tf.min(x, [0, 1]), [0, 1], (values) => Math.min(...values), "apart"),
  "prod": reduction((x) => tf.prod(x, 1), [1], times, "positive"),
  "prod along two axes": reduction((x) => tf.prod(x, [0, 2]), [0, 2], times, "positive"),
  "all": reduction((x) => tf.all(tf.greater(x, -1.2), 1), [1], (values) => truth(values.every((x) => x > -1.2)), "apart", false),
  "any": reduction((x) => tf.any(tf.greater(x, 1.2), 1), [1], (values) => truth(values.some((x) => x > 1.2)), "apart", false),
  "argMax": reduction((x) => tf.argMax(x, 2), [2], (values) => values.indexOf(Math.max(...values)), "apart", false),
  "argMin": reduction((x) => tf.argMin(x, 1), [1], (values) => values.indexOf(Math.min(...values)), "apart", false),
  "logSumExp": reduction((x) => tf.logSumExp(x, 2), [2], (values) => Math.log(sum(values.map(Math.exp)))),
  "softmax": scalars([[2, 3, 4]], "any", ([x]) => tf.softmax(x!), ([x]) => alongAxis(x!, 2, softmax)),
  "softmax of large numbers": scalars([[2, 4]], "any", ([x]) => tf.softmax(tf.add(x!, 1000)), ([x]) => alongAxis(x!, 1, softmax)),
  "logSoftmax": scalars([[2, 3, 4]], "any", ([x]) => tf.logSoftmax(x!), ([x]) => alongAxis(x!, 2, (line) => softmax(line).map(Math.log))),
  "cumsum": scalars([[2, 3, 4]], "any", ([x]) => tf.cumsum(x!, 2), ([x]) => alongAxis(x!, 2, running)),
  "cumsum along an inner axis, exclusive": scalars([[2, 3, 4]], "any", ([x]) => tf.cumsum(x!, 1, true), ([x]) => alongAxis(x!, 1, (line) => running(line).map((value, i) => value - line[i]!))),
  "cumsum backwards": scalars([[2, 3]], "any", ([x]) => tf.cumsum(x!, 0, false, true), ([x]) => alongAxis(x!, 0, (line) => running(line.toReversed()).toReversed())),
  "cumprod": scalars([[2, 5]], "positive", ([x]) => tf.cumprod(x!, 1), ([x]) => alongAxis(x!, 1, (line) => line.map((_, i) => times(line.slice(0, i + 1)))), false),
  "topk values": scalars([[2, 6]], "apart", ([x]) => tf.topk(x!, 3).values, ([x]) => build([2, 3], ([i, j]) => descending([...x!.data.slice(6 * i!, 6 * i! + 6)])[j!]!)),
  "topk indices": scalars([[2, 6]], "apart", ([x]) => tf.topk(x!, 3).indices, ([x]) => build([2, 3], ([i, j]) => {
    const line = [...x!.data.slice(6 * i!, 6 * i! + 6)];
    return line.indexOf(descending(line)[j!]!);
  }), false),

  "transpose": moved([2, 3, 4], (x) => tf.transpose(x, [2, 0, 1]), [4, 2, 3], ([i, j, k]) => [j!, k!, i!]),
  "transpose that only moves an axis of size 1": moved([2, 1, 3], (x) => tf.transpose(x, [1, 0, 2]), [1, 2, 3], ([i, j, k]) => [j!, i!, k!]),
  "reshape": scalars([[2, 3, 4]], "any", ([x]) => tf.square(tf.reshape(x!, [4, -1])), ([x]) => map(reshape(x!, [4, 6]), (value) => value ** 2)),
  "expandDims": scalars([[2, 3]], "any", ([x]) => tf.expandDims(x!, -2), ([x]) => reshape(x!, [2, 1, 3])),
  "squeeze": scalars([[2, 1, 3]], "any", ([x]) => tf.squeeze(x!, [1]), ([x]) => reshape(x!, [2, 3])),
  "slice": moved([3, 4, 2], (x) => tf.slice(x, [1, 1, 0], [2, 2, -1]), [2, 2, 2], ([i, j, k]) => [i! + 1, j! + 1, k!]),
  "reverse": moved([3, 4], (x) => tf.reverse(x, [0, 1]), [3, 4], ([i, j]) => [2 - i!, 3 - j!]),
  "tile": moved([2, 3], (x) => tf.tile(x, [2, 3]), [4, 9], ([i, j]) => [i! % 2, j! % 3]),
  "tile at rank 5": moved([1, 2, 1, 2, 1], (x) => tf.tile(x, [2, 1, 1, 2, 1]), [2, 2, 1, 4, 1], ([, j, , l]) => [0, j!, 0, l! % 2, 0]),
  "broadcastTo": moved([3, 1], (x) => tf.broadcastTo(x, [2, 3, 4]), [2, 3, 4], ([, j]) => [j!, 0]),
  "pad": scalars([[2, 3]], "any", ([x]) => tf.pad(x!, [[1, 0], [2, 1]], 0.5), ([x]) => build([3, 6], ([i, j]) => i! >= 1 && j! >= 2 && j! < 5 ? at(x!, [i! - 1, j! - 2]) : 0.5)),
  "concat": scalars([[2, 3], [2, 2]], "any", ([a, b]) => tf.concat([a!, tf.square(b!), a!], 1), ([a, b]) => build([2, 8], ([i, j]) => j! < 3 ? at(a!, [i!, j!]) : j! < 5 ? at(b!, [i!, j! - 3]) ** 2 : at(a!, [i!, j! - 5]))),
  "stack": scalars([[2, 3], [2, 3]], "any", ([a, b]) => tf.stack([a!, b!], 1), ([a, b]) => build([2, 2, 3], ([i, which, k]) => at(which === 0 ? a! : b!, [i!, k!]))),
  "unstack": scalars([[3, 2]], "any", ([x]) => { const [a, b] = tf.unstack(x!, 1); return tf.mul(a!, b!); }, ([x]) => build([3], ([i]) => at(x!, [i!, 0]) * at(x!, [i!, 1]))),
  "split": scalars([[2, 6]], "any", ([x]) => { const [a, , c] = tf.split(x!, 3, 1); return tf.mul(a!, c!); }, ([x]) => build([2, 2], ([i, j]) => at(x!, [i!, j!]) * at(x!, [i!, j! + 4]))),
  "split into unequal parts": scalars([[2, 6]], "any", ([x]) => tf.split(x!, [1, 3, 2], 1)[1]!, ([x]) => build([2, 3], ([i, j]) => at(x!, [i!, j! + 1]))),
  "stridedSlice": { ...moved([4, 5], (x) => tf.stridedSlice(x, [3, 0], [0, 5], [-2, 2]), [2, 3], ([i, j]) => [3 - 2 * i!, 2 * j!]), gradient: false },
  "gather": moved([4, 3], (x) => tf.gather(x, tf.tensor1d([2, 0, 2], "int32")), [3, 3], ([i, j]) => [[2, 0, 2][i!]!, j!]),
  "gather along an inner axis with a table of indices": moved([2, 4, 3], (x) => tf.gather(x, tf.tensor2d([[1, 3], [3, 0]], [2, 2], "int32"), 1), [2, 2, 2, 3], ([b, i, j, k]) => [b!, [[1, 3], [3, 0]][i!]![j!]!, k!]),
  "gather per row": moved([2, 4], (x) => tf.gather(x, tf.tensor2d([[1], [3]], [2, 1], "int32"), 1, 1), [2, 1], ([b]) => [b!, [1, 3][b!]!]),
  "gatherND": { ...moved([3, 4], (x) => tf.gatherND(x, tf.tensor2d([[0, 1], [2, 3]], [2, 2], "int32")), [2], ([i]) => [[0, 1], [2, 3]][i!]!), gradient: false },
  "unsortedSegmentSum": scalars([[4, 2]], "any", ([x]) => tf.unsortedSegmentSum(x!, tf.tensor1d([1, 0, 1, 2], "int32"), 3), ([x]) => build([3, 2], ([segment, j]) => sum([1, 0, 1, 2].map((id, i) => id === segment ? at(x!, [i, j!]) : 0)))),
  "scatterND": scalars([[2, 3]], "any", ([x]) => tf.scatterND(tf.tensor2d([[3], [1]], [2, 1], "int32"), x!, [4, 3]), ([x]) => build([4, 3], ([i, j]) => i === 3 ? at(x!, [0, j!]) : i === 1 ? at(x!, [1, j!]) : 0), false),
  "oneHot": scalars([[3]], "positive", ([x]) => tf.oneHot(tf.cast(x!, "int32"), 4, 2, -1, "float32"), ([x]) => build([3, 4], ([i, j]) => Math.trunc(at(x!, [i!])) === j ? 2 : -1), false),
  "fill, zerosLike, onesLike": unary((x) => tf.add(tf.mul(tf.onesLike(x), x), tf.add(tf.fill([2, 5], 0.25), tf.zerosLike(x))), (x) => x + 0.25),
  "range and linspace": scalars([[4]], "any", ([x]) => tf.add(tf.mul(x!, tf.range(1, 9, 2)), tf.linspace(0, 1, 4)), ([x]) => build([4], ([i]) => at(x!, [i!]) * (1 + 2 * i!) + i! / 3)),
  "bandPart": scalars([[3, 4]], "any", ([x]) => tf.linalg.bandPart(x!, -1, 0), ([x]) => build([3, 4], ([i, j]) => j! <= i! ? at(x!, [i!, j!]) : 0)),
  "layer norm": scalars([[2, 3, 6], [6], [6]], "any", ([x, g, b]) => {
    const centred = tf.sub(x!, tf.mean(x!, -1, true));
    return tf.add(tf.mul(tf.mul(centred, tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), 1e-5))), g!), b!);
  }, ([x, g, b]) => zip(zip(alongAxis(x!, 2, (line) => {
    const mean = sum(line) / 6;
    const deviation = Math.sqrt(sum(line.map((value) => (value - mean) ** 2)) / 6 + 1e-5);
    return line.map((value) => (value - mean) / deviation);
  }), g!, (a, c) => a * c), b!, (a, c) => a + c)),
};
