/** IPA: ΔW = s·B·P. P is learned from the inputs alone before training, so that what it lets through is what the inputs hold; B is trained. */
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { floatValues } from "../formats/tensorValues.ts";
import { patternValue } from "../formats/targetMatcher.ts";
import type { Weight } from "../tensors/engine.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import { HebbianLearner, IncrementalPca, keptShare, MovingAverageLearner, type DirectionLearner } from "./incrementalPca.ts";
import { orthonormalRows } from "../linalg/qr.ts";
import { checkRank, lowRankProduct, rankOption } from "./trainedFactors.ts";
import { expectShape, lowRankDelta, lowRankSite, sizesOf, tensorsOf } from "./lowRankSite.ts";
import { defineMethod, defineTraining, savedKey, type InputsContext, type RandomSource, type SiteState, type TrainingSite } from "./method.ts";

const modes = ["pre_ipca", "pre_gha", "moving_avg", "rand_ortho"] as const;

const source = "Yin, Venkataramanan, Vu, Bursuc & Cord 2025, arXiv 2509.04398; valeoai/peft-ipa";
const exactness =
  "as in the authors' code, with these differences: each merge of the incremental PCA is an exact SVD in float64 where " +
  "theirs is randomised, padding is left out, the Hebbian rule sees flat rows, and moving_avg runs before training; the " +
  "modes that learn during training (online_ipca, online_gha) and the DoRA form are not offered";

const options = z.strictObject({
  rank: rankOption.default(8),
  scaling: z.number().positive().default(0.25).describe("What B·P is multiplied by; not divided by the rank"),
  mode: z
    .enum(modes)
    .default("pre_ipca")
    .describe(
      "How P is found: pre_ipca, incremental PCA of the inputs; pre_gha, Sanger's Hebbian rule; moving_avg, average of the " +
        "batches' principal directions; rand_ortho, random directions, the control",
    ),
  trainProjection: z.boolean().default(false).describe("Train P too, from where it was learned (the modes that end in _requires_grad)"),
  fraction: z.number().gt(0).max(1).default(0.1).describe("Share of the training batches that P is learned from, between 0 and 1"),
  ghaRate: z.number().positive().default(1e-3).describe("Step of the Hebbian rule; must be well below 1 over the largest variance of the inputs"),
  orthonormalise: z.boolean().default(false).describe("Make P's rows orthonormal after every batch of the Hebbian rule"),
  averageRate: z.number().gt(0).max(1).default(1e-2).describe("Share of each new batch in the moving average, between 0 and 1"),
});
type IpaOptions = z.infer<typeof options>;

/** P `[rank, dIn]` is among the trained or the frozen tensors; `kept` is the share of the inputs' variance that it keeps. */
interface IpaTensors {
  readonly trained: { ipaB: FloatTensor; ipaP?: FloatTensor };
  readonly frozen: { ipaP?: Weight };
  readonly memory: { kept: FloatTensor };
}

/** Orthonormal rows `[rank, dIn]`, uniformly random. */
function randomRows({ name, dIn }: TrainingSite, rank: number, random: RandomSource): Float64Array {
  const stream = random("ipaP", name);
  return orthonormalRows(
    Float64Array.from({ length: rank * dIn }, () => stream.gaussian()),
    rank,
    dIn,
  );
}

function learnerOf(start: Float64Array, { mode, rank, ghaRate, orthonormalise, averageRate }: IpaOptions): DirectionLearner | null {
  switch (mode) {
    case "pre_ipca":
      return new IncrementalPca(start, rank);
    case "pre_gha":
      return new HebbianLearner(start, rank, ghaRate, orthonormalise);
    case "moving_avg":
      return new MovingAverageLearner(start, rank, averageRate);
    case "rand_ortho":
      return null;
  }
}

const projectionOf = ({ trained, frozen }: SiteState<IpaTensors>): Float32Array => trained.ipaP?.data ?? held(frozen.ipaP).data();

function held<T>(projection: T | undefined): T {
  if (projection === undefined) throw new WorkbenchError("internal", "an IPA site holds no projection");
  return projection;
}

/** Sites that read one tensor (q, k and v of a layer) learn once: those whose first batches are equal, each with its learner. */
function learners(
  first: ReadonlyMap<string, FloatTensor>,
  sites: readonly SiteState<IpaTensors>[],
  chosen: IpaOptions,
): Map<string, { leader: string; learner: DirectionLearner }> {
  const found = new Map<string, { leader: string; learner: DirectionLearner }>();
  for (const state of sites) {
    const { name } = state.site;
    const twin = [...found.values()].find(({ leader }) => sameNumbers(first.get(leader)!, first.get(name)!));
    const learner = twin?.learner ?? learnerOf(Float64Array.from(projectionOf(state)), chosen);
    if (learner) found.set(name, { leader: twin?.leader ?? name, learner });
  }
  return found;
}

function sameNumbers(a: FloatTensor, b: FloatTensor): boolean {
  return a.data.length === b.data.length && a.shape[1] === b.shape[1] && a.data.every((value, i) => value === b.data[i]);
}

async function learnProjections(context: InputsContext<IpaOptions, IpaTensors>): Promise<void> {
  const { sites, options: chosen, runKey } = context;
  if (chosen.mode === "rand_ortho") return;
  let bySite: ReturnType<typeof learners> | null = null;
  let last: ReadonlyMap<string, FloatTensor> = new Map();
  for await (const batch of context.inputs({ fraction: chosen.fraction })) {
    bySite ??= learners(batch, sites, chosen);
    for (const [name, { leader, learner }] of bySite) if (name === leader) updateNamed(name, learner, batch.get(name)!);
    last = batch;
  }
  for (const state of sites) {
    const found = bySite?.get(state.site.name);
    if (!found) continue;
    const { trained, frozen, memory, site } = state;
    const p = Float32Array.from(found.learner.directions());
    if (trained.ipaP) trained.ipaP.data.set(p);
    else frozen.ipaP = { key: `${runKey}:ipa:${site.name}`, shape: [chosen.rank, site.dIn], data: () => p };
    memory.kept = float32(Float32Array.of(keptShare(last.get(found.leader)!, p, chosen.rank)), [1]);
  }
}

/** An error of the learner says at which site. */
function updateNamed(site: string, learner: DirectionLearner, x: FloatTensor): void {
  try {
    learner.update(x);
  } catch (error) {
    if (error instanceof WorkbenchError) throw new WorkbenchError(error.code, `${site}: ${error.message}`, { cause: error });
    throw error;
  }
}

export const ipaTraining = defineTraining<IpaOptions, IpaTensors>({
  title: "IPA",
  summary: "Learns the input projection from the inputs before training and freezes it: half of LoRA's parameters, and no input information lost by chance.",
  source,
  exactness,
  isReconstructed: false,
  options,
  parameterCount(site, { rank, trainProjection }) {
    checkRank(rank, site);
    return rank * (site.dOut + (trainProjection ? site.dIn : 0));
  },
  start(site, { options: { rank, mode, trainProjection }, random, runKey }) {
    const scale = mode === "rand_ortho" ? Math.sqrt(site.dIn / rank) : 1;
    const p = Float32Array.from(randomRows(site, rank, random), (value) => scale * value);
    const shape = [rank, site.dIn];
    return {
      trained: { ipaB: float32(new Float32Array(site.dOut * rank), [site.dOut, rank]), ...(trainProjection ? { ipaP: float32(p, shape) } : {}) },
      frozen: trainProjection ? {} : { ipaP: { key: `${runKey}:ipa:${site.name}`, shape, data: () => p } },
      memory: { kept: float32(Float32Array.of(NaN), [1]) },
    };
  },
  learnInputs: learnProjections,
  rules: () => ({ ipaB: { decays: true }, ipaP: { decays: true } }),
  delta: ({ x, trained, frozen, options: { scaling } }) => lowRankProduct(x, held(trained.ipaP ?? frozen.ipaP), trained.ipaB, scaling),
  deltaWeight: (state, { rank, scaling }) => ({
    left: state.trained.ipaB.data,
    right: projectionOf(state),
    dOut: state.site.dOut,
    dIn: state.site.dIn,
    rank,
    scale: scaling,
  }),
  gauges: () => [
    {
      id: "kept",
      label: "Share of the inputs' variance that P keeps (last batch it learned from)",
      unit: "",
      length: 1,
      values: ({ memory }) => memory.kept.data,
    },
  ],
  save: (sites, { rank, scaling, mode, trainProjection }) => ({
    config: { peft_type: "IPA", r: rank, scaling, ipa_mode: trainProjection ? `${mode}_requires_grad` : mode, ipa_dropout: 0 },
    tensors: new Map(
      sites.flatMap((state) => [
        [savedKey(state.site, "ipa_P.basis"), float32(projectionOf(state), [rank, state.site.dIn])] as const,
        [savedKey(state.site, "ipa_B.weight"), state.trained.ipaB] as const,
      ]),
    ),
  }),
});

/** What the authors' code saves beside the projection, in its releases and in its first commits: the learner's state, of no use once it is learned. */
const bookkeeping = ["components", "n_samples_seen", "running_mean", "running_var", "is_first_run", "P", "singular_values"].map((name) => `ipa_P.${name}`);

const fields = z.object({ scaling: z.number().default(0.25) });

export const ipa = defineMethod({
  title: "IPA",
  peftType: "IPA",
  source,
  exactness,
  fields,
  idleFields: ["ipa_mode", "ipa_dropout"],
  tensors: ["ipa_P.basis", "ipa_B", ...bookkeeping],
  open(config, { scaling }, parsed) {
    const { modulePath } = parsed;
    if (config.useDora)
      throw new WorkbenchError("adapter.unsupported", `${config.dir}/adapter_config.json: "use_dora" is true; expected an IPA adapter without magnitudes`);
    const rank = patternValue(config.rankPattern, modulePath) ?? config.r;
    const take = tensorsOf(parsed, "IPA");
    const [p, b] = [take("ipa_P.basis"), take("ipa_B")];
    const { dIn, dOut } = sizesOf(parsed, p, b);
    expectShape(`ipa_P.basis of "${modulePath}"`, p.shape, [rank, dIn], "rank × dIn");
    expectShape(`ipa_B of "${modulePath}"`, b.shape, [dOut, rank], "dOut × rank");
    return lowRankSite(parsed, { left: floatValues(b), right: floatValues(p), dOut, dIn, rank, scale: scaling }, { key: p.id, alpha: scaling * rank });
  },
  delta: lowRankDelta,
  trainings: { ipa: ipaTraining },
});
