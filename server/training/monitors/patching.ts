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
    if (!pinned || measured.length === 0)
      throw new WorkbenchError("training.badParams", "probes.patchSites: a score needs a behaviour; found no pinned prompt with both answer and counterAnswer");
    const behaviour = (logits: readonly Float32Array[]) => meanDifference(pinned.prompts, logits);
    const alone = params.patchSites.map((site) => pinned.alone(site));
    const worlds = [pinned.on, ...alone];
    return {
      worlds,
      async prepare() {
        await pinned.base();
        // Compiles the program, which is no part of what a look takes.
        await pinned.logits(worlds);
        return null;
      },
      async look(moment) {
        const base = behaviour(await pinned.base());
        const adapted = behaviour(moment.logits(pinned.on));
        return { patch_score: Float32Array.from(alone, (world) => normalized(behaviour(moment.logits(world)), base, adapted)) };
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
