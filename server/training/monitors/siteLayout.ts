/** Sites laid out as layer × kind of site; layers of different stacks ("encoder", "decoder", a tower, a block of a UNet) are rows of their own. */
import { siteParts } from "../../models/siteNames.ts";

/**
 * What tells the stacks of these sites apart, shortest: "encoder" and "decoder" of "model.encoder.layers" and "model.decoder.layers"; "" where there is
 * one stack.
 */
function stackNames(sites: readonly { readonly name: string }[]): ReadonlyMap<string, string> {
  const stacks = [...new Set(sites.map(({ name }) => siteParts(name)).flatMap(({ stack, layer }) => (layer === null ? [] : [stack])))];
  if (stacks.length < 2) return new Map(stacks.map((stack) => [stack, ""]));
  const split = stacks.map((stack) => stack.split("."));
  const isShared = (part: string): boolean => split.every((parts) => parts.includes(part));
  const names = stacks.map((stack, i) => split[i]?.filter((part) => !isShared(part)).join(".") || stack);
  return new Map(stacks.map((stack, i) => [stack, new Set(names).size === names.length ? (names[i] ?? stack) : stack]));
}

export interface SiteLayout {
  /** Labels are "3", or "encoder 3" where there are several stacks; else the stack is "". */
  readonly rows: readonly { readonly label: string; readonly layer: number; readonly stack: string }[];
  readonly kinds: readonly string[];
  /** Flat `[row, kind]` place of each site; no two are alike. */
  readonly cells: readonly number[];
  /** Of each site: "L3.mlp.in", "encoder L3.self_attn.q_proj"; a site outside the layers keeps its name. */
  readonly labels: readonly string[];
  /** Of each site, as in its row. */
  readonly stacks: readonly string[];
}

export function siteLayout(sites: readonly { readonly name: string; readonly layer: number }[]): SiteLayout {
  const stacks = stackNames(sites);
  const parts = sites.map(({ name, layer: given }) => {
    const own = siteParts(name);
    return { ...own, layer: own.layer ?? given };
  });
  const rowKey = ({ stack, layer }: { stack: string; layer: number }): string => `${stacks.get(stack) ?? ""}\0${layer}`;
  const order = [...stacks.values()];
  const rows = [...new Map(parts.map((part) => [rowKey(part), { stack: stacks.get(part.stack) ?? "", layer: part.layer }])).entries()].toSorted(
    ([, a], [, b]) => order.indexOf(a.stack) - order.indexOf(b.stack) || a.layer - b.layer,
  );
  const rowOf = new Map(rows.map(([key], row) => [key, row]));
  const kinds = [...new Set(parts.map(({ kind }) => kind))];
  const named = (stack: string): string => (stack === "" ? "" : `${stack} `);
  return {
    rows: rows.map(([, { stack, layer }]) => ({ label: `${named(stack)}${layer}`, layer, stack })),
    kinds,
    cells: parts.map((part) => (rowOf.get(rowKey(part)) ?? 0) * kinds.length + kinds.indexOf(part.kind)),
    labels: sites.map(({ name }) => {
      const { stack, layer, kind } = siteParts(name);
      return layer === null ? name : `${named(stacks.get(stack) ?? "")}L${layer}.${kind}`;
    }),
    stacks: parts.map(({ stack }) => stacks.get(stack) ?? ""),
  };
}

/** The label of one site, where there is one stack. */
export function siteLabel(site: { readonly name: string; readonly layer: number }): string {
  return siteLayout([site]).labels[0] ?? site.name;
}
