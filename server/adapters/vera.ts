/** VeRA: one frozen random pair A, B for all sites; each trains a vector on the rank and one on its outputs. */
import * as tf from "@tensorflow/tfjs-core";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import type { AdapterConfig } from "../formats/adapterConfig.ts";
import { floatValues } from "../formats/tensorValues.ts";
import type { Weight } from "../tensors/engine.ts";
import type { FactoredMatrix } from "../linalg/factored.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import { mersenneTwister, torchUniforms } from "../linalg/torchRandom.ts";
import { rankOption } from "./trainedFactors.ts";
import { expectShape, lowRankDelta, lowRankSite, tensorsOf } from "./lowRankSite.ts";
import { defineMethod, defineTraining, savedKey, type None, type ParsedSite, type TrainingSite } from "./method.ts";
import { columnsOf, scaledRows } from "../linalg/matrices.ts";

const about = {
  title: "VeRA",
  source: "Kopiczko, Blankevoort & Asano 2023, arXiv 2310.11454",
  exactness: "as in PEFT, with its random projections",
};

interface VeraTensors {
  readonly trained: { lambdaB: FloatTensor; lambdaD: FloatTensor };
  readonly frozen: { veraA: Weight; veraB: Weight };
  readonly memory: None;
}

interface Pair {
  /** `[rank, dIn]` */
  readonly a: Float32Array;
  /** `[dOut, rank]` */
  readonly b: Float32Array;
}

/**
 * The shared pair, in ±√(6 / fan-in) (Kaiming uniform with gain √2), from PyTorch's generator.
 * @param dIn, dOut the largest of all sites; the others take the first columns of A and the first rows of B
 * @see peft tuners/vera/model.py, _init_vera_A_vera_B
 */
export function veraProjections(projectionKey: number, rank: number, dIn: number, dOut: number): Pair {
  const next = mersenneTwister(projectionKey);
  const bound = (fanIn: number) => Math.sqrt(3) * (Math.SQRT2 / Math.sqrt(fanIn));
  return { a: torchUniforms(rank * dIn, bound(dIn), next), b: torchUniforms(dOut * rank, bound(rank), next) };
}

/** diag(b) B[: dOut] · diag(d) A[:, : dIn] */
function factorsOf(pair: Pair, widest: number, b: Float32Array, d: Float32Array, dIn: number): FactoredMatrix {
  const [dOut, rank] = [b.length, d.length];
  return {
    left: scaledRows(pair.b.subarray(0, dOut * rank), b),
    right: scaledRows(columnsOf(pair.a, widest, [...Array(dIn).keys()]), d),
    dOut,
    dIn,
    rank,
    scale: 1,
  };
}

const fields = z.object({
  r: z.int().positive().default(256),
  projection_prng_key: z.int().min(0).default(0),
  save_projection: z.boolean().default(true),
  bias: z.string().default("none"),
});

/** Made from keys and still in use: one pair for all sites of an adapter or a run. */
const made = new WeakMap<object, Pair>();

function madeOnce(owner: object, make: () => Pair): Pair {
  const pair = made.get(owner) ?? make();
  made.set(owner, pair);
  return pair;
}

/** A and B from the file, or from the key when the file leaves them out. */
function projections(
  config: AdapterConfig,
  { shared, modulePath, largest }: ParsedSite,
  { r, projection_prng_key: key, save_projection: isSaved }: z.infer<typeof fields>,
): { pair: Pair; widest: number; tallest: number } {
  const [a, b] = [shared["vera_A"]?.entry, shared["vera_B"]?.entry];
  if (a && b) {
    const [widest, tallest] = [a.shape[1] ?? 0, b.shape[0] ?? 0];
    expectShape("vera_A", a.shape, [r, widest], "rank × largest dIn");
    expectShape("vera_B", b.shape, [tallest, r], "largest dOut × rank");
    return { pair: { a: floatValues(a), b: floatValues(b) }, widest, tallest };
  }
  if (isSaved)
    throw new WorkbenchError(
      "adapter.malformed",
      `${config.dir}: save_projection is true, but there is no ${a ? "vera_B" : "vera_A"}; expected vera_A and vera_B in the file`,
    );
  if (!largest)
    throw new WorkbenchError(
      "adapter.matchedNothing",
      `${config.dir}: target_modules names no module of the base, so the sizes of VeRA's projections for "${modulePath}" are not known`,
    );
  return { pair: madeOnce(config, () => veraProjections(key, r, largest.dIn, largest.dOut)), widest: largest.dIn, tallest: largest.dOut };
}

const options = z.strictObject({
  rank: rankOption.default(256).describe("Rank of the shared random projections; only vectors are trained, so it is larger than LoRA's"),
  dInitial: z.number().default(0.1).describe("Where the vector on the rank starts; the one on the outputs starts at zero"),
  projectionKey: z.int().min(0).default(0).describe("Seed of the shared random projections, as PEFT's projection_prng_key"),
  saveProjection: z.boolean().default(true).describe("Store the projections in the file; otherwise a reader makes them anew from the key"),
});
type VeraOptions = z.infer<typeof options>;

function frozenPair({ projectionKey, rank }: VeraOptions, allSites: readonly TrainingSite[]): VeraTensors["frozen"] {
  const [dIn, dOut] = [Math.max(...allSites.map((site) => site.dIn)), Math.max(...allSites.map((site) => site.dOut))];
  const pair = () => madeOnce(allSites, () => veraProjections(projectionKey, rank, dIn, dOut));
  const key = `vera:${projectionKey}:${rank}:${dIn}:${dOut}`;
  return { veraA: { key: `${key}:A`, shape: [rank, dIn], data: () => pair().a }, veraB: { key: `${key}:B`, shape: [dOut, rank], data: () => pair().b } };
}

const veraTraining = defineTraining<VeraOptions, VeraTensors>({
  ...about,
  summary: "One vector per rank and one per output at each site, on random projections that all sites share: the fewest parameters of all.",
  isReconstructed: false,
  options,
  parameterCount: ({ dOut }, { rank }) => dOut + rank,
  start({ dOut }, { options: chosen, allSites }) {
    return {
      trained: { lambdaB: float32(new Float32Array(dOut), [dOut]), lambdaD: float32(new Float32Array(chosen.rank).fill(chosen.dInitial), [chosen.rank]) },
      frozen: frozenPair(chosen, allSites),
      memory: {},
    };
  },
  rules: () => ({ lambdaB: { decays: true }, lambdaD: { decays: true } }),
  /** b ⊙ B (d ⊙ A x) */
  delta({ site: { dIn, dOut }, x, trained, frozen, options: { rank } }) {
    const a = tf.slice(frozen.veraA, [0, 0], [rank, dIn]);
    const b = tf.slice(frozen.veraB, [0, 0], [dOut, rank]);
    const inner = tf.mul(tf.matMul(x, a, false, true), trained.lambdaD);
    return tf.mul(tf.matMul(inner, b, false, true), trained.lambdaB);
  },
  deltaWeight({ site: { dIn }, trained, frozen: { veraA, veraB } }) {
    return factorsOf({ a: veraA.data(), b: veraB.data() }, veraA.shape[1] ?? 0, trained.lambdaB.data, trained.lambdaD.data, dIn);
  },
  save(sites, { rank, dInitial, projectionKey, saveProjection }) {
    const vectors = sites.flatMap(
      ({ site, trained }) =>
        [
          [savedKey(site, "vera_lambda_b"), trained.lambdaB],
          [savedKey(site, "vera_lambda_d"), trained.lambdaD],
        ] as const,
    );
    const shared = sites.slice(0, saveProjection ? 1 : 0).flatMap(({ frozen: { veraA, veraB } }): [string, FloatTensor][] => [
      ["base_model.vera_A", float32(veraA.data(), veraA.shape)],
      ["base_model.vera_B", float32(veraB.data(), veraB.shape)],
    ]);
    return {
      config: { peft_type: "VERA", r: rank, projection_prng_key: projectionKey, save_projection: saveProjection, d_initial: dInitial },
      tensors: new Map([...vectors, ...shared]),
    };
  },
});

export const vera = defineMethod({
  ...about,
  peftType: "VERA",
  fields,
  idleFields: ["vera_dropout", "d_initial", "init_weights"],
  tensors: ["vera_lambda_b", "vera_lambda_d", "vera_A", "vera_B"],
  open(config, own, parsed) {
    const { modulePath, site } = parsed;
    const { r, bias } = own;
    if (bias !== "none")
      throw new WorkbenchError("adapter.unsupported", `${config.dir}: "bias" is "${bias}", which trains biases of the base; expected "none"`);
    const take = tensorsOf(parsed, "VeRA");
    const [b, d] = [take("vera_lambda_b"), take("vera_lambda_d")];
    if (!site)
      throw new WorkbenchError("adapter.wrongBase", `${config.dir}: VeRA module "${modulePath}" needs its base, whose width says how much of vera_A it uses`);
    const { pair, widest, tallest } = projections(config, parsed, own);
    const { dIn, dOut } = site;
    expectShape(`vera_lambda_b of "${modulePath}"`, b.shape, [dOut], "dOut");
    expectShape(`vera_lambda_d of "${modulePath}"`, d.shape, [r], "rank");
    if (dIn > widest || dOut > tallest)
      throw new WorkbenchError(
        "adapter.shapeMismatch",
        `vera_A and vera_B reach to [${tallest}, ${widest}]; "${modulePath}" is [${dOut}, ${dIn}], so expected at least that`,
      );
    return lowRankSite(parsed, factorsOf(pair, widest, floatValues(b), floatValues(d), dIn), { key: b.id, alpha: r });
  },
  delta: lowRankDelta,
  trainings: { vera: veraTraining },
});
