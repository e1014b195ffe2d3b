/** AdaLoRA: ΔW = s·B diag(E) A with a shrinking budget of ranks that goes to the sites where they matter. */
import * as tf from "@tensorflow/tfjs-core";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { floatValues } from "../formats/tensorValues.ts";
import type { FactoredMatrix } from "../linalg/factored.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import { gaussians } from "../linalg/random.ts";
import { budgetAt, checkSchedule, keepBest, maskEnergies, startMemory, tripletScores, updateImportance, type AdaloraTensors } from "./adaloraBudget.ts";
import { alphaOption, checkRank, loraRules, rankOption } from "./trainedFactors.ts";
import { expectShape, lowRankDelta, lowRankSite, sizesOf, tensorsOf } from "./lowRankSite.ts";
import { defineMethod, defineTraining, savedKey, type PenaltySite, type SiteState, type StepChange, type StepContext } from "./method.ts";
import { at } from "../at.ts";
import { columnsOf, scaledRows } from "../linalg/matrices.ts";

const about = {
  title: "AdaLoRA",
  source: "Zhang et al. 2023, arXiv 2303.10512",
  exactness:
    "as in PEFT: the penalty takes norms, not their squares, and the scale stays that of the initial rank; importance is " +
    "measured with gradients before clipping",
};

/** As PEFT divides: the rank and a guard against 0; an α of 0 or less stands for the rank. */
const scalingOf = (alpha: number, initRank: number): number => (alpha > 0 ? alpha : initRank) / (initRank + 1e-5);

const fields = z.object({
  init_r: z.int().positive().default(12),
});

const options = z
  .strictObject({
    initRank: rankOption.default(12).describe("Rank of every site at the start"),
    targetRank: rankOption.default(8).describe("Mean rank of the sites at the end"),
    alpha: alphaOption.default(8).describe("Scale of the update before it is divided by the initial rank"),
    tinit: z.int().min(0).default(0).describe("Steps before ranks are taken away"),
    tfinal: z.int().min(0).default(0).describe("Steps at the end in which the ranks stay as they are"),
    deltaT: z.int().min(1).default(1).describe("Steps between two divisions of the budget"),
    beta1: z.number().gt(0).lt(1).default(0.85).describe("Decay of the mean of each parameter's importance"),
    beta2: z.number().gt(0).lt(1).default(0.85).describe("Decay of the mean of the importance's uncertainty"),
    orthWeight: z.number().min(0).default(0.5).describe("Weight of the penalty that keeps the rows of A and the columns of B orthonormal"),
  })
  .refine(({ initRank, targetRank }) => targetRank <= initRank, { path: ["targetRank"], message: "is above initRank; expected at most initRank" });
type AdaloraOptions = z.infer<typeof options>;

/** ‖M − I‖_F of a square matrix. */
function distanceFromIdentity(m: tf.Tensor): tf.Tensor {
  const n = m.shape[0];
  const eye = tf.oneHot(tf.range(0, n, 1, "int32"), n, 1, 0, "float32");
  // The root of 0 has no slope; this is far below what float32 adds to any other sum.
  return tf.sqrt(tf.add(tf.sum(tf.square(tf.sub(m, eye))), 1e-30));
}

/** weight · mean over all A and B of ‖A Aᵀ − I‖_F and ‖Bᵀ B − I‖_F. @see peft tuners/adalora/model.py, AdaLoraModel.forward */
function orthogonality(sites: readonly PenaltySite<AdaloraTensors>[], { orthWeight }: AdaloraOptions): tf.Tensor {
  const distances = sites.flatMap(({ trained }) => {
    const [a, b] = [trained.loraA, trained.loraB];
    return [distanceFromIdentity(tf.matMul(a, a, false, true)), distanceFromIdentity(tf.matMul(b, b, true, false))];
  });
  return tf.mul(tf.addN(distances), orthWeight / distances.length);
}

function afterStep(context: StepContext<AdaloraOptions, AdaloraTensors>): StepChange {
  const { options: chosen, step, totalSteps, sites } = context;
  checkSchedule(totalSteps, chosen);
  const last = totalSteps - chosen.tfinal;
  for (const { memory } of sites) memory.totalSteps.data[0] = totalSteps;
  if (step < last) for (const state of sites) updateImportance(state, (parameter) => context.gradient(state.site.name, parameter), chosen);
  const { budget, masks } = budgetAt(step, totalSteps, sites.length, chosen);
  // After the last division the ranks are fixed, and E is only held at 0 where they are gone.
  if (masks && step <= last) keepBest(sites, budget);
  if (masks) sites.forEach(maskEnergies);
  const kept = sites.map(({ memory }) => rankOf(memory));
  return {
    reshaped: [],
    note:
      step === last
        ? `ranks fixed: ${kept.reduce((sum, rank) => sum + rank, 0)} of ${chosen.initRank * sites.length} stay, ` +
          `${Math.min(...kept)} to ${Math.max(...kept)} at a site`
        : null,
  };
}

function rankOf(memory: AdaloraTensors["memory"]): number {
  return memory.kept.data.reduce((sum, kept) => sum + kept, 0);
}

/** Which triplets a file holds: those kept, and those that have come back since the budget last acted. */
function storedTriplets({ trained, memory }: SiteState<AdaloraTensors>): boolean[] {
  return Array.from(trained.loraE.data, (energy, k) => memory.kept.data[k] === 1 || energy !== 0);
}

/** PEFT's three tensors of a site, without the triplets that are gone. */
function storedTensors(state: SiteState<AdaloraTensors>): (readonly [string, FloatTensor])[] {
  const { site, trained } = state;
  const { dIn, dOut } = site;
  const [a, b, e] = [trained.loraA.data, trained.loraB.data, trained.loraE.data];
  const rows = storedTriplets(state).flatMap((isStored, k) => (isStored ? [k] : []));
  const right = new Float32Array(rows.length * dIn);
  rows.forEach((k, to) => right.set(a.subarray(k * dIn, (k + 1) * dIn), to * dIn));
  const left = columnsOf(b, e.length, rows);
  return [
    [savedKey(site, "lora_A"), float32(right, [rows.length, dIn])],
    [savedKey(site, "lora_B"), float32(left, [dOut, rows.length])],
    [
      savedKey(site, "lora_E"),
      float32(
        Float32Array.from(rows, (k) => at(e, k)),
        [rows.length, 1],
      ),
    ],
  ];
}

const adaloraTraining = defineTraining<AdaloraOptions, AdaloraTensors>({
  ...about,
  summary: "LoRA in the form B·diag(E)·A that begins with more rank than it may keep, and takes it away where it matters least.",
  isReconstructed: false,
  options,
  parameterCount(site, { initRank }) {
    checkRank(initRank, site);
    return initRank * (site.dIn + site.dOut + 1);
  },
  /** E = 0; A, B ~ N(0, 0.02²). */
  start({ name, dIn, dOut }, { options: { initRank: rank }, random }) {
    const [shapeA, shapeB, shapeE] = [
      [rank, dIn],
      [dOut, rank],
      [rank, 1],
    ] as const;
    return {
      trained: {
        loraA: float32(gaussians(rank * dIn, 0.02, random("loraA", name)), shapeA),
        loraB: float32(gaussians(dOut * rank, 0.02, random("loraB", name)), shapeB),
        loraE: float32(new Float32Array(rank), shapeE),
      },
      frozen: {},
      memory: startMemory({ loraA: shapeA, loraB: shapeB, loraE: shapeE }),
    };
  },
  rules: () => ({ ...loraRules, loraE: { decays: true } }),
  delta({ x, trained, options: { alpha, initRank } }) {
    const a = tf.mul(trained.loraA, trained.loraE);
    return tf.matMul(tf.mul(tf.matMul(x, a, false, true), scalingOf(alpha, initRank)), trained.loraB, false, true);
  },
  penalty: orthogonality,
  afterStep,
  deltaWeight({ site: { dIn, dOut }, trained }, { alpha, initRank }): FactoredMatrix {
    return {
      left: trained.loraB.data,
      right: scaledRows(trained.loraA.data, trained.loraE.data),
      dOut,
      dIn,
      rank: initRank,
      scale: scalingOf(alpha, initRank),
    };
  },
  gauges: ({ initRank }) => [
    { id: "rank", label: "Rank", unit: "triplets kept", length: 1, values: ({ memory }) => Float32Array.of(rankOf(memory)) },
    { id: "importance", label: "Importance of each triplet", unit: "(loss)²", length: initRank, values: (state) => tripletScores(state) },
  ],
  save(sites, { initRank, targetRank, alpha, tinit, tfinal, deltaT, beta1, beta2, orthWeight }) {
    const patterns = sites.map((state) => [`${state.site.modulePath}.lora_E`, storedTriplets(state)] as const);
    const isPruned = patterns.some(([, stored]) => stored.includes(false));
    // PEFT insists on a number of steps; a run that has not begun has the fewest that its schedule allows.
    const totalSteps = sites[0]?.memory.totalSteps.data[0] || tinit + tfinal + 1;
    return {
      config: {
        peft_type: "ADALORA",
        init_r: initRank,
        target_r: targetRank,
        lora_alpha: alpha,
        tinit,
        tfinal,
        deltaT,
        beta1,
        beta2,
        orth_reg_weight: orthWeight,
        total_step: totalSteps,
        rank_pattern: isPruned ? Object.fromEntries(patterns) : null,
      },
      tensors: new Map(sites.flatMap(storedTensors)),
    };
  },
});

export const adalora = defineMethod({
  ...about,
  peftType: "ADALORA",
  fields,
  idleFields: ["target_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step", "rank_pattern"],
  tensors: ["lora_A", "lora_B", "lora_E"],
  open({ loraAlpha: alpha }, { init_r: initRank }, parsed) {
    const { modulePath } = parsed;
    const take = tensorsOf(parsed, "AdaLoRA");
    const [a, b, e] = [take("lora_A"), take("lora_B"), take("lora_E")];
    const rank = e.shape[0] ?? 0;
    const { dIn, dOut } = sizesOf(parsed, a, b);
    if (rank > initRank)
      throw new WorkbenchError("adapter.shapeMismatch", `lora_E of "${modulePath}" is [${e.shape.join(", ")}]; expected at most ${initRank} rows (init_r)`);
    expectShape(`lora_A of "${modulePath}"`, a.shape, [rank, dIn], "rank × dIn");
    expectShape(`lora_B of "${modulePath}"`, b.shape, [dOut, rank], "dOut × rank");
    expectShape(`lora_E of "${modulePath}"`, e.shape, [rank, 1], "rank × 1");
    const common = { dOut, dIn, scale: scalingOf(alpha, initRank) };
    const place = { key: `${a.id}:${modulePath}`, alpha };
    // A module that lost all its ranks adds nothing; one rank of zeros says so to everything that expects a rank.
    if (rank === 0) return lowRankSite(parsed, { ...common, rank: 1, left: new Float32Array(dOut), right: new Float32Array(dIn) }, place);
    return lowRankSite(parsed, { ...common, rank, left: floatValues(b), right: scaledRows(floatValues(a), floatValues(e)) }, place);
  },
  delta: lowRankDelta,
  trainings: { adalora: adaloraTraining },
});
