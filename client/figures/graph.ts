/** A graph in layers, upward: the strongest edges, and what they join. */
import type { GraphFigure, Place } from "../../probes/result.ts";
import { arrowStep, type Arrays } from "./context.ts";
import { adaptersOfPlaces, type FigureModule } from "./figureModule.ts";
import { drawGraph } from "./graphDrawing.ts";
import { countOf, counts, countWords, nodeOf, planGraph, strongestEdges } from "./graphPlan.ts";
import { numbersOf, placeCells, placeColumns } from "./places.ts";

const amountsOf = (figure: GraphFigure, arrays: Arrays): Float32Array => numbersOf(arrays, figure.amounts.values, figure.nodes.length);

export const graph: FigureModule<GraphFigure> = {
  draw: drawGraph,
  /** Up and down along the strongest edge out and in, sideways through the layer. */
  neighbour(figure, place, key, arrays) {
    const own = nodeOf(figure, place);
    if (own < 0) return null;
    const { right, up } = arrowStep[key];
    const at = (node: number | undefined): Place | null => (node === undefined ? null : (figure.nodes[node]?.place ?? null));
    if (up !== 0) {
      const [edge] = strongestEdges(figure, numbersOf(arrays, figure.weights.values, figure.edges.length), own, up > 0 ? "from" : "to");
      return at(edge && (up > 0 ? edge.to : edge.from));
    }
    const { rows } = planGraph(figure, arrays, counts[0], place);
    const row = rows.find(({ nodes }) => nodes.includes(own))?.nodes ?? [];
    return at(row[row.indexOf(own) + right]);
  },
  valueAt(figure, arrays, _metric, place) {
    const node = nodeOf(figure, place);
    return node < 0 ? null : (amountsOf(figure, arrays)[node] ?? NaN);
  },
  refs: (figure, change) => ({
    ...figure,
    amounts: { ...figure.amounts, values: change(figure.amounts.values, [figure.nodes.length]) },
    weights: { ...figure.weights, values: change(figure.weights.values, [figure.edges.length]) },
  }),
  /** The largest node that has an edge. */
  firstPlace(figure, arrays) {
    const amounts = amountsOf(figure, arrays);
    const size = (node: number): number => Math.abs(amounts[node] ?? NaN) || 0;
    const [first] = planGraph(figure, arrays, counts[0], undefined)
      .rows.flatMap(({ nodes }) => nodes)
      .toSorted((a, b) => size(b) - size(a));
    return first === undefined ? null : (figure.nodes[first]?.place ?? null);
  },
  numberWords: ({ amounts }) => ({ label: amounts.metric.label, unit: amounts.metric.unit }),
  beside(figure, arrays, place) {
    const weights = numbersOf(arrays, figure.weights.values, figure.edges.length);
    const node = nodeOf(figure, place);
    const list = (end: "from" | "to") => strongestEdges(figure, weights, node, end).slice(0, 5);
    const numbers = [
      ...list("to").map(({ from, weight }) => ({ label: `from ${figure.nodes[from]?.label ?? ""}`, value: weight })),
      ...list("from").map(({ to, weight }) => ({ label: `to ${figure.nodes[to]?.label ?? ""}`, value: weight })),
    ];
    return { title: `Strongest edges, ${figure.weights.metric.label}`, numbers };
  },
  looks(figure, asked) {
    const choices = counts.filter((count, index) => index === 0 || (counts[index - 1] ?? 0) < figure.edges.length).map(countWords);
    return choices.length > 1 ? { choices, shown: countWords(countOf(asked)) } : null;
  },
  tokens: ({ tokens = [] }) => tokens,
  adapters: ({ nodes }) => adaptersOfPlaces(nodes.map(({ place }) => place)),
  table(figure, arrays) {
    const weights = numbersOf(arrays, figure.weights.values, figure.edges.length);
    const amounts = amountsOf(figure, arrays);
    const name = (node: number): string => figure.nodes[node]?.label ?? "";
    return {
      columns: ["part", "from", "to", ...placeColumns, "value"],
      rows: [
        ...figure.nodes.map(({ label, place }, node) => ["node", label, null, ...placeCells(place), amounts[node] ?? null]),
        ...figure.edges.map(({ from, to }, edge) => ["edge", name(from), name(to), ...placeCells(figure.nodes[to]?.place ?? {}), weights[edge] ?? null]),
      ],
    };
  },
};
