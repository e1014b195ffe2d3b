/** Which part alone brings the behaviour back, if one does: the most telling kind of part whose largest value is more than chance. */
import { siteParts } from "../../server/models/siteNames.ts";
import type { WorldEdit } from "../../server/runs/worlds.ts";
import type { NullBand } from "../result.ts";
import { beatsDraws, clearsNull } from "./nulls.ts";
import type { Cell } from "./patchCells.ts";
import { chanceWords, percent } from "./words.ts";

export interface FoundPart {
  readonly edit: WorldEdit;
  readonly value: number;
}

/** What a sentence may be about, the most telling first: one head, one part at one token, the stream at a token that is not asked at. */
const kindsOfPart: readonly ((edit: WorldEdit, position: number) => boolean)[] = [
  ({ head }) => head !== null,
  ({ head, hook }) => head === null && !hook.includes("resid"),
  ({ hook, position: at }, position) => hook.endsWith("hook_resid_pre") && at !== position,
];

/**
 * The first kind whose largest value is clear of the null and of what the largest of as many gives by chance.
 * @param values of each cell; @param position where the answer is read
 */
export async function clearPart(
  cells: readonly Cell[],
  values: Float32Array,
  band: NullBand,
  position: number,
  chance: (those: readonly Cell[]) => AsyncGenerator<number, void, void>,
): Promise<FoundPart | null> {
  const ranked = cells
    .flatMap((cell, i) => cell.world.edits.slice(0, 1).map((edit) => ({ cell, edit, value: values[i] ?? NaN })))
    .filter(({ value }) => Number.isFinite(value))
    .sort((a, b) => b.value - a.value);
  for (const isOfKind of kindsOfPart) {
    const those = ranked.filter(({ edit }) => isOfKind(edit, position));
    const [top] = those;
    if (!top || !(top.value > 0) || !clearsNull(top.value, band)) continue;
    const draws: number[] = [];
    for await (const draw of chance(those.map(({ cell }) => cell))) {
      draws.push(draw);
      if (draw >= top.value) break;
    }
    if (beatsDraws(top.value, draws)) return top;
  }
  return null;
}

/** What that part does, and what chance does. @param restored "adapted behaviour restored" */
export function patchFinding({ edit, value }: FoundPart, band: NullBand, tokens: readonly string[], restored: string): string {
  const layer = siteParts(edit.hook).layer ?? 0;
  const token = `“${(tokens[edit.position ?? 0] ?? "").trim()}”`;
  const where = edit.hook.includes("resid")
    ? `The residual stream at ${token} before layer ${layer}`
    : edit.head !== null
      ? `Head L${layer}H${edit.head}`
      : `The ${edit.hook.includes("attn") ? "attention" : "MLP"} output of layer ${layer} at ${token}`;
  return `${where} alone brings back ${percent(value)} of the ${restored.replace(" restored", "")}; ${chanceWords("random directions of equal norm", band)}.`;
}
