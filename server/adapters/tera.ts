/** TeRA: ΔW is a random tensor network, frozen and shared, of which only the diagonals are trained: its rank is not bound to their number. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { floatValues } from "../formats/tensorValues.ts";
import type { Weight } from "../tensors/engine.ts";
import type { FactoredMatrix } from "../linalg/factored.ts";
import { scaledColumns, scaledRows, identity, transposed } from "../linalg/matrices.ts";
import { float32, sizeOf, type FloatTensor } from "../tensors/hostTensor.ts";
import { expectShape, lowRankDelta, lowRankSite, tensorsOf } from "./lowRankSite.ts";
import {
  expandModes,
  expandRows,
  factorsOfSide,
  modesOf,
  networkWeights,
  outerProduct,
  projectModes,
  readings,
  type Network,
  type NetworkTensors,
} from "./teraNetwork.ts";
import { defineMethod, defineTraining, savedKey, type SiteState, type TrainingSite } from "./method.ts";

const source = "Gu, Zhou, Iacovides & Mandic 2025, arXiv 2509.03234 (ACL 2026)";
const exactness =
  "reconstructed from the abstract: frozen random core and factors shared by all weights of one shape, with trained diagonals. The order of the modes, " +
  "their ranks, the start and the scale are this workbench's; other readings of the abstract can be chosen";
const mostModes = 4;

const options = z.strictObject({
  reading: z
    .enum(readings)
    .default("diagonalFactors")
    .describe(
      "diagonalFactors: T = G ×ᵢ (Aᵢ Dᵢ), the reading closest to the abstract; gains: no factors, Dᵢ on a full random core; modeDiagonals: Dᵢ on the " +
        "outer side, Dᵢ Aᵢ",
    ),
  modes: z.int().min(1).max(mostModes).default(2).describe("Into how many modes each side of a weight is folded; fewer where a size has fewer factors"),
  factorisations: z
    .record(z.string().regex(/^\d+$/), z.array(z.int().min(2)).min(1).max(mostModes))
    .default({})
    .describe(`Modes of given sizes, in place of the most even ones: {"4096": [16, 16, 16]}`),
  modeRank: z.int().min(1).nullable().default(16).describe("Rank of every mode, at most its size; null is the whole size, so that ΔW can have full rank"),
  scale: z.number().positive().default(1).describe("What ΔW is multiplied by"),
  initial: z.number().default(1).describe("Where the trained vectors start, all but the first of each weight, which starts at 0 so that ΔW does"),
  largestCore: z
    .int()
    .min(1)
    .default(2 ** 24)
    .describe("Most numbers that a frozen core may have; a larger one is refused"),
});
type TeraOptions = z.infer<typeof options>;

type VectorName = `d${number}`;
const vectorNames = Array.from({ length: 2 * mostModes }, (_, i): VectorName => `d${i + 1}`);

interface TeraTensors {
  /** d₁ … d_N, output modes first. */
  readonly trained: Record<VectorName, FloatTensor>;
  readonly frozen: NetworkTensors<Weight>;
  readonly memory: { seed: FloatTensor };
}

/** @throws "training.badOptions" naming the site when modes do not multiply to its sizes or the core is above the cap */
function networkOf(
  { name, dIn, dOut }: Pick<TrainingSite, "name" | "dIn" | "dOut">,
  { reading, modes, factorisations, modeRank, largestCore }: TeraOptions,
): Network {
  const side = (size: number): readonly number[] => {
    const given = factorisations[String(size)];
    if (given && sizeOf(given) !== size)
      throw new WorkbenchError(
        "training.badOptions",
        `factorisations: [${given.join(", ")}] multiply to ${sizeOf(given)}; expected ${size}, a side of "${name}"`,
        { field: "options.factorisations" },
      );
    return given ?? modesOf(size, modes);
  };
  const rankOf = (size: number): number => (reading === "gains" ? size : Math.min(size, modeRank ?? size));
  const [outModes, inModes] = [side(dOut), side(dIn)];
  const network: Network = { reading, dOut, dIn, outModes, inModes, outRanks: outModes.map(rankOf), inRanks: inModes.map(rankOf) };
  const core = sizeOf(network.outRanks) * sizeOf(network.inRanks);
  if (core > largestCore)
    throw new WorkbenchError(
      "training.badOptions",
      `the core of "${name}" [${dOut}, ${dIn}] with modes ${outModes.join("·")} | ${inModes.join("·")} has ${core.toLocaleString("en")} numbers; ` +
        `expected at most largestCore, ${largestCore.toLocaleString("en")}: ${reading === "gains" ? "raise it" : "give a smaller modeRank, or raise it"}`,
      { field: "options.largestCore" },
    );
  return network;
}

/** Sizes of the trained vectors, output modes first. */
function vectorSizes({ reading, outModes, inModes, outRanks, inRanks }: Network): readonly number[] {
  return reading === "modeDiagonals" ? [...outModes, ...inModes] : [...outRanks, ...inRanks];
}

/** d₁ … d_N of a state, output modes first. */
function vectorsOf<T>(network: Network, held: Readonly<Record<VectorName, T>>): { out: T[]; in: T[] } {
  const all = vectorSizes(network).flatMap((_, i) => held[`d${i + 1}`] ?? []);
  return { out: all.slice(0, network.outModes.length), in: all.slice(network.outModes.length) };
}

/** The seed of the frozen part is state, not an option: it comes from the run's seed and travels with checkpoints and files. */
const seedOf = ({ seed }: TeraTensors["memory"]): number => seed.data[0] ?? 0;

/**
 * ΔW = s · K_out diag(d_out) G diag(d_in) K_inᵀ, K the Kronecker products of the factors and d those of the vectors;
 * with modeDiagonals the diagonals stand outside of K. Cut beside the core, on its shorter side.
 */
function factorsOf(
  network: Network,
  weights: NetworkTensors<Weight>,
  vectors: { out: readonly Float32Array[]; in: readonly Float32Array[] },
  scale: number,
): FactoredMatrix {
  const { reading, dOut, dIn } = network;
  const isOuter = reading === "modeDiagonals";
  const [gainOut, gainIn] = [outerProduct(vectors.out), outerProduct(vectors.in)];
  const sideOf = (name: "out" | "in", modes: readonly number[], ranks: readonly number[], gain: Float64Array): Side => ({
    modes,
    ranks,
    rank: sizeOf(ranks),
    outerGain: isOuter ? gain : null,
    factors: reading === "gains" ? null : factorsOfSide(weights, name).map((factor) => factor.data()),
  });
  const out = sideOf("out", network.outModes, network.outRanks, gainOut);
  const inner = sideOf("in", network.inModes, network.inRanks, gainIn);
  const values = Float64Array.from(weights.core.data());
  const core = isOuter ? values : scaledColumns(scaledRows(values, gainOut), gainIn);
  if (out.rank <= inner.rank) {
    return {
      left: Float32Array.from(transposed(throughSide(identity(out.rank), out.rank, out), out.rank, dOut)),
      right: Float32Array.from(throughSide(core, out.rank, inner)),
      dOut,
      dIn,
      rank: out.rank,
      scale,
    };
  }
  const turned = transposed(core, out.rank, inner.rank);
  return {
    left: Float32Array.from(transposed(throughSide(turned, inner.rank, out), inner.rank, dOut)),
    right: Float32Array.from(throughSide(identity(inner.rank), inner.rank, inner)),
    dOut,
    dIn,
    rank: inner.rank,
    scale,
  };
}

/** One side of the network: K `[dOut or dIn, rank]` by its factors, and what multiplies its rows. */
interface Side {
  readonly rank: number;
  readonly modes: readonly number[];
  readonly ranks: readonly number[];
  readonly factors: readonly Float32Array[] | null;
  readonly outerGain: Float64Array | null;
}

/** z `[rows, rank]` → z Kᵀ `[rows, dOut or dIn]` with the outer gains. */
function throughSide(z: Float64Array, rows: number, { factors, modes, ranks, outerGain }: Side): Float64Array {
  const y = factors ? expandRows(z, rows, ranks, modes, factors) : z;
  return outerGain ? scaledColumns(y, outerGain) : y;
}

export const teraTraining = defineTraining<TeraOptions, TeraTensors>({
  title: "TeRA",
  summary: "Trains the diagonals of a frozen random tensor network: as few numbers as a vector method, and an update of high rank.",
  source,
  exactness,
  isReconstructed: true,
  options,
  parameterCount: (site, chosen) => vectorSizes(networkOf(site, chosen)).reduce((sum, size) => sum + size, 0),
  start(site, { options: chosen, random }) {
    const network = networkOf(site, chosen);
    // 24 bits are a whole number in float32.
    const memory = { seed: float32(Float32Array.of(random("tera").below(2 ** 24)), [1]) };
    // Two vectors at 0 would leave every gradient 0, for ΔW is linear in each.
    const trained = Object.fromEntries(
      vectorSizes(network).map((size, i) => [`d${i + 1}`, float32(new Float32Array(size).fill(i === 0 ? 0 : chosen.initial), [size])]),
    );
    return { trained, memory, frozen: networkWeights(network, () => seedOf(memory)) };
  },
  rules: () => Object.fromEntries(vectorNames.map((name) => [name, { decays: true }])),
  delta({ x, site, options: chosen, trained, frozen }) {
    const network = networkOf(site, chosen);
    const { reading, inModes } = network;
    const vectors = vectorsOf(network, trained);
    const [gainOut, gainIn] = [kroneckerVector(vectors.out), kroneckerVector(vectors.in)];
    const isOuter = reading === "modeDiagonals";
    let y: Tensor = isOuter ? tf.mul(x, gainIn) : x;
    if (reading !== "gains") y = projectModes(y, inModes, factorsOfSide(frozen, "in"));
    if (!isOuter) y = tf.mul(y, gainIn);
    y = tf.matMul(y, frozen.core, false, true);
    if (!isOuter) y = tf.mul(y, gainOut);
    if (reading !== "gains") y = expandModes(y, network.outRanks, factorsOfSide(frozen, "out"));
    return tf.mul(isOuter ? tf.mul(y, gainOut) : y, chosen.scale);
  },
  deltaWeight(state, chosen) {
    const network = networkOf(state.site, chosen);
    const { out, in: inner } = vectorsOf(network, state.trained);
    return factorsOf(network, state.frozen, { out: out.map(({ data }) => data), in: inner.map(({ data }) => data) }, chosen.scale);
  },
  gauges: () => [{ id: "vectors", label: "Size of each trained vector (root mean square)", unit: "", length: 2 * mostModes, values: vectorSizesNow }],
  save(sites, chosen) {
    const [first] = sites;
    const networks = sites.map(({ site }) => networkOf(site, chosen));
    const factorisations = Object.fromEntries(
      networks.flatMap(({ dOut, dIn, outModes, inModes }) => [
        [dOut, outModes],
        [dIn, inModes],
      ]),
    );
    return {
      config: {
        peft_type: "TERA",
        tera_seed: first ? seedOf(first.memory) : 0,
        tera_reading: chosen.reading,
        tera_factorisations: factorisations,
        tera_mode_rank: chosen.modeRank,
        tera_scale: chosen.scale,
      },
      tensors: new Map(
        sites.flatMap(({ site, trained }) => Object.entries(trained).map(([name, tensor]) => [savedKey(site, `tera_${name}`), tensor] as const)),
      ),
    };
  },
});

/** [d₁ ⊗ … ⊗ d_N] as one vector, the first slowest. */
function kroneckerVector(vectors: readonly Tensor[]): Tensor {
  return vectors.reduce((total, vector) =>
    tf.reshape(tf.mul(tf.reshape(total, [total.size, 1]), tf.reshape(vector, [1, vector.size])), [total.size * vector.size]),
  );
}

function vectorSizesNow({ trained }: SiteState<TeraTensors>): Float32Array {
  return Float32Array.from(vectorNames, (name) => {
    const values = trained[name]?.data;
    return values ? Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length) : NaN;
  });
}

const fields = z.object({
  tera_seed: z
    .int()
    .min(0)
    .max(2 ** 24 - 1),
  tera_reading: z.enum(readings),
  tera_factorisations: z.record(z.string(), z.array(z.int().min(1)).min(1).max(mostModes)),
  tera_mode_rank: z.int().min(1).nullable(),
  tera_scale: z.number(),
});

/** A side that the file has no modes for: the sign of another base. */
function withSize<T>(modulePath: string, build: () => T): T {
  try {
    return build();
  } catch (error) {
    throw new WorkbenchError("adapter.shapeMismatch", `"${modulePath}": ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

export const tera = defineMethod({
  title: "TeRA",
  peftType: "TERA",
  source,
  exactness,
  fields,
  tensors: vectorNames.map((name) => `tera_${name}`),
  open(_, own, parsed) {
    const { tera_seed: seed, tera_reading: reading, tera_factorisations: factorisations, tera_mode_rank: modeRank, tera_scale: scale } = own;
    const { modulePath, site } = parsed;
    if (!site)
      throw new WorkbenchError(
        "adapter.wrongBase",
        `adapter: TeRA module "${modulePath}" holds vectors only; its base is needed for the sizes of the frozen part`,
      );
    const network = withSize(modulePath, () =>
      networkOf(
        { name: modulePath, dIn: site.dIn, dOut: site.dOut },
        options.parse({ reading, factorisations, modeRank, largestCore: Number.MAX_SAFE_INTEGER }),
      ),
    );
    const take = tensorsOf(parsed, "TeRA");
    const vectors = vectorSizes(network).map((size, i) => {
      const entry = take(`tera_d${i + 1}`);
      expectShape(`tera_d${i + 1} of "${modulePath}"`, entry.shape, [size], "rank of the mode");
      return entry;
    });
    const values = vectors.map((entry) => floatValues(entry));
    const factors = factorsOf(
      network,
      networkWeights(network, () => seed),
      { out: values.slice(0, network.outModes.length), in: values.slice(network.outModes.length) },
      scale,
    );
    return lowRankSite(parsed, factors, { key: `${vectors.map(({ id }) => id).join(" ")}:tera`, alpha: scale });
  },
  delta: lowRankDelta,
  trainings: { tera: teraTraining },
});
