/**
 * The LoRA nearest to an adapter at one site: the truncated singular value decomposition of its ΔW, which no product of that
 * rank beats (Eckart & Young 1936), with what it leaves out. Where ΔW is of low rank it is ΔW itself.
 */
import * as tf from "@tensorflow/tfjs-core";
import { WorkbenchError } from "../errors.ts";
import type { Engine, HalfDtype, Weight } from "../tensors/engine.ts";
import { productRows, factoredSvd, frobeniusNorm, sumOf, type FactoredMatrix } from "../linalg/factored.ts";
import { columnsOf, scaledColumns, scaledRows, transposed, identity } from "../linalg/matrices.ts";
import { float32 } from "../tensors/hostTensor.ts";
import { randomStream } from "../linalg/random.ts";
import { leadingDirections } from "../tensors/topSingular.ts";
import type { AdapterMethod, SiteAdapter } from "./method.ts";
import { weight } from "./lowRankSite.ts";
import { at, named } from "../at.ts";
import { addTimes, rowOf, squares } from "../linalg/vectors.ts";

/** The base weight that a site adapts. */
export interface SiteBase {
  readonly weight: Weight;
  readonly stored: "outIn" | "inOut";
}

export interface NearestRequest {
  readonly method: AdapterMethod;
  readonly site: SiteAdapter;
  /** Null when no base is open; methods that are more than a product need it. */
  readonly base: SiteBase | null;
  /** Null keeps all directions of a thin ΔW, and `denseRank` of others. */
  readonly rank: number | null;
  /** Asked for only when there are dense matrices to multiply. */
  readonly engine: () => Promise<Engine>;
}

export interface NearestLora {
  /** ΔW ≈ left · right with scale 1, each half of it with √σ. */
  readonly factors: FactoredMatrix;
  /** What the site adds to every output, `[dOut]`: a bias on B; null when there is none. */
  readonly bias: Float32Array | null;
  /** ‖ΔW − left · right‖ / ‖ΔW‖ (Frobenius), measured; 0 where ΔW is 0. */
  readonly residual: number;
}

/** Residuals up to here are the rounding of float32 factors: the LoRA is ΔW. */
export const exactResidual = 1e-5;
/** Rank of the LoRA where ΔW is dense and none is asked for. */
export const denseRank = 16;
/** Up to this many columns a decomposition of all directions is a matter of a second. */
const wholeColumns = 256;
/** ΔW of a dense update is measured on all unit vectors at once; a vocabulary of them has no room. */
const mostInputs = 2 ** 15;
/** Singular values below this share of the largest are float32's rounding of the factors. */
const rounding = 1e-6;

/** @throws "adapter.wrongBase" when the method needs its base and there is none; "adapter.unsupported" when ΔW is dense and has too many inputs */
export async function nearestLora({ method, site, base, rank, engine }: NearestRequest): Promise<NearestLora> {
  const least = Math.min(site.dOut, site.dIn);
  if (site.beyondLowRank === null && (site.factors.rank <= wholeColumns || 2 * site.factors.rank <= least))
    return { ...truncated(site.factors, rank), bias: null };
  if (site.beyondLowRank === null)
    return { ...(await leading(await productOf(await engine(), site.factors), site, rank ?? denseRank, await engine())), bias: null };
  if (!base)
    throw new WorkbenchError(
      "adapter.wrongBase",
      `"${site.modulePath}" is ${method.title} with ${site.beyondLowRank}, so its ΔW depends on the base weight; expected a model`,
    );
  if (site.dIn > mostInputs)
    throw new WorkbenchError(
      "adapter.unsupported",
      `"${site.modulePath}" is ${method.title} with ${site.beyondLowRank}, and its dense ΔW has ${site.dIn} inputs; expected at most ${mostInputs}: an ` +
        `adapter of linear maps alone, or a smaller vocabulary`,
    );
  const { delta, bias } = await imageOfIdentity(method, site, base, await engine());
  if (least > wholeColumns) return { ...(await leading(delta, site, rank ?? denseRank, await engine())), bias };
  const dense: FactoredMatrix =
    site.dIn <= site.dOut
      ? { left: delta, right: Float32Array.from(identity(site.dIn)), ...shapeOf(site), rank: site.dIn, scale: 1 }
      : { left: Float32Array.from(identity(site.dOut)), right: delta, ...shapeOf(site), rank: site.dOut, scale: 1 };
  return { ...truncated(dense, rank, denseRank), bias };
}

const shapeOf = ({ dOut, dIn }: SiteAdapter): Pick<FactoredMatrix, "dOut" | "dIn"> => ({ dOut, dIn });

/**
 * All directions up to `rank`; without one all that are not rounding, or `most` when there are more.
 * The residual is measured from the factors as they will be saved.
 */
function truncated(delta: FactoredMatrix, rank: number | null, most = Infinity): Omit<NearestLora, "bias"> {
  const { u, s, vt } = factoredSvd(delta);
  const found = Math.max(1, s.filter((value) => value > rounding * at(s, 0)).length);
  const kept = Math.min(found, rank ?? most);
  const { dOut, dIn } = delta;
  const roots = s.slice(0, kept).map(Math.sqrt);
  const left = scaledColumns(columnsOf(u, s.length, [...roots.keys()]), roots);
  const right = scaledRows(vt.subarray(0, kept * dIn), roots);
  const factors: FactoredMatrix = { left, right, dOut, dIn, rank: kept, scale: 1 };
  const size = frobeniusNorm(delta);
  return { factors, residual: size > 0 ? frobeniusNorm(sumOf([delta, { ...factors, scale: -1 }])) / size : 0 };
}

/** The leading directions of a dense ΔW `[dOut, dIn]`, by products with it. */
async function leading(delta: Float32Array, site: SiteAdapter, rank: number, engine: Engine): Promise<Omit<NearestLora, "bias">> {
  const { dOut, dIn } = site;
  const kept = Math.min(rank, dOut, dIn);
  const random = randomStream(0, "nearest", site.site);
  const {
    values,
    left: u,
    right: v,
  } = await leadingDirections(engine, weight(`nearest:${site.loraA.key}`, [dOut, dIn], delta), "outIn", kept, () => random.uniform());
  const roots = values.map(Math.sqrt);
  const factors: FactoredMatrix = { left: transposed(scaledRows(u, roots), kept, dOut), right: scaledRows(v, roots), dOut, dIn, rank: kept, scale: 1 };
  const all = squares(delta);
  let missed = 0;
  for (const [o, row] of productRows(factors)) {
    addTimes(row, -1, rowOf(delta, o, dIn));
    missed += squares(row);
  }
  return { factors, residual: all > 0 ? Math.sqrt(missed / all) : 0 };
}

/** scale · left · right, `[dOut, dIn]`. */
async function productOf(engine: Engine, { left, right, dOut, dIn, rank, scale }: FactoredMatrix): Promise<Float32Array> {
  const product = ({ b, a, s }: Record<"b" | "a" | "s", tf.Tensor>) => tf.mul(tf.matMul(b, a), s);
  const program = await engine.compile("product of factors", (inputs) => ({ delta: product(named("a product", inputs, ["b", "a", "s"])) }), {
    inputs: { b: { shape: [dOut, rank], dtype: "float32" }, a: { shape: [rank, dIn], dtype: "float32" }, s: { shape: [], dtype: "float32" } },
    weights: {},
  });
  const out = await program.run({ b: float32(left, [dOut, rank]), a: float32(right, [rank, dIn]), s: float32(Float32Array.of(scale), []) });
  return Float32Array.from(named("a product", out, ["delta"]).delta.data);
}

/** ΔW and bias of any method that is linear in x: what it adds for each unit vector, and for 0. */
async function imageOfIdentity(
  method: AdapterMethod,
  site: SiteAdapter,
  base: SiteBase,
  engine: Engine,
): Promise<{ delta: Float32Array; bias: Float32Array | null }> {
  const { dIn, dOut, rank } = site;
  const rows = dIn + 1;
  const weights: Record<string, Weight> = { ...site.weights(), W: base.weight };
  const halves: Record<string, HalfDtype> = Object.fromEntries(Object.entries(weights).flatMap(([name, { half }]) => (half ? [[name, half.dtype]] : [])));
  const program = await engine.compile(
    `image of identity ${method.title} ${base.stored}`,
    (inputs, given) => {
      const { x, strength } = named("image of identity", inputs, ["x", "strength"]);
      const { W, ...own } = named("image of identity", given, ["W", "read"]);
      const flat = tf.reshape(x, [rows, dIn]);
      const ofBase = tf.reshape(tf.matMul(flat, W, false, base.stored === "outIn"), [1, rows, dOut]);
      const gated = tf.reshape(tf.matMul(flat, own.read, false, true), [1, rows, rank]);
      return { y: method.delta({ x, base: ofBase, gated, strength, weights: own }) };
    },
    {
      inputs: { x: { shape: [1, rows, dIn], dtype: "float32" }, strength: { shape: [1, 1, 1], dtype: "float32" } },
      weights: Object.fromEntries(Object.entries(weights).map(([name, { shape }]) => [name, shape])),
      halves,
    },
  );
  const x = new Float32Array(rows * dIn);
  x.set(identity(dIn));
  const out = await program.run({ x: float32(x, [1, rows, dIn]), strength: float32(Float32Array.of(1), [1, 1, 1]) }, weights);
  const image = Float32Array.from(named("image of identity", out, ["y"]).y.data);
  const bias = image.subarray(dIn * dOut);
  const delta = transposed(image.subarray(0, dIn * dOut), dIn, dOut).map((value, i) => value - at(bias, Math.floor(i / dIn)));
  return { delta, bias: bias.some((value) => value !== 0) ? bias : null };
}
