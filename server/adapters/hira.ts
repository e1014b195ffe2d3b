/** HiRA: ΔW = W ⊙ B·A, which is of high rank though A and B are thin; the first order of OLieRA's W ⊙ exp(B·A) for one task. */
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { patternValue } from "../formats/targetMatcher.ts";
import { floatValues } from "../formats/tensorValues.ts";
import type { FactoredMatrix } from "../linalg/factored.ts";
import { expectShape, lowRankDelta, lowRankSite, tensorsOf } from "./lowRankSite.ts";
import { defineMethod, defineTraining, savedKey, type SiteState } from "./method.ts";
import { asFactors, multiplicativeDelta, multiplicativeProduct } from "./olieraTerms.ts";
import { checkRank, loraFactors, loraOptions, loraRules, rankOption, startLora, type LoraTensors } from "./trainedFactors.ts";

const about = {
  title: "HiRA",
  source: "Huang et al. 2025, HiRA: Parameter-Efficient Hadamard High-Rank Adaptation (ICLR 2025); huggingface/peft, tuners/hira",
  exactness: "as in PEFT",
};

const options = loraOptions.pick({ init: true }).extend({
  rank: rankOption.default(32).describe("Rank of B·A, which multiplies W entry by entry; the update itself is of high rank"),
});
type HiraOptions = z.infer<typeof options>;

function denseDelta(state: SiteState<LoraTensors>): Float32Array {
  return multiplicativeDelta(loraFactors(state, 1), state.site.baseWeight.data(), state.site.stored, "first");
}

const hiraTraining = defineTraining<HiraOptions, LoraTensors>({
  ...about,
  summary: "Multiplies a low-rank matrix into each weight, entry by entry: LoRA's parameters, and an update of high rank.",
  isReconstructed: false,
  options,
  parameterCount(site, { rank }) {
    checkRank(rank, site);
    return rank * (site.dIn + site.dOut);
  },
  start: startLora,
  rules: () => loraRules,
  delta: ({ site: { stored }, x, weight, trained: { loraA: a, loraB: b } }) => multiplicativeProduct({ x, weight, stored, a, b, scale: 1, order: "first" }),
  deltaWeight: (state) => asFactors(denseDelta(state), state.site.dOut, state.site.dIn),
  denseDelta,
  save: (sites, { rank }) => ({
    config: { peft_type: "HIRA", r: rank, hira_dropout: 0 },
    tensors: new Map(
      sites.flatMap(({ site, trained }) => [
        [savedKey(site, "hira_A"), trained.loraA],
        [savedKey(site, "hira_B"), trained.loraB],
      ]),
    ),
  }),
});

export const hira = defineMethod({
  ...about,
  peftType: "HIRA",
  fields: z.object({ r: z.int().positive().default(32) }),
  idleFields: ["hira_dropout", "init_weights"],
  tensors: ["hira_A", "hira_B"],
  /** W ⊙ B·A, dense, as a product with the identity. */
  open(config, { r }, parsed) {
    const { modulePath, site } = parsed;
    if (!site)
      throw new WorkbenchError(
        "adapter.wrongBase",
        `adapter: HiRA multiplies the base weight of "${modulePath}", so it opens only on its base; expected a model`,
      );
    const take = tensorsOf(parsed, about.title);
    const [a, b] = [take("hira_A"), take("hira_B")];
    const { dIn, dOut } = site;
    const rank = patternValue(config.rankPattern, modulePath) ?? r;
    expectShape(`hira_A of "${modulePath}"`, a.shape, [rank, dIn], "rank × dIn");
    expectShape(`hira_B of "${modulePath}"`, b.shape, [dOut, rank], "dOut × rank");
    const product: FactoredMatrix = { left: floatValues(b), right: floatValues(a), dOut, dIn, rank, scale: 1 };
    const delta = multiplicativeDelta(product, site.baseWeight.data(), site.stored, "first");
    return lowRankSite(parsed, asFactors(delta, dOut, dIn), { key: `${a.id}:${site.baseWeight.key}`, alpha: rank });
  },
  delta: lowRankDelta,
  trainings: { hira: hiraTraining },
});
