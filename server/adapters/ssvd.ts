/** SSVD: W' = U (Σ + dΣ) G Vᵀ. The leading k input directions of W are rotated and their singular values moved; U stays. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { floatValues } from "../formats/tensorValues.ts";
import type { Weight } from "../tensors/engine.ts";
import type { FactoredMatrix } from "../linalg/factored.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import { leadingSvd } from "../linalg/leadingSvd.ts";
import { cayley, cayleyDifference, identity, skew, skewOf } from "./cayley.ts";
import { expectShape, lowRankDelta, lowRankSite, tensorsOf } from "./lowRankSite.ts";
import { defineMethod, defineTraining, savedKey, type None, type SiteState, type TrainingSite } from "./method.ts";
import { at } from "../at.ts";
import { transposed } from "../linalg/matrices.ts";
import { addTimesAt } from "../linalg/vectors.ts";

const maps = ["firstOrder", "strict", "free"] as const;
type RotationMap = (typeof maps)[number];

const source = "Wang, Watanabe & Van hamme 2025, arXiv 2509.02830; ESPnet, espnet2/layers";
const exactness =
  "equations 8 to 13 of the paper; started at K = 0 and dΣ = 0 as ESPnet does, which the paper does not state; the input " +
  "side is rotated for every shape of W, as the paper's principle has it, unless ESPnet's orientation is asked for";

const options = z.strictObject({
  k: z.int().min(2).max(8192).nullable().default(null).describe("Leading singular directions that are adapted; without it the portion says how many"),
  portion: z.number().gt(0).max(1).default(0.25).describe("Share of the singular directions that is adapted, between 0 and 1, when k is not given"),
  map: z
    .enum(maps)
    .default("firstOrder")
    .describe(
      "G from the skew-symmetric K: firstOrder is I − 2K, the paper's default; strict is the Cayley map (I − K)(I + K)⁻¹, an " +
        "exact rotation; free trains G itself",
    ),
  gate: z.boolean().default(false).describe("Multiply the shift of the singular values by a trained gate between 0 and 1, as ESPnet does; not in the paper"),
  espnetCompat: z.boolean().default(false).describe("Rotate the output side where a weight has fewer outputs than inputs, as ESPnet does"),
});
type SsvdOptions = z.infer<typeof options>;

/** What says ΔW beside the numbers that are trained. */
interface Parametrisation {
  readonly map: RotationMap;
  /** U [Gᵀ(Σ + dΣ) − Σ] Vᵀ instead of U [(Σ + dΣ) G − Σ] Vᵀ */
  readonly rotatesOutput: boolean;
}

interface SsvdTensors {
  readonly trained: { rotation: FloatTensor; shift: FloatTensor; gate?: FloatTensor };
  readonly frozen: { u: Weight; v: Weight; sigma: Weight };
  readonly memory: None;
}

interface SsvdNumbers {
  /** K's upper triangle `[k (k − 1)/2]`, or G − I `[k, k]` for the free map. */
  readonly rotation: Float32Array;
  /** dΣ before the gate, `[k]` */
  readonly shift: Float32Array;
  readonly gate: number | null;
  readonly sigma: Float32Array;
}

/** k of one site. @throws "training.badOptions" naming the site */
function directions({ name, dIn, dOut }: Pick<TrainingSite, "name" | "dIn" | "dOut">, { k, portion }: SsvdOptions): number {
  const most = Math.min(dIn, dOut);
  const found = k ?? Math.floor(portion * most);
  if (found < 2 || found > most)
    throw new WorkbenchError(
      "training.badOptions",
      `${k === null ? `portion ${portion} of` : `k is ${k};`} "${name}" [${dOut}, ${dIn}]${k === null ? ` is ${found} directions` : ""}; expected 2 to ${most}`,
      { field: k === null ? "options.portion" : "options.k" },
    );
  return found;
}

const rotationSize = (k: number, map: RotationMap): number => (map === "free" ? k * k : (k * (k - 1)) / 2);
const rotatesOutput = ({ dIn, dOut }: Pick<TrainingSite, "dIn" | "dOut">, { espnetCompat }: SsvdOptions): boolean => espnetCompat && dOut < dIn;
const parametrisation = (site: TrainingSite, chosen: SsvdOptions): Parametrisation => ({ map: chosen.map, rotatesOutput: rotatesOutput(site, chosen) });

/** G − I of the numbers that are trained, in float64, `[k, k]`. */
export function rotationDifference(rotation: Float32Array, k: number, map: RotationMap): Float64Array {
  switch (map) {
    case "free":
      return Float64Array.from(rotation);
    case "firstOrder":
      return skewOf(rotation, k).map((value) => -2 * value);
    case "strict":
      return cayleyDifference(skewOf(rotation, k), k);
  }
}

/** dΣ as it acts, `[k]`. */
const actingShift = ({ shift, gate }: Pick<SsvdNumbers, "shift" | "gate">): Float64Array =>
  Float64Array.from(shift, (value) => (gate === null ? value : value / (1 + Math.exp(-gate))));

/** (Σ + dΣ) G − Σ = (Σ + dΣ)(G − I) + dΣ, the update between U and Vᵀ: `[k, k]`. */
function core(numbers: SsvdNumbers, { map, rotatesOutput: output }: Parametrisation): Float64Array {
  const k = numbers.shift.length;
  const difference = rotationDifference(numbers.rotation, k, map);
  const shift = actingShift(numbers);
  return Float64Array.from({ length: k * k }, (_, place) => {
    const [i, j] = [Math.floor(place / k), place % k];
    const own = output ? j : i; // whose Σ + dΣ stands beside G − I
    return (at(numbers.sigma, own) + at(shift, own)) * at(difference, output ? j * k + i : place) + (i === j ? at(shift, i) : 0);
  });
}

/** U · [core · Vᵀ], u `[dOut, k]`, v `[k, dIn]`. */
function factorsOf(numbers: SsvdNumbers, about: Parametrisation, u: Float32Array, v: Float32Array): FactoredMatrix {
  const k = numbers.shift.length;
  const [dOut, dIn] = [u.length / k, v.length / k];
  const mix = core(numbers, about);
  const right = new Float32Array(k * dIn);
  const [row, rows] = [new Float64Array(dIn), new Float64Array(v)];
  for (let i = 0; i < k; i++) {
    row.fill(0);
    for (const [j, weight] of mix.subarray(i * k, (i + 1) * k).entries()) if (weight !== 0) addTimesAt(row, 0, weight, rows, j * dIn, dIn);
    right.set(row, i * dIn);
  }
  return { left: u, right, dOut, dIn, rank: k, scale: 1 };
}

/** W `[dOut, dIn]` row-major: its leading k triplets as float32, computed when first asked for. */
function bases({ baseWeight, stored, dIn, dOut }: TrainingSite, k: number): () => { u: Float32Array; v: Float32Array; sigma: Float32Array } {
  let found: { u: Float32Array; v: Float32Array; sigma: Float32Array } | null = null;
  return () => {
    if (found) return found;
    const isTurned = stored === "inOut";
    const { ut, s, vt } = isTurned ? leadingSvd(baseWeight.data(), dIn, dOut, k) : leadingSvd(baseWeight.data(), dOut, dIn, k);
    const [left, right] = isTurned ? [vt, ut] : [ut, vt];
    found = { u: Float32Array.from(transposed(left, k, dOut)), v: Float32Array.from(right), sigma: Float32Array.from(s) };
    return found;
  };
}

function numbersOf({ trained, frozen }: SiteState<SsvdTensors>): SsvdNumbers {
  return { rotation: trained.rotation.data, shift: trained.shift.data, gate: trained.gate?.data[0] ?? null, sigma: frozen.sigma.data() };
}

function rms(values: Float32Array | Float64Array): number {
  let squares = 0;
  for (const value of values) squares += value * value;
  return Math.sqrt(squares / values.length);
}

export const ssvdTraining = defineTraining<SsvdOptions, SsvdTensors>({
  title: "SSVD",
  summary: "Rotates the leading input directions of each weight and moves their singular values; the output directions stay.",
  source,
  exactness,
  isReconstructed: false,
  options,
  parameterCount(site, chosen) {
    const k = directions(site, chosen);
    return rotationSize(k, chosen.map) + k + (chosen.gate ? 1 : 0);
  },
  start(site, { options: chosen }) {
    const k = directions(site, chosen);
    const found = bases(site, k);
    const key = `ssvd:${site.baseWeight.key}:${k}`;
    const size = rotationSize(k, chosen.map);
    return {
      trained: {
        rotation: float32(new Float32Array(size), chosen.map === "free" ? [k, k] : [size]),
        shift: float32(new Float32Array(k), [k]),
        ...(chosen.gate ? { gate: float32(new Float32Array(1), [1]) } : {}),
      },
      frozen: {
        u: { key: `${key}:u`, shape: [site.dOut, k], data: () => found().u },
        v: { key: `${key}:v`, shape: [k, site.dIn], data: () => found().v },
        sigma: { key: `${key}:sigma`, shape: [k], data: () => found().sigma },
      },
      memory: {},
    };
  },
  rules: () => ({ rotation: { decays: true }, shift: { decays: true }, gate: { decays: false } }),
  // With z = Vᵀx: U [(σ + dσ) ⊙ (G − I) z + dσ ⊙ z], exactly 0 at the start; no difference of large numbers.
  delta({ x, site, options: chosen, trained, frozen }) {
    const k = directions(site, chosen);
    const gate = trained.gate;
    const shift = gate ? tf.mul(trained.shift, tf.sigmoid(gate)) : trained.shift;
    const values = tf.add(frozen.sigma, shift);
    const difference = rotationDelta(trained.rotation, k, chosen.map);
    const z0 = tf.matMul(x, frozen.v, false, true);
    const turned = rotatesOutput(site, chosen) ? tf.matMul(tf.mul(z0, values), difference) : tf.mul(tf.matMul(z0, difference, false, true), values);
    return tf.matMul(tf.add(turned, tf.mul(z0, shift)), frozen.u, false, true);
  },
  deltaWeight: (state, chosen) => factorsOf(numbersOf(state), parametrisation(state.site, chosen), state.frozen.u.data(), state.frozen.v.data()),
  gauges: ({ map }) => [
    {
      id: "rotation",
      label: "Rotation ‖G − I‖ / √k",
      unit: "",
      length: 1,
      values: ({ trained }) =>
        Float32Array.of(rms(rotationDifference(trained.rotation.data, trained.shift.data.length, map)) * Math.sqrt(trained.shift.data.length)),
    },
    {
      id: "shift",
      label: "Shift of the singular values ‖dσ‖ / ‖σ‖",
      unit: "",
      length: 1,
      values: (state) => Float32Array.of(rms(actingShift(numbersOf(state))) / rms(numbersOf(state).sigma)),
    },
  ],
  save(sites, { map, espnetCompat }) {
    const tensors = new Map<string, FloatTensor>();
    for (const { site, trained, frozen } of sites) {
      for (const [name, tensor] of Object.entries(trained)) tensors.set(savedKey(site, `ssvd_${name}`), tensor);
      // The directions go with the numbers: found again from W they could differ in sign, and W would have to be decomposed to open the file.
      for (const [name, held] of Object.entries(frozen)) tensors.set(savedKey(site, `ssvd_${name}`), float32(held.data(), held.shape));
    }
    return { config: { peft_type: "SSVD", ssvd_map: map, ssvd_espnet_compat: espnetCompat }, tensors };
  },
});

/** G − I in tfjs operations, `[k, k]`. */
function rotationDelta(rotation: Tensor, k: number, map: RotationMap): Tensor {
  switch (map) {
    case "free":
      return rotation;
    case "firstOrder":
      return tf.mul(skew(rotation, k), -2);
    case "strict":
      return tf.sub(cayley(skew(rotation, k)), identity(k));
  }
}

export const ssvd = defineMethod({
  title: "SSVD",
  peftType: "SSVD",
  source,
  exactness,
  fields: z.object({ ssvd_map: z.enum(maps), ssvd_espnet_compat: z.boolean().default(false) }),
  tensors: ["ssvd_rotation", "ssvd_shift", "ssvd_gate", "ssvd_u", "ssvd_v", "ssvd_sigma"],
  open(_, { ssvd_map: map, ssvd_espnet_compat: espnetCompat }, parsed) {
    const { modulePath, own, site } = parsed;
    const take = tensorsOf(parsed, "SSVD");
    const [rotation, shift, sigma, u, v] = [take("ssvd_rotation"), take("ssvd_shift"), take("ssvd_sigma"), take("ssvd_u"), take("ssvd_v")];
    const k = shift.shape[0] ?? 0;
    const [dOut, dIn] = [site?.dOut ?? u.shape[0] ?? 0, site?.dIn ?? v.shape[1] ?? 0];
    const named = (name: string) => `${name} of "${modulePath}"`;
    expectShape(named("ssvd_shift"), shift.shape, [k], "k");
    expectShape(named("ssvd_sigma"), sigma.shape, [k], "k");
    expectShape(named("ssvd_u"), u.shape, [dOut, k], "dOut × k");
    expectShape(named("ssvd_v"), v.shape, [k, dIn], "k × dIn");
    expectShape(named("ssvd_rotation"), rotation.shape, map === "free" ? [k, k] : [rotationSize(k, map)], map === "free" ? "k × k" : "k (k − 1)/2");
    const gate = own["ssvd_gate"]?.entry;
    if (gate) expectShape(named("ssvd_gate"), gate.shape, [1], "1");
    const numbers = { rotation: floatValues(rotation), shift: floatValues(shift), sigma: floatValues(sigma), gate: gate ? (floatValues(gate)[0] ?? 0) : null };
    const factors = factorsOf(numbers, { map, rotatesOutput: espnetCompat && dOut < dIn }, floatValues(u), floatValues(v));
    return lowRankSite(parsed, factors, { key: `${rotation.id}:ssvd`, alpha: k });
  },
  delta: lowRankDelta,
  trainings: { ssvd: ssvdTraining },
});
