/** What can be patched, and the cell of an array that each patch is a number of: places by layer × position, heads by layer × head. */
import type { AdapterSetting, World } from "../../server/runs/worlds.ts";
import type { ProbeEvent } from "../result.ts";
import { metricIds, type MetricId } from "./answerMetrics.ts";

/** What can be patched: the hook, and the second axis of its panel. */
export const places = {
  resid_pre: { title: "Residual stream", note: "before the block", hook: (layer: number) => `blocks.${layer}.hook_resid_pre`, by: "position" },
  resid_mid: { title: "Residual stream", note: "between attention and MLP", hook: (layer: number) => `blocks.${layer}.hook_resid_mid`, by: "position" },
  resid_post: { title: "Residual stream", note: "after the block", hook: (layer: number) => `blocks.${layer}.hook_resid_post`, by: "position" },
  attn_out: { title: "Attention output", note: "", hook: (layer: number) => `blocks.${layer}.hook_attn_out`, by: "position" },
  mlp_out: { title: "MLP output", note: "", hook: (layer: number) => `blocks.${layer}.hook_mlp_out`, by: "position" },
  heads: { title: "Head outputs", note: "all positions", hook: (layer: number) => `blocks.${layer}.attn.hook_z`, by: "head" },
} as const;
export const placeNames = ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "heads"] as const;
export type PlaceName = (typeof placeNames)[number];

/** A world of the sweep and the array cells its four numbers go to. */
export interface Cell {
  readonly world: World;
  /** Of the names of its arrays. */
  readonly prefix: "" | "heads.";
  readonly offset: number;
}

export interface PatchSizes {
  readonly nLayers: number;
  readonly nHeads: number;
  readonly positions: number;
}

export const withPositions = (names: readonly PlaceName[]): PlaceName[] => names.filter((name) => places[name].by === "position");

/** The arrays that the cells are of, in four metrics each. */
export function* patchArrays(names: readonly PlaceName[], { nLayers, nHeads, positions }: PatchSizes): Generator<ProbeEvent> {
  const blocks = withPositions(names).length;
  for (const id of metricIds) {
    if (blocks > 0) yield { type: "array", name: id, shape: [blocks, nLayers, positions], axes: ["activation", "layer", "position"] };
    if (names.includes("heads")) yield { type: "array", name: `heads.${id}`, shape: [nLayers, nHeads], axes: ["layer", "head"] };
  }
}

/** One cell for each place, layer and position, then one for each head. */
export function patchCells(names: readonly PlaceName[], { nLayers, nHeads, positions }: PatchSizes, setting: AdapterSetting): Cell[] {
  const all = (name: PlaceName, across: number): World["edits"][number][] =>
    Array.from({ length: nLayers * across }, (_, flat) => {
      const [hook, column] = [places[name].hook(Math.floor(flat / across)), flat % across];
      return { hook, position: name === "heads" ? null : column, head: name === "heads" ? column : null, source: "from" };
    });
  const blocks = withPositions(names).flatMap((name) => all(name, positions));
  const heads = names.includes("heads") ? all("heads", nHeads) : [];
  const cellsOf = (prefix: Cell["prefix"], edits: World["edits"]): Cell[] =>
    edits.map((edit, offset) => ({ world: { setting, edits: [edit] }, prefix, offset }));
  return [...cellsOf("", blocks), ...cellsOf("heads.", heads)];
}

/** One event a metric for each run of neighbouring cells. */
export function* tileEvents(rows: readonly { readonly cell: Cell; readonly numbers: Record<MetricId, number> }[]): Generator<ProbeEvent> {
  const runs: (typeof rows)[number][][] = [];
  for (const row of rows) {
    const before = runs.at(-1)?.at(-1)?.cell;
    if (before?.prefix === row.cell.prefix && before.offset + 1 === row.cell.offset) runs.at(-1)?.push(row);
    else runs.push([row]);
  }
  for (const run of runs) {
    const { prefix = "", offset = 0 } = run[0]?.cell ?? {};
    for (const id of metricIds) yield { type: "tile", array: `${prefix}${id}`, offset, data: Float32Array.from(run, ({ numbers }) => numbers[id]) };
  }
}
