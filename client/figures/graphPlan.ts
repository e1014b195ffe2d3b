/** Which nodes and edges of a graph are drawn, and in which order they stand in their rows. */
import { mean } from "d3-array";
import type { GraphFigure, Place } from "../../probes/result.ts";
import type { Arrays } from "./context.ts";
import { numbersOf, samePlace } from "./places.ts";

export interface PlannedEdge {
  readonly index: number;
  readonly from: number;
  readonly to: number;
  readonly weight: number;
}
export interface GraphRow {
  /** Null for what is in no layer: inputs below, outputs above. */
  readonly layer: number | null;
  /** Rank within the layer: what reads from a node of the same layer stands above it. */
  readonly rank: number;
  /** Nodes from left to right. */
  readonly nodes: readonly number[];
}
export interface GraphPlan {
  readonly amounts: Float32Array;
  readonly weights: Float32Array;
  /** From the weakest to the strongest, so that the strongest lie on top. */
  readonly edges: readonly PlannedEdge[];
  /** How many have a number other than 0, and how many are not computed yet. */
  readonly known: number;
  readonly pending: number;
  /** How many of them are the strongest of all, and the smallest |weight| of those; the others are the selected node's. */
  readonly strongest: number;
  readonly least: number;
  /** From the bottom up. */
  readonly rows: readonly GraphRow[];
}

/** The node that says most of a place, -1 when none is there. */
export function nodeOf({ nodes }: GraphFigure, place: Place | undefined): number {
  if (place === undefined) return -1;
  const found = nodes.flatMap((node, index) => (samePlace(node.place, place) ? [{ index, said: Object.keys(node.place).length }] : []));
  return found.toSorted((a, b) => b.said - a.said)[0]?.index ?? -1;
}

/** How many more edges the selected node shows of its own. */
const mostOwn = 16;

/** @param most edges drawn, besides those of the selected node */
export function planGraph(figure: GraphFigure, arrays: Arrays, most: number, selected: Place | undefined): GraphPlan {
  const weights = numbersOf(arrays, figure.weights.values, figure.edges.length);
  const amounts = numbersOf(arrays, figure.amounts.values, figure.nodes.length);
  const all = figure.edges
    .map(({ from, to }, index): PlannedEdge => ({ index, from, to, weight: weights[index] ?? NaN }))
    .filter(({ from, to, weight }) => figure.nodes[from] !== undefined && figure.nodes[to] !== undefined && Number.isFinite(weight) && weight !== 0)
    .toSorted((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  const strongest = all.slice(0, most);
  const own = nodeOf(figure, selected);
  const ofSelected = own < 0 ? [] : all.slice(most).filter(({ from, to }) => from === own || to === own);
  const edges = [...strongest, ...ofSelected.slice(0, mostOwn)].reverse();
  const drawn = new Set(edges.flatMap(({ from, to }) => [from, to]));
  if (own >= 0) drawn.add(own);
  // Without edges there are still nodes to see.
  const nodes = drawn.size > 0 ? [...drawn].toSorted((a, b) => a - b) : figure.nodes.map((_, index) => index).slice(0, most);
  return {
    amounts,
    weights,
    edges,
    known: all.length,
    pending: weights.filter(Number.isNaN).length,
    strongest: strongest.length,
    least: Math.abs(strongest.at(-1)?.weight ?? 0),
    rows: ordered(figure, rowsOf(figure, nodes, edges), edges),
  };
}

function rowsOf(figure: GraphFigure, nodes: readonly number[], edges: readonly PlannedEdge[]): GraphRow[] {
  const layerOf = (node: number): number | null => figure.nodes[node]?.place.layer ?? null;
  // Longest path inside a layer; a circle would have none, so it ends after as many rounds as there are nodes.
  const ranks = new Map(nodes.map((node) => [node, 0]));
  const inside = edges.filter(({ from, to }) => from !== to && layerOf(from) !== null && layerOf(from) === layerOf(to));
  for (let round = 0, isChanged = true; isChanged && round < Math.min(nodes.length, 8); round++) {
    isChanged = false;
    for (const { from, to } of inside) {
      const rank = (ranks.get(from) ?? 0) + 1;
      if (rank <= (ranks.get(to) ?? 0)) continue;
      ranks.set(to, rank);
      isChanged = true;
    }
  }
  // What is in no layer and only sends is an input.
  const receives = new Set(edges.map(({ to }) => to));
  const height = (node: number): number => layerOf(node) ?? (receives.has(node) ? Infinity : -Infinity);
  const rows = new Map<string, { readonly layer: number | null; readonly rank: number; readonly at: number; readonly nodes: number[] }>();
  for (const node of nodes) {
    const [at, rank] = [height(node), ranks.get(node) ?? 0];
    const row = rows.get(`${at} ${rank}`) ?? { layer: layerOf(node), rank, at, nodes: [] };
    row.nodes.push(node);
    rows.set(`${at} ${rank}`, row);
  }
  return [...rows.values()].toSorted((a, b) => (a.at === b.at ? a.rank - b.rank : a.at - b.at));
}

const sweeps = 6;

/** By position where nodes have one; else each node near the mean of those it is joined to, a few sweeps up and down. @see Sugiyama, Tagawa & Toda 1981 */
function ordered(figure: GraphFigure, rows: readonly GraphRow[], edges: readonly PlannedEdge[]): GraphRow[] {
  const positionOf = (node: number): number => figure.nodes[node]?.place.position ?? -1;
  if (rows.some(({ nodes }) => nodes.some((node) => positionOf(node) >= 0)))
    return rows.map((row) => ({ ...row, nodes: row.nodes.toSorted((a, b) => positionOf(a) - positionOf(b) || a - b) }));
  const joined = new Map<number, number[]>();
  for (const { from, to } of edges) {
    joined.set(from, [...(joined.get(from) ?? []), to]);
    joined.set(to, [...(joined.get(to) ?? []), from]);
  }
  const at = new Map<number, number>();
  const settle = (row: GraphRow): void => row.nodes.forEach((node, index) => at.set(node, (index + 0.5) / row.nodes.length));
  let found = [...rows];
  found.forEach(settle);
  for (let sweep = 0; sweep < sweeps; sweep++) {
    found = found.map((row) => {
      const wanted = new Map(row.nodes.map((node) => [node, mean(joined.get(node) ?? [], (other) => at.get(other) ?? 0.5) ?? at.get(node) ?? 0.5]));
      const next = { ...row, nodes: row.nodes.toSorted((a, b) => (wanted.get(a) ?? 0) - (wanted.get(b) ?? 0) || a - b) };
      settle(next);
      return next;
    });
  }
  return found;
}

/** The edges of a node that have a weight, strongest first. @param end "from": those that go out; "to": those that come in */
export const strongestEdges = (figure: GraphFigure, weights: Float32Array, node: number, end: "from" | "to"): PlannedEdge[] =>
  figure.edges
    .map((edge, index) => ({ ...edge, index, weight: weights[index] ?? NaN }))
    .filter((edge) => edge[end] === node && Number.isFinite(edge.weight) && edge.weight !== 0)
    .toSorted((a, b) => Math.abs(b.weight) - Math.abs(a.weight));

/** How many edges can be drawn; more would hide each other. */
export const counts = [40, 120, 400] as const;
export const countWords = (count: number): string => `${count} edges`;
export const countOf = (look: string | undefined): number => counts.find((count) => countWords(count) === look) ?? counts[0];
