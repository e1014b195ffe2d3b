/** A figure kind of another's making: an interface, a module and a line, and everything that is done with figures is done with it. */
import { readFileSync } from "node:fs";
import { expect, it, vi } from "vitest";
import { curvesOf, figureAtSnapshot, figureRefs, firstPlace, neighbour, numbersAt, valueAt } from "../../client/figures/aboutFigure.ts";
import { figureJson } from "../../client/figures/figureData.ts";
import { figureAtStep } from "../../client/figures/snapshots.ts";
import { comparedFigures } from "../../client/views/comparedFigures.ts";
import { layerAxis } from "../../probes/axes.ts";
import { renderFigureFile } from "../../server/reports/figureFile.ts";
import type { RunRecord } from "../../server/wire.ts";
import { draw } from "../figures/drawing.ts";
import { array } from "../figures/exampleNumbers.ts";
import type { StripFigure } from "../fixtures/stripKind.ts";

// The line in the table.
vi.mock("../../client/figures/modules.ts", async (original) => {
  const [{ modules }, { strip }] = await Promise.all([original<typeof import("../../client/figures/modules.ts")>(), import("../fixtures/stripKind.ts")]);
  return { modules: { ...modules, strip } };
});

const figure: StripFigure = {
  kind: "strip",
  id: "norms",
  title: "Norms",
  subtitle: "Of the residual stream",
  layers: layerAxis(4),
  metric: { id: "norm", label: "norm of the stream", unit: "Frobenius", scale: "sequential" },
  values: { array: "norm" },
};
const arrays = { norm: array([4], ["layer"], (layer) => (layer === 3 ? NaN : layer + 1)) };
const request = { figure, arrays, theme: "light", metadata: "deltascope probe" } as const;

it("is drawn on screen and under the pointer, pending and marked", () => {
  const { drawing, all, texts } = draw({ figure, arrays }, { selection: { place: { layer: 2, head: 5 }, figure: "another" } });
  expect(all("rect.cell")).toHaveLength(4);
  expect(all("rect.cell.pending")).toHaveLength(1);
  expect(all("rect.selected")).toHaveLength(2);
  expect(texts()).toContain("norm of the stream, Frobenius");
  expect(drawing.cellAt(25, 5)).toMatchObject({ place: { layer: 1 }, label: "layer 1", value: 2 });
});

it("is exported as SVG, PNG, PDF, CSV and JSON", async () => {
  const svg = String((await renderFigureFile({ ...request, format: "svg" })).body);
  expect(svg.match(/class="cell[ "]/g)).toHaveLength(4);
  expect(
    Buffer.from((await renderFigureFile({ ...request, format: "png" })).body)
      .subarray(1, 4)
      .toString(),
  ).toBe("PNG");
  expect((await renderFigureFile({ ...request, format: "csv" })).body).toBe("layer,norm\r\n0,1\r\n1,2\r\n2,3\r\n3,\r\n");
  expect(figureJson(figure, arrays)).toMatchObject({ values: { shape: [4], axes: ["layer"], data: [1, 2, 3, null] } });
});

it("is asked for its arrays, its first place, its numbers and the way from one to the next", () => {
  expect(figureRefs(figure)).toEqual([{ ref: { array: "norm" }, shape: [4] }]);
  expect(firstPlace(figure, arrays)).toEqual({ layer: 0 });
  expect(neighbour(figure, { layer: 0 }, "ArrowRight")).toEqual({ layer: 1 });
  expect(neighbour(figure, { layer: 3 }, "ArrowRight")).toBeNull();
  expect(valueAt(figure, arrays, undefined, { layer: 9 })).toBeNull();
  expect(numbersAt(figure, arrays, { layer: 1 }, null)).toEqual([expect.objectContaining({ label: "norm of the stream", unit: "Frobenius", value: 2 })]);
});

it("stands at one of its snapshots, because its pointers are known", () => {
  const steps = { ...figure, steps: { array: "steps" } };
  const over = { steps: array([2], ["snapshot"], (at) => 10 * at), norm: array([2, 4], ["snapshot", "layer"], (at, layer) => 100 * at + layer) };
  expect(figureAtSnapshot(steps, 1)).toMatchObject({ values: { array: "norm", at: [1] } });
  expect(valueAt(figureAtStep(steps, over, 4), over, undefined, { layer: 2 })).toBe(2);
  expect(valueAt(figureAtStep(steps, over, null), over, undefined, { layer: 2 })).toBe(102);
});

it("is laid over the same one of another run", () => {
  expect([...(curvesOf(figure, arrays)[0]?.values ?? [])]).toEqual([1, 2, 3, NaN]);
  const subject = { model: null, adapters: [] };
  const record = (id: string): Partial<RunRecord> => ({ id, request: { subject, probe: "train", params: { name: id } } });
  const run = (id: string) => ({ record: record(id) as RunRecord, figures: [figure], arrays });
  const [compared] = comparedFigures([run("first"), run("second")]);
  expect(compared?.figure).toMatchObject({ kind: "lines", title: "Norms", y: { label: "norm of the stream" } });
  expect(compared?.figure.series).toHaveLength(2);
});

it("is what the page about adding one quotes", () => {
  const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
  const quoted = read("docs/adding-a-view.md")
    .split("\n")
    .filter((line) => line.startsWith("    "))
    .map((line) => line.slice(4));
  const source = read("test/fixtures/stripKind.ts").trimEnd().split("\n");
  const lines = new Set(source);
  expect(quoted.length).toBeGreaterThan(20);
  expect(quoted.filter((line) => line.trim() !== "…" && !lines.has(line))).toEqual([]);
  expect(read("docs/adding-a-view.md")).toContain(`in ${source.length} lines`);
});
