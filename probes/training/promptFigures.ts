/** What the adapter does to the pinned prompts while it trains, and which sites bring it about. */
import type { Watch } from "../../server/training/monitors/watch.ts";
import type { LinesFigure } from "../result.ts";
import { curvesOf, lookLines, perSite, type LineWords, type Series } from "./lines.ts";

type Pinned = NonNullable<Watch["run"]["prompts"]>["prompts"][number];

/** Each with the prompts that can be asked it. */
const shifts: readonly (LineWords & { readonly applies: (prompt: Pinned) => boolean })[] = [
  {
    id: "prompt_logit_diff",
    title: "What the pinned prompts are answered with",
    subtitle: "Logit of the answer less that of the counter-answer",
    label: "logit difference",
    unit: "logits",
    applies: ({ counterAnswer }) => counterAnswer !== null,
  },
  {
    id: "prompt_log_prob",
    title: "How likely the answers are",
    subtitle: "Log probability of the answer after each pinned prompt",
    label: "log probability",
    unit: "nats",
    applies: ({ answer }) => answer !== null,
  },
  {
    id: "prompt_kl",
    title: "How far the prediction moved from the base's",
    subtitle: "KL(base ‖ adapted) of the next token after each pinned prompt",
    label: "KL",
    unit: "nats",
    applies: () => true,
  },
];

export function promptFigures(watch: Watch): LinesFigure[] {
  const prompts = watch.run.prompts?.prompts ?? [];
  return shifts.flatMap((shift) => {
    const series = prompts.flatMap((prompt, column): Series[] =>
      shift.applies(prompt) ? [{ id: `${shift.id}.${column}`, label: prompt.label, place: {}, values: { array: shift.id, column } }] : [],
    );
    return series.length > 0 ? [lookLines(watch, shift, series)] : [];
  });
}

export function patchingFigures(watch: Watch): LinesFigure[] {
  const id = "patch_score";
  const { patchSites } = watch.run.params;
  const sites = perSite(watch, (site) => ({ array: id, column: patchSites.indexOf(site) }));
  const words = {
    id,
    title: "What one site's adapter brings about alone",
    subtitle: "Share of the pinned prompts' mean logit difference between base and adapted model, with the adapter on at this site only",
    label: "recovered",
    unit: "1 = as the whole adapter",
  };
  return [lookLines(watch, words, curvesOf(patchSites.flatMap((chosen) => sites.filter((site) => site.id === chosen))))];
}
