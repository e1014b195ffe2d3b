/** Derivatives of elementwise operations. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import { type Gradient, type Gradients, floatZeros, keeps, single, sumToShape } from "./gradient.ts";

/** The rule reads the operand. */
function fromX(rule: (dy: Tensor, x: Tensor, attributes: never) => Tensor): Gradient {
  return keeps(["x"])((dy, { x }, attributes: never) => ({ x: () => rule(dy, x, attributes) }));
}

/** The rule reads the result, so the operand need not be kept. */
function fromY(rule: (dy: Tensor, y: Tensor) => Tensor): Gradient {
  return keeps([], ["y"])((dy, { y }) => ({ x: () => rule(dy, y) }));
}

/** Rules for both operands of a broadcasting operation, before the sum over broadcast axes. */
function binary(da: (dy: Tensor, a: Tensor, b: Tensor) => Tensor, db: (dy: Tensor, a: Tensor, b: Tensor) => Tensor): Gradient {
  return keeps(["a", "b"])((dy, { a, b }) => ({
    a: () => sumToShape(da(dy, a, b), a.shape),
    b: () => sumToShape(db(dy, a, b), b.shape),
  }));
}

/** Piecewise constant: the derivative is 0 wherever it exists. */
const flat: Gradient = fromX((_dy, x) => floatZeros(x));
const flatBinary: Gradient = keeps(["a", "b"])((_dy, { a, b }) => ({ a: () => floatZeros(a), b: () => floatZeros(b) }));

const mask = (condition: Tensor): Tensor => tf.cast(condition, "float32");
const twoOverRootPi = 2 / Math.sqrt(Math.PI);
const seluAlpha = 1.7580993408473768;
const seluScale = 1.0507009873554805;

export const elementwiseGradients: Gradients = {
  Add: binary(
    (dy) => dy,
    (dy) => dy,
  ),
  Sub: binary(
    (dy) => dy,
    (dy) => tf.neg(dy),
  ),
  Multiply: binary(
    (dy, _a, b) => tf.mul(dy, mask(b)),
    (dy, a) => tf.mul(dy, mask(a)),
  ),
  RealDiv: binary(
    (dy, _a, b) => tf.div(dy, mask(b)),
    (dy, a, b) => tf.neg(tf.div(tf.mul(dy, mask(a)), tf.square(mask(b)))),
  ),
  SquaredDifference: binary(
    (dy, a, b) => tf.mul(dy, tf.mul(tf.sub(a, b), 2)),
    (dy, a, b) => tf.mul(dy, tf.mul(tf.sub(b, a), 2)),
  ),
  // At a tie the first operand takes the whole derivative, as in tfjs.
  Maximum: binary(
    (dy, a, b) => tf.mul(dy, mask(tf.greaterEqual(a, b))),
    (dy, a, b) => tf.mul(dy, mask(tf.less(a, b))),
  ),
  Minimum: binary(
    (dy, a, b) => tf.mul(dy, mask(tf.lessEqual(a, b))),
    (dy, a, b) => tf.mul(dy, mask(tf.greater(a, b))),
  ),
  // a mod b = a − b·floor(a/b)
  Mod: binary(
    (dy) => dy,
    (dy, a, b) => tf.neg(tf.mul(dy, tf.floor(tf.div(a, b)))),
  ),
  Atan2: binary(
    (dy, a, b) => tf.mul(dy, tf.div(b, tf.add(tf.square(a), tf.square(b)))),
    (dy, a, b) => tf.neg(tf.mul(dy, tf.div(a, tf.add(tf.square(a), tf.square(b))))),
  ),
  Pow: keeps(
    ["a", "b"],
    ["y"],
  )((dy, { a, b, y }) => ({
    a: () => {
      const exponent = mask(b);
      return sumToShape(tf.mul(dy, tf.mul(exponent, tf.pow(a, tf.sub(exponent, 1)))), a.shape);
    },
    // Defined for a > 0 only; elsewhere tfjs takes 0, and so do we.
    b: () => sumToShape(tf.mul(dy, tf.mul(y, tf.where(tf.greater(a, 0), tf.log(tf.maximum(a, 1e-38)), tf.zerosLike(a)))), b.shape),
  })),
  Prelu: keeps(["x", "alpha"])((dy, { x, alpha }) => ({
    x: () => tf.mul(dy, tf.where(tf.greater(x, 0), tf.onesLike(x), tf.mul(tf.onesLike(x), alpha))),
    alpha: () => sumToShape(tf.mul(dy, tf.minimum(x, 0)), alpha.shape),
  })),
  AddN: {
    saveAllInputs: true,
    gradFunc: (dy, saved) => Object.fromEntries(saved.map((_, i) => [i, () => tf.clone(single(dy))])),
  },
  Select: keeps(["condition"])((dy, { condition }) => ({
    condition: () => floatZeros(condition),
    t: () => tf.where(condition, dy, tf.zerosLike(dy)),
    e: () => tf.where(condition, tf.zerosLike(dy), dy),
  })),

  Abs: fromX((dy, x) => tf.mul(dy, tf.sign(x))),
  Neg: { gradFunc: (dy) => ({ x: () => tf.neg(single(dy)) }) },
  Identity: { gradFunc: (dy) => ({ x: () => tf.clone(single(dy)) }) },
  Cast: { gradFunc: (dy) => ({ x: () => tf.clone(single(dy)) }) },
  Exp: fromY((dy, y) => tf.mul(dy, y)),
  Expm1: fromY((dy, y) => tf.mul(dy, tf.add(y, 1))),
  Log: fromX((dy, x) => tf.div(dy, x)),
  Log1p: fromX((dy, x) => tf.div(dy, tf.add(x, 1))),
  Sqrt: fromY((dy, y) => tf.div(dy, tf.mul(y, 2))),
  Rsqrt: fromY((dy, y) => tf.mul(dy, tf.mul(tf.mul(y, tf.square(y)), -0.5))),
  Square: fromX((dy, x) => tf.mul(dy, tf.mul(mask(x), 2))),
  Reciprocal: fromY((dy, y) => tf.neg(tf.mul(dy, tf.square(y)))),
  Tanh: fromY((dy, y) => tf.mul(dy, tf.sub(1, tf.square(y)))),
  Sigmoid: fromY((dy, y) => tf.mul(dy, tf.mul(y, tf.sub(1, y)))),
  Softplus: fromX((dy, x) => tf.mul(dy, tf.sigmoid(x))),
  Erf: fromX((dy, x) => tf.mul(dy, tf.mul(tf.exp(tf.neg(tf.square(x))), twoOverRootPi))),
  Sin: fromX((dy, x) => tf.mul(dy, tf.cos(x))),
  Cos: fromX((dy, x) => tf.neg(tf.mul(dy, tf.sin(x)))),
  Tan: fromY((dy, y) => tf.mul(dy, tf.add(tf.square(y), 1))),
  Asin: fromX((dy, x) => tf.div(dy, tf.sqrt(tf.sub(1, tf.square(x))))),
  Acos: fromX((dy, x) => tf.neg(tf.div(dy, tf.sqrt(tf.sub(1, tf.square(x)))))),
  Atan: fromX((dy, x) => tf.div(dy, tf.add(tf.square(x), 1))),
  Sinh: fromX((dy, x) => tf.mul(dy, tf.cosh(x))),
  Cosh: fromX((dy, x) => tf.mul(dy, tf.sinh(x))),
  Relu: fromX((dy, x) => tf.mul(dy, tf.step(x))),
  Relu6: fromX((dy, x) => tf.mul(dy, tf.mul(tf.step(x), mask(tf.lessEqual(x, 6))))),
  LeakyRelu: fromX((dy, x, { alpha }: tf.LeakyReluAttrs) => tf.mul(dy, tf.where(tf.greater(x, 0), tf.onesLike(x), tf.fill(x.shape, alpha)))),
  // y = exp(x) − 1 below 0, so dy/dx = y + 1 there and 1 above.
  Elu: fromY((dy, y) => tf.mul(dy, tf.add(tf.minimum(y, 0), 1))),
  Selu: fromY((dy, y) => tf.mul(dy, tf.where(tf.greater(y, 0), tf.fill(y.shape, seluScale), tf.add(y, seluAlpha)))),
  ClipByValue: fromX((dy, x, { clipValueMin, clipValueMax }: tf.ClipByValueAttrs) =>
    tf.mul(dy, mask(tf.logicalAnd(tf.greaterEqual(x, clipValueMin), tf.lessEqual(x, clipValueMax)))),
  ),

  Sign: flat,
  Step: flat,
  Floor: flat,
  Ceil: flat,
  Round: flat,
  ZerosLike: flat,
  OnesLike: flat,
  IsNan: flat,
  IsInf: flat,
  IsFinite: flat,
  LogicalNot: flat,
  FloorDiv: flatBinary,
  Equal: flatBinary,
  NotEqual: flatBinary,
  Less: flatBinary,
  LessEqual: flatBinary,
  Greater: flatBinary,
  GreaterEqual: flatBinary,
  LogicalAnd: flatBinary,
  LogicalOr: flatBinary,
  LogicalXor: flatBinary,
};
