/** L1RA: LoRA with a gate in [0, 1] on every rank, drawn to zero by an L1 step; ranks whose gate died move to other sites. */
import * as tf from "@tensorflow/tfjs-core";
import * as z from "zod";
import { patternValue } from "../formats/targetMatcher.ts";
import { floatValues } from "../formats/tensorValues.ts";
import type { FactoredMatrix } from "../linalg/factored.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import { gaussians } from "../linalg/random.ts";
import { reallocation } from "./l1raRanks.ts";
import { alphaOption, checkRank, loraRules, loraTensors, rankOption, startLora, type Factors } from "./trainedFactors.ts";
import { expectShape, lowRankDelta, lowRankSite, sizesOf, tensorsOf } from "./lowRankSite.ts";
import { defineMethod, defineTraining, savedKey, type None, type SiteState, type StepChange, type StepContext } from "./method.ts";
import { at } from "../at.ts";
import { scaledColumns } from "../linalg/matrices.ts";

const about = {
  title: "L1RA",
  source: "Singh, Brunello, Scotti & Carman 2025, arXiv 2509.04884; code raul-singh/L1RA",
  exactness:
    "as in the authors' code, but for the optimizer's L1 step, whose source is not public: reconstructed as c ← clip(c − " +
    "η·m̂/(√v̂ + ε) − η·λ·sign(c)); files are of our own layout, as the authors' code cannot save",
};

interface L1raTensors {
  readonly trained: Factors<FloatTensor> & { gates: FloatTensor };
  readonly frozen: None;
  readonly memory: None;
}

const options = z.strictObject({
  rank: rankOption.default(8).describe("Rank of every site at the start; the mean rank stays this"),
  alpha: alphaOption.default(8).describe("Scale of the update before it is divided by the rank at the start"),
  lambda: z
    .number()
    .min(0)
    .default(1e-3)
    .describe(
      "Strength of the L1 step that draws gates to zero; times gateRate and the steps it must exceed 1 for idle gates to close, so short runs need 0.1 to 1",
    ),
  gateRate: z.number().positive().default(2e-2).describe("Constant learning rate of the gates"),
  lassoTimesLr: z.boolean().default(true).describe("Whether the L1 step is λ times the gates' rate (true), or λ itself"),
  rankUpdateRatio: z.number().gt(0).max(1).default(0.1).describe("Share of all steps between two moves of ranks"),
  pruneThreshold: z.number().min(0).max(1).default(1e-10).describe("Gates below this lose their rank"),
  reassign: z.boolean().default(true).describe("Give freed ranks to other sites; otherwise they are gone"),
  excludePruned: z.boolean().default(true).describe("A site that loses a rank gets none in the same move"),
});
type L1raOptions = z.infer<typeof options>;

const scaling = ({ rank, alpha }: L1raOptions): number => alpha / rank;
/** Gates shown per site; a site seldom grows beyond twice its rank, and its rank is shown beside them. */
const shownGates = 4;

const l1raTraining = defineTraining<L1raOptions, L1raTensors>({
  ...about,
  summary: "LoRA whose ranks move, while it trains, from sites that do not need them to sites that do; their sum stays.",
  isReconstructed: true,
  options,
  parameterCount(site, { rank }) {
    checkRank(rank, site);
    return rank * (site.dIn + site.dOut + 1);
  },
  /** A ~ N(0, 1/r²), B = 0, c = 1. */
  start(site, { options: { rank }, random }) {
    const { trained } = startLora(site, { options: { rank, init: "gaussian" }, random });
    return { trained: { ...trained, gates: float32(new Float32Array(rank).fill(1), [rank]) }, frozen: {}, memory: {} };
  },
  rules: ({ lambda, gateRate, lassoTimesLr }) => ({
    ...loraRules,
    gates: { decays: false, learningRate: gateRate, lasso: { strength: lambda, timesRate: lassoTimesLr } },
  }),
  /** s · ((x Aᵀ) ⊙ c) Bᵀ */
  delta({ x, trained, options: chosen }) {
    const gates = tf.mul(trained.gates, scaling(chosen));
    return tf.matMul(tf.mul(tf.matMul(x, trained.loraA, false, true), gates), trained.loraB, false, true);
  },
  deltaWeight({ site: { dIn, dOut }, trained }, chosen) {
    const gates = trained.gates.data;
    return { left: scaledColumns(trained.loraB.data, gates), right: trained.loraA.data, dOut, dIn, rank: gates.length, scale: scaling(chosen) };
  },
  afterStep,
  warning: smallLambda,
  gauges: ({ rank }) => [
    { id: "rank", label: "Rank", unit: "ranks", length: 1, values: ({ trained }) => Float32Array.of(trained.gates.data.length) },
    {
      id: "gates",
      label: `Gates, largest first (up to ${shownGates * rank})`,
      unit: "",
      length: shownGates * rank,
      values: ({ trained }) => largest(trained.gates.data, shownGates * rank),
    },
  ],
  save(sites, chosen) {
    const config = {
      peft_type: "L1RA",
      r: chosen.rank,
      lora_alpha: chosen.alpha,
      rank_pattern: Object.fromEntries(sites.map(({ site, trained }) => [site.modulePath, trained.gates.data.length])),
      l1ra_lambda: chosen.lambda,
      eta_c: chosen.gateRate,
      rank_update_ratio: chosen.rankUpdateRatio,
      prune_threshold: chosen.pruneThreshold,
      reassign: chosen.reassign,
      exclude_pruned: chosen.excludePruned,
      lasso_times_lr: chosen.lassoTimesLr,
    };
    const gates = sites.map(({ site, trained }): [string, FloatTensor] => [savedKey(site, "lora_c"), trained.gates]);
    return { config, tensors: new Map([...loraTensors(sites), ...gates]) };
  },
});

/** Moves ranks, where a move is due, by the gates as the optimizer left them; then c ← clip(c, 0, 1), as the authors' forward does. */
function afterStep(context: StepContext<L1raOptions, L1raTensors>): StepChange {
  const moved = moveRanks(context);
  const change = context.step === 1 ? { ...moved, note: moved.note ?? smallLambda(context.options, context.totalSteps) } : moved;
  for (const { trained } of context.sites) trained.gates.data.forEach((gate, k, gates) => (gates[k] = Math.min(1, Math.max(0, gate))));
  return change;
}

/** The largest values first; NaN where there are fewer. `[length]` */
function largest(values: Float32Array, length: number): Float32Array {
  const shown = new Float32Array(length).fill(NaN);
  shown.set(values.toSorted().reverse().subarray(0, length));
  return shown;
}

const stepsBetweenMoves = ({ rankUpdateRatio }: L1raOptions, totalSteps: number): number => Math.max(1, Math.floor(rankUpdateRatio * totalSteps));

/** What to say where the L1 step alone closes no gate before the last move; null where it does. */
function smallLambda(chosen: L1raOptions, totalSteps: number): string | null {
  const period = stepsBetweenMoves(chosen, totalSteps);
  const steps = period * Math.floor((totalSteps - 1) / period);
  const each = chosen.lassoTimesLr ? chosen.gateRate : 1;
  if (steps > 0 && chosen.lambda * each * steps >= 1) return null;
  const enough = steps > 0 ? `; a lambda of ${(1 / (each * steps)).toPrecision(2)} or more closes idle ones` : "";
  return (
    `lambda ${chosen.lambda} takes ${(chosen.lambda * each * steps).toPrecision(2)} off a gate that starts at 1 before ranks ` +
    `move last, so they move only where the loss itself closes gates${enough}`
  );
}

/**
 * Every ⌊ratio · steps⌋ steps, as before the next step, so never after the last: dead ranks go, the freed ones begin elsewhere
 * with c = 1, A ~ N(0, 1/r²), B = 0, which changes no output; all moments begin anew, as the reference rebuilds its optimizer.
 */
function moveRanks({ options: chosen, step, totalSteps, sites, random }: StepContext<L1raOptions, L1raTensors>): StepChange {
  const period = stepsBetweenMoves(chosen, totalSteps);
  const unchanged: StepChange = { reshaped: [], note: null };
  if (step % period !== 0 || step >= totalSteps) return unchanged;
  const { kept, grown, freed, lost } = reallocation(
    sites.map(({ trained }) => trained.gates.data),
    chosen,
  );
  if (freed === 0) return unchanged;
  const reshaped: string[] = [];
  for (const [i, state] of sites.entries()) {
    const [staying, added] = [at(kept, i), at(grown, i)];
    if (added === 0 && staying.length === state.trained.gates.data.length) continue;
    resize(state, staying, added, (length) => gaussians(length, 1 / chosen.rank, random("grown", state.site.name)));
    reshaped.push(state.site.name);
  }
  const takers = grown.flatMap((added, i) => (added > 0 ? [`${at(sites, i).site.name} +${added}`] : []));
  const where = takers.length > 0 ? `to ${takers.slice(0, 4).join(", ")}${takers.length > 4 ? ", …" : ""}` : "to no site";
  return { reshaped, resetsMoments: true, note: `${freed} ${freed === 1 ? "rank" : "ranks"} moved ${where}${lost > 0 ? `; ${lost} lost` : ""}` };
}

/** Keeps some ranks of a site, in order, and appends new ones. */
function resize(
  { site: { dIn, dOut }, trained }: SiteState<L1raTensors>,
  kept: readonly number[],
  grown: number,
  newRows: (length: number) => Float32Array,
): void {
  const [a, b, c] = [trained.loraA.data, trained.loraB.data, trained.gates.data];
  const rank = kept.length + grown;
  const rows = new Float32Array(rank * dIn);
  const columns = new Float32Array(dOut * rank);
  const gates = new Float32Array(rank).fill(1);
  for (const [to, from] of kept.entries()) {
    rows.set(a.subarray(from * dIn, (from + 1) * dIn), to * dIn);
    gates[to] = at(c, from);
    for (let o = 0; o < dOut; o++) columns[o * rank + to] = at(b, o * c.length + from);
  }
  rows.set(newRows(grown * dIn), kept.length * dIn);
  trained.loraA = float32(rows, [rank, dIn]);
  trained.loraB = float32(columns, [dOut, rank]);
  trained.gates = float32(gates, [rank]);
}

export const l1ra = defineMethod({
  ...about,
  peftType: "L1RA",
  fields: z.object({}),
  idleFields: ["l1ra_lambda", "eta_c", "rank_update_ratio", "prune_threshold", "reassign", "exclude_pruned", "lasso_times_lr"],
  tensors: ["lora_c"],
  open(config, _, parsed) {
    const { modulePath } = parsed;
    const take = tensorsOf(parsed, "L1RA");
    const [a, b, c] = [take("lora_A"), take("lora_B"), take("lora_c")];
    const rank = patternValue(config.rankPattern, modulePath) ?? config.r;
    const { dIn, dOut } = sizesOf(parsed, a, b);
    expectShape(`lora_A of "${modulePath}"`, a.shape, [rank, dIn], "rank × dIn");
    expectShape(`lora_B of "${modulePath}"`, b.shape, [dOut, rank], "dOut × rank");
    expectShape(`lora_c of "${modulePath}"`, c.shape, [rank], "rank");
    // The scale is that of the rank at the start, whatever the rank has become.
    const factors: FactoredMatrix = {
      left: scaledColumns(floatValues(b), floatValues(c)),
      right: floatValues(a),
      dOut,
      dIn,
      rank,
      scale: config.loraAlpha / config.r,
    };
    return lowRankSite(parsed, factors, { key: a.id, alpha: config.loraAlpha });
  },
  delta: lowRankDelta,
  trainings: { l1ra: l1raTraining },
});
