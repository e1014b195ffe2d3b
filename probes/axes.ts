/**
 * Axes of figures: what stands beside each row or column, and the place it is. Places are made here, where they are known, and never read back out of
 * labels.
 */
import { siteKind, siteParts } from "../server/models/siteNames.ts";
import type { Axis, Place } from "./result.ts";

const counted = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

/** @param end a row after the last layer, such as "out": what the last layer hands on is what layer `count` would read */
export function layerAxis(count: number, end?: string): Axis {
  const layers = counted(end === undefined ? count : count + 1);
  return { name: "layer", labels: layers.map((layer) => (layer === count ? (end ?? "") : String(layer))), places: layers.map((layer) => ({ layer })) };
}

/** Layers that need not be all, nor of one stack: "3", "encoder 3". */
export function layerRows(rows: readonly { readonly label: string; readonly layer: number; readonly stack: string }[]): Axis {
  const places = rows.map(({ layer, stack }): Place => (stack === "" ? { layer } : { layer, stack }));
  return { name: "layer", labels: rows.map(({ label }) => label), places };
}

/** @param tokens exactly as the tokenizer has them */
export const positionAxis = (tokens: readonly string[]): Axis => ({ name: "position", labels: tokens, places: tokens.map((_, position) => ({ position })) });

export const headAxis = (count: number): Axis => ({ name: "head", labels: counted(count).map(String), places: counted(count).map((head) => ({ head })) });

/** @param sites kinds of site ("mlp.in"), or whole names ("blocks.3.mlp.in"), which say their layer too */
export function siteAxis(sites: readonly string[]): Axis {
  const places = sites.map((site): Place => {
    const { layer } = siteParts(site);
    return layer === null ? { site } : { layer, site };
  });
  return { name: "site", labels: sites, places };
}

export interface ComponentPart {
  readonly site: string;
  readonly component: number;
  readonly adapter: string;
}

export interface ComponentColumns {
  readonly axis: Axis;
  /** The column that each part is in. */
  readonly columns: readonly number[];
}

/**
 * One column for each component of each kind of site, in the order in which they first occur: "mlp.in#0", with its adapter before it where there are
 * several.
 */
export function componentColumns(parts: readonly ComponentPart[]): ComponentColumns {
  const keyOf = ({ site, component, adapter }: ComponentPart): string => JSON.stringify([adapter, siteKind(site), component]);
  const found = [...new Map(parts.map((part) => [keyOf(part), part])).values()];
  const keys = found.map(keyOf);
  const areSeveral = new Set(found.map(({ adapter }) => adapter)).size > 1;
  return {
    axis: {
      name: "component",
      labels: found.map(({ site, component, adapter }) => `${areSeveral ? `${adapter}·` : ""}${siteKind(site)}#${component}`),
      places: found.map(({ site, component, adapter }) => ({ site: siteKind(site), component, ...(areSeveral ? { adapter } : {}) })),
    },
    columns: parts.map((part) => keys.indexOf(keyOf(part))),
  };
}
