/** Which two runs are contrasted: base and adapted on one prompt, or clean and corrupted on one model. */
import { WorkbenchError } from "../../server/errors.ts";
import type { Subject } from "../../server/runs/subject.ts";
import { baseSetting, type AdapterSetting } from "../../server/runs/worlds.ts";
import { checkSameLength, readPrompt, type Prompt } from "../promptPair.ts";

export const contrasts = ["adaptedIntoBase", "baseIntoAdapted", "cleanIntoCorrupted", "corruptedIntoClean"] as const;
export type Contrast = (typeof contrasts)[number];

/** What is done, what 1 means, and whose run the values come from. */
export const contrastWords: Record<Contrast, { readonly done: string; readonly restored: string; readonly source: string }> = {
  adaptedIntoBase: { done: "Adapted run patched into the base run", restored: "adapted behaviour restored", source: "adapted" },
  baseIntoAdapted: { done: "Base run patched into the adapted run", restored: "base behaviour restored", source: "base" },
  cleanIntoCorrupted: { done: "Clean run patched into the corrupted run (denoising)", restored: "clean behaviour restored", source: "clean" },
  corruptedIntoClean: { done: "Corrupted run patched into the clean run (noising)", restored: "corrupted behaviour restored", source: "corrupted" },
};

export interface Side {
  readonly prompt: Prompt;
  readonly setting: AdapterSetting;
}

/**
 * The run that values come from and the run they are put into.
 * @throws "probe.notApplicable" when adapters are contrasted and none is open or on; "prompt.lengthMismatch"; "probe.badParams" without a corrupted prompt
 */
export function contrastSides(
  subject: Subject,
  contrast: Contrast,
  clean: string | readonly number[],
  corrupted: string | readonly number[] | undefined,
): { from: Side; into: Side } {
  const cleanPrompt = readPrompt(subject, clean, "clean");
  if (contrast === "adaptedIntoBase" || contrast === "baseIntoAdapted") {
    if (!Object.values(subject.setting.strengths).some((strength) => strength !== 0)) {
      throw new WorkbenchError("probe.notApplicable", "base and adapted are contrasted, but no adapter is on; open one, or contrast clean with corrupted");
    }
    const base: Side = { prompt: cleanPrompt, setting: baseSetting };
    const adapted: Side = { prompt: cleanPrompt, setting: subject.setting };
    return contrast === "adaptedIntoBase" ? { from: adapted, into: base } : { from: base, into: adapted };
  }
  if (corrupted === undefined) throw new WorkbenchError("probe.badParams", `corrupted is missing; contrast "${contrast}" needs a second prompt`);
  const corruptedPrompt = readPrompt(subject, corrupted, "corrupted");
  checkSameLength(cleanPrompt, corruptedPrompt);
  const cleanSide: Side = { prompt: cleanPrompt, setting: subject.setting };
  const corruptedSide: Side = { prompt: corruptedPrompt, setting: subject.setting };
  return contrast === "cleanIntoCorrupted" ? { from: cleanSide, into: corruptedSide } : { from: corruptedSide, into: cleanSide };
}
