/** Patching scores of chosen sites: how much of the behaviour one site's adapter brings about alone. */
import { WorkbenchError } from "../../errors.ts";
import { didYouMean } from "../../nearNames.ts";
import { logitDiff, normalized } from "../../runs/metrics.ts";
import type { Monitor } from "./monitor.ts";
import type { PinnedPrompt } from "./pinnedPrompts.ts";

export const patching: Monitor = {
  title: "Patching",
  summary:
    "With the adapter on at one site alone: the share of the logit difference between base and adapted model that it brings about, over the pinned prompts.",
  applies: ({ params }) => params.patchSites.length > 0,
  arrays: ({ params }) => [{ name: "patch_score", shape: [params.patchSites.length], axes: ["site"] }],
  start({ params, adaptation, prompts: pinned }) {
    const known = adaptation.sites.map(({ site }) => site.name);
    const unknown = params.patchSites.find((site) => !known.includes(site));
    if (unknown !== undefined)
      throw new WorkbenchError("site.unknown", `probes.patchSites: "${unknown}" is no adapted site of this run; ${didYouMean(unknown, known)}`);
    const measured = pinned?.prompts.filter(({ answer, counterAnswer }) => answer !== null && counterAnswer !== null) ?? [];
    if (measured.length === 0)
      throw new WorkbenchError("training.badParams", "probes.patchSites: a score needs a behaviour; found no pinned prompt with both answer and counterAnswer");
    const behaviour = (logits: readonly Float32Array[]) => meanDifference(pinned!.prompts, logits);
    return {
      async prepare() {
        await pinned!.base();
        // Compiles the programs, which is no part of what a look takes.
        for (const on of ["all" as const, ...params.patchSites.map((site) => [site])]) await pinned!.logits(on);
        return null;
      },
      async look(moment) {
        const base = behaviour(await pinned!.base());
        const adapted = behaviour(await moment.promptLogits());
        const scores: number[] = [];
        for (const site of params.patchSites) scores.push(normalized(behaviour(await pinned!.logits([site])), base, adapted));
        return { patch_score: Float32Array.from(scores) };
      },
    };
  },
};

/** Mean logit difference over the prompts that have both answers. */
function meanDifference(prompts: readonly PinnedPrompt[], logits: readonly Float32Array[]): number {
  const differences = prompts.flatMap(({ answer, counterAnswer }, i) =>
    answer === null || counterAnswer === null ? [] : [logitDiff(logits[i]!, answer, counterAnswer)],
  );
  return differences.reduce((sum, each) => sum + each, 0) / differences.length;
}
