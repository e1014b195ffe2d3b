/** The lens as it is shown: a grid of layers and positions for base, adapted and what lies between them. */
import { layerAxis, positionAxis } from "../axes.ts";
import type { Metric, ProbeEvent, TokenGridFigure } from "../result.ts";
import type { LensCell } from "./lensCells.ts";

const probability: Metric = { id: "probability", label: "probability of the top token", unit: "0 to 1", scale: "sequential", domain: [0, 1] };
const divergence: Metric = { id: "kl", label: "KL of adapted from base", unit: "nats", scale: "sequential" };

const panels = {
  base: { title: "Base", metric: probability },
  adapted: { title: "Adapted", metric: probability },
  difference: { title: "Adapted − base", metric: divergence },
};
export type LensPanel = keyof typeof panels;

const arraysOf = (panel: LensPanel) => ({ value: `${panel}.value`, ids: `${panel}.top_ids`, values: `${panel}.top_values` });

/** @param k tokens kept in a cell */
export function* lensArrays(shown: readonly LensPanel[], rows: number, positions: number, k: number): Generator<ProbeEvent> {
  for (const panel of shown) {
    const { value, ids, values } = arraysOf(panel);
    yield { type: "array", name: value, shape: [rows, positions], axes: ["layer", "position"] };
    for (const name of [ids, values]) yield { type: "array", name, shape: [rows, positions, k], axes: ["layer", "position", "rank"] };
  }
}

/** A row of a panel, from the cells of all positions. */
export function* lensRow(panel: LensPanel, row: number, cells: readonly LensCell[]): Generator<ProbeEvent> {
  const { value, ids, values } = arraysOf(panel);
  yield { type: "tile", array: value, offset: row * cells.length, data: Float32Array.from(cells, (cell) => cell.value) };
  for (const [array, top] of [
    [ids, cells.flatMap((cell) => cell.ids)],
    [values, cells.flatMap((cell) => cell.values)],
  ] as const)
    yield { type: "tile", array, offset: row * top.length, data: Float32Array.from(top) };
}

/** @param texts of every token id that the cells hold */
export function lensFigure(shown: readonly LensPanel[], nLayers: number, tokens: readonly string[], texts: Readonly<Record<number, string>>): TokenGridFigure {
  return {
    kind: "tokenGrid",
    id: "lens",
    title: "Logit lens",
    subtitle:
      shown.length > 1
        ? "Residual before each block read as a prediction · base and adapted: top token and its probability · difference: KL in " +
          "nats, and the token that gains most"
        : "Residual before each block read as a prediction: top token and its probability",
    rows: layerAxis(nLayers, "out"),
    cols: positionAxis(tokens),
    panels: shown.map((panel) => {
      const { value, ids, values } = arraysOf(panel);
      return { id: panel, ...panels[panel], values: { array: value }, topIds: { array: ids }, topValues: { array: values } };
    }),
    tokens: texts,
  };
}
