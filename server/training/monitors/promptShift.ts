/** What the adapter does to pinned prompts: logit difference, log probability of the answer, and how far the prediction moved. */
import { klDivergence, logitDiff, logProb } from "../../runs/metrics.ts";
import type { ArraySpec, Monitor, WatchedRun } from "./monitor.ts";
import { at } from "../../at.ts";

const curves = ({ prompts }: WatchedRun, name: string): ArraySpec => ({ name, shape: [prompts!.prompts.length], axes: ["prompt"] });

export const promptShift: Monitor = {
  title: "Pinned prompts",
  summary: "Logit difference, log probability of the answer, and KL from the base's prediction, after each pinned prompt.",
  applies: ({ prompts }) => prompts !== null,
  arrays: (run) => ["prompt_logit_diff", "prompt_log_prob", "prompt_kl"].map((name) => curves(run, name)),
  start({ prompts: pinned }) {
    const { prompts, on } = pinned!;
    return {
      worlds: [on],
      async prepare() {
        await pinned!.base();
        // Compiles the program, which is no part of what a look takes.
        await pinned!.logits([on]);
        return null;
      },
      async look(moment) {
        const base = await pinned!.base();
        const now = moment.logits(on);
        return {
          prompt_logit_diff: Float32Array.from(prompts, ({ answer, counterAnswer }, i) =>
            answer === null || counterAnswer === null ? NaN : logitDiff(at(now, i), answer, counterAnswer),
          ),
          prompt_log_prob: Float32Array.from(prompts, ({ answer }, i) => (answer === null ? NaN : logProb(at(now, i), answer))),
          prompt_kl: Float32Array.from(prompts, (_, i) => klDivergence(at(base, i), at(now, i))),
        };
      },
      state() {
        const kept = pinned!.keptBase();
        return kept ? { base: kept } : {};
      },
      restore({ base }) {
        if (base) pinned!.restoreBase(base);
      },
    };
  },
};
