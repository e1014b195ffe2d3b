/** Marks on a run: where something changed abruptly, or where the method says that it did something. */
import { at } from "../../at.ts";
import type { TrainingSite } from "../../adapters/method.ts";
import { ignition, turn } from "../abruptChanges.ts";
import { siteLabel } from "./siteLayout.ts";

export interface Marker {
  readonly step: number;
  readonly kind: "ignition" | "turn" | "note";
  readonly label: string;
  /** The site where the change is clearest; null for a note. */
  readonly site: string | null;
  readonly layer: number | null;
}

/** The looks up to the newest. */
export interface Looks {
  readonly sites: readonly TrainingSite[];
  /** Training step of each look. */
  readonly steps: Float32Array;
  /** Index of the newest. */
  readonly newest: number;
  /** `[look, site]` by array name; undefined where nothing of that name is watched. */
  readonly numbers: (array: string) => Float32Array | undefined;
}

/** Norm ignitions and direction turns at the newest look, one mark a kind, placed where it is clearest. */
export function changeMarks(looks: Looks): Marker[] {
  return [
    ...clearest(looks, "ignition", "norm", (x, values) => ignition(x, values, values.length - 1)),
    ...clearest(looks, "turn", "turn", (_, values) => {
      const cosine = turn(values, values.length - 1);
      return cosine === null ? null : 1 - cosine;
    }),
  ];
}

/** @param score how clear a change is at the end of a curve over its steps; null where there is none */
function clearest(
  { sites, steps, newest, numbers }: Looks,
  kind: "ignition" | "turn",
  array: string,
  score: (x: number[], values: number[]) => number | null,
): Marker[] {
  const all = numbers(array);
  if (!all) return [];
  const changed = sites.flatMap((site, row) => {
    const curve = Float32Array.from({ length: newest + 1 }, (_, look) => at(all, look * sites.length + row));
    if (Number.isNaN(at(curve, newest))) return [];
    const looked = [...curve.keys()].filter((i) => !Number.isNaN(curve[i]));
    const strength = score(
      looked.map((i) => at(steps, i)),
      looked.map((i) => at(curve, i)),
    );
    return strength === null ? [] : [{ site, strength }];
  });
  if (changed.length === 0) return [];
  const { site } = changed.reduce((x, y) => (y.strength > x.strength ? y : x));
  const more = changed.length === 1 ? "" : ` and ${changed.length - 1} more`;
  const words = kind === "ignition" ? "norm ignites" : "direction turns";
  return [{ step: at(steps, newest), kind, label: `${words} at ${siteLabel(site)}${more}`, site: site.name, layer: site.layer }];
}
