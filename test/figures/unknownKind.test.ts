/** A figure of a kind that this version does not know, as a result of another version may hold: said in words wherever it would be drawn. */
import { expect, test } from "vitest";
import { figureRefs, firstPlace, metricsOf, numbersAt } from "../../client/figures/aboutFigure.ts";
import { figureCsv, figureJson } from "../../client/figures/figureData.ts";
import { figureAtStep } from "../../client/figures/snapshots.ts";
import type { AnyFigure } from "../../probes/result.ts";
import { renderFigurePng, renderFigureSvg } from "../../server/reports/renderFigure.ts";
import { draw, labelsOf } from "./drawing.ts";

const figure: AnyFigure & { readonly points: { readonly array: string } } = {
  kind: "hologram",
  id: "ghost",
  title: "Of tomorrow",
  subtitle: "By a later version",
  points: { array: "points" },
};

// Names that every object has are no kinds either.
test.each(["hologram", "toString", "constructor"])("the picture says that “%s” is not known, and what is", (kind) => {
  const { texts, all } = draw({ figure: { ...figure, kind }, arrays: {} });
  expect(texts().join(" ")).toContain(`The figure “ghost” is of the kind “${kind}”; this version of Deltascope draws heatmap, `);
  expect(all("svg text").length).toBe(texts().length);
});

test("files say it too", () => {
  const svg = renderFigureSvg(figure, {}, { theme: "light", metadata: {} });
  expect(svg).toContain("Of tomorrow");
  expect(labelsOf(svg).join(" ")).toContain("is of the kind “hologram”");
  expect(renderFigurePng(svg, 1).length).toBeGreaterThan(100);
  expect(figureCsv(figure, {})).toMatch(/^note\r\n.*hologram/);
  expect(figureJson(figure, {})).toEqual(figure);
});

test("what is asked of any figure has an answer", () => {
  expect(firstPlace(figure, {})).toBeNull();
  expect(metricsOf(figure)).toEqual([]);
  expect(numbersAt(figure, {}, { layer: 1 }, null)).toEqual([]);
  expect(figureRefs(figure)).toEqual([]);
  expect(figureAtStep({ ...figure, steps: { array: "steps" } }, {}, 3).id).toBe("ghost");
});
