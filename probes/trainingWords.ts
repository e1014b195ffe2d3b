/** What the numbers of a training run so far say in words: its finding, and whether looking kept to its share. */
import { monitors } from "../server/training/monitors/registry.ts";
import { siteLabel } from "../server/training/monitors/siteLayout.ts";
import { type Watch } from "../server/training/monitors/watch.ts";
import type { Check } from "./result.ts";

type Site = Watch["run"]["adaptation"]["sites"][number]["site"];

export const sitesOf = (watch: Watch): readonly Site[] => watch.run.adaptation.sites.map(({ site }) => site);
export const finite = (values: Float32Array): number[] => [...values].filter(Number.isFinite);
const words = (value: number): string => String(Number(value.toPrecision(3)));

/** Whether looking kept to its share. @param ended whether the run has */
export function lookingCheck(watch: Watch, ended: boolean): Check {
  const { maxShare } = watch.run.params;
  const percent = (share: number) => `${Number((100 * share).toPrecision(2))} %`;
  const isPaying = !ended && watch.isStarting;
  return {
    name: "share of step time spent looking",
    ok: watch.share <= maxShare || isPaying,
    value: watch.share,
    expected:
      `at most ${percent(maxShare)}${isPaying ? " by the end" : ""}; ${percent(watch.share)} in ${watch.looks} looks of ` +
      `${watch.active.map((id) => monitors[id].title.toLowerCase()).join(", ") || "nothing"}; ${watch.preparationSeconds.toPrecision(2)} s before the first`,
  };
}

/** Whether a run that goes on did so on the engine it began with; nothing to say of one that did. @param engines that it was trained on, in their turn */
export function engineCheck(engines: readonly string[]): Check[] {
  const [first = "", ...others] = engines;
  if (others.length === 0) return [];
  const expected = `0 changes, for the same numbers to the last bit as without a break: begun on ${first}, gone on with on ${others.join(", then ")}`;
  return [{ name: "changes of engine", ok: false, value: others.length, expected }];
}

/** What the numbers so far say; null before the first step. */
export function trainingFinding(watch: Watch): string | null {
  const losses = finite(watch.numbers("loss"));
  const done = finite(watch.numbers("step")).at(-1);
  if (losses.length === 0 || done === undefined) return null;
  const smoothed = finite(watch.numbers("loss_smoothed")).at(-1)!;
  const heldOut = finite(watch.numbers("validation_loss"));
  const fell = smoothed < losses[0]! ? "fell" : "went";
  const sentences = [
    `In ${done} steps the loss ${fell} from ${words(losses[0]!)} to ${words(smoothed)} ` +
      `nats${heldOut.length > 0 ? `, on held-out examples from ${words(heldOut[0]!)} to ${words(heldOut.at(-1)!)}` : ""}.`,
  ];
  const largest = largestSite(watch);
  if (largest) sentences.push(largest);
  const change = watch.markers.find(({ kind }) => kind !== "note");
  if (change) sentences.push(`At step ${change.step} the ${change.label}.`);
  return sentences.join(" ");
}

/** Where ΔW is largest beside W, and how many directions it has there. */
function largestSite(watch: Watch): string | null {
  if (!watch.active.includes("size")) return null;
  const norms = watch.numbers("norm");
  const sites = sitesOf(watch);
  const last = lastLook(norms, sites.length);
  if (last < 0) return null;
  const at = (array: string, row: number) => watch.numbers(array)[last * sites.length + row]!;
  const row = sites.reduce((best, _, i) => (at("norm", i) > at("norm", best) ? i : best), 0);
  if (!(at("norm", row) > 0)) return null;
  const rank = at("effective_rank", row);
  return `ΔW is largest at ${siteLabel(sites[row]!)} (norm ${words(at("norm", row))}${rank > 0 ? `, ${words(rank)} directions by effective rank` : ""}).`;
}

/** The newest look that has a number; −1 when none has. */
function lastLook(numbers: Float32Array, sites: number): number {
  return Math.floor(numbers.findLastIndex((value) => !Number.isNaN(value)) / sites);
}

export function openWords(watch: Watch): string {
  const open = watch.numbers("intruders_open");
  const sites = sitesOf(watch).length;
  const last = lastLook(open, sites);
  const total = last < 0 ? 0 : open.subarray(last * sites, (last + 1) * sites).reduce((sum, value) => sum + value, 0);
  return total > 0 ? ` · ${total} more could not be decided and are not counted` : "";
}
