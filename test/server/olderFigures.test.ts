/** Results written before axes held places open with the places that their probes would make today. */
import { expect, it } from "vitest";
import { componentColumns, headAxis, layerAxis, layerRows, positionAxis, siteAxis } from "../../probes/axes.ts";
import type { Axis, Figure, HeatmapFigure, TokenGridFigure } from "../../probes/result.ts";
import { figureOfFile } from "../../server/jobs/olderFigures.ts";

const head = { id: "f", title: "Figure", subtitle: "By hand" };
const heatmap = (panels: HeatmapFigure["panels"]): HeatmapFigure => ({ kind: "heatmap", ...head, metrics: [], panels });
const panel = (id: string, rows: Axis, cols: Axis) => ({ id, title: id, rows, cols, values: {} });
/** The JSON of before: axes without places, panels without a place. */
const asBefore = (figure: Figure): Figure =>
  JSON.parse(JSON.stringify(figure, (key, value: unknown) => (key === "places" || key === "place" ? undefined : value))) as Figure;

const parts = (adapters: readonly string[]) =>
  adapters.flatMap((adapter) => ["blocks.0.mlp.in", "blocks.1.attn.q"].flatMap((site) => [0, 1].map((component) => ({ adapter, site, component }))));
const stacks = layerRows([
  { label: "encoder 0", layer: 0, stack: "encoder" },
  { label: "decoder 0", layer: 0, stack: "decoder" },
]);
const patching = ["resid_pre", "mlp_out"].map((site) => ({ ...panel(site, layerAxis(3), positionAxis(["a", " b"])), place: { site } }));
const lens: TokenGridFigure = { kind: "tokenGrid", ...head, rows: layerAxis(4, "out"), cols: positionAxis(["a", "7"]), panels: [], tokens: {} };

it.each([
  ["layers and tokens, a panel for each activation", heatmap(patching)],
  ["heads", heatmap([panel("heads", layerAxis(3), headAxis(2))])],
  ["components of one adapter", heatmap([panel("one", layerAxis(2), componentColumns(parts(["a"])).axis)])],
  ["components of several adapters, whose names may hold anything", heatmap([panel("two", layerAxis(2), componentColumns(parts(["a·b#1", "b"])).axis)])],
  ["sites in two stacks", heatmap([panel("sites", stacks, siteAxis(["attn.q", "mlp.in"]))])],
  ["some layers only", heatmap([panel("sites", layerRows([{ label: "7", layer: 7, stack: "" }]), siteAxis(["mlp.in"]))])],
  ["a lens", lens],
] as const)("%s", (_, figure) => {
  expect(asBefore(figure)).not.toEqual(figure);
  expect(figureOfFile(asBefore(figure))).toEqual(figure);
  expect(figureOfFile(figure)).toEqual(figure);
});
