/** Tables on the page: what they show, and in which order. */
import { expect, it } from "vitest";
import { htmlOf } from "../../client/figures/aboutFigure.ts";
import { nextSorting, sortedRows, type HtmlTable } from "../../client/figures/htmlTable.ts";
import { examples } from "../figures/examples.ts";

const table: HtmlTable = {
  columns: [
    { id: "site", label: "site", isNumeric: false },
    { id: "norm", label: "norm", isNumeric: true },
  ],
  rows: [
    ["L10.mlp", 2],
    ["L2.mlp", null],
    ["L1.attn", -3],
    ["L1.attn", 2],
    ["", NaN],
  ].map((values) => ({ cells: values.map((value) => ({ text: String(value), value: value ?? null })), place: null, warning: null })),
};
const sorted = (column: string, isAscending: boolean) => sortedRows(table, { column, isAscending }).map(({ cells }) => cells.map(({ text }) => text).join(" "));

it("sorts numbers by size and names by their own numbers; what has no value is last either way, what is equal stays in order", () => {
  expect(sorted("norm", false)).toEqual(["L10.mlp 2", "L1.attn 2", "L1.attn -3", "L2.mlp null", " NaN"]);
  expect(sorted("norm", true)).toEqual(["L1.attn -3", "L10.mlp 2", "L1.attn 2", "L2.mlp null", " NaN"]);
  expect(sorted("site", true)).toEqual(["L1.attn -3", "L1.attn 2", "L2.mlp null", "L10.mlp 2", " NaN"]);
  expect(sortedRows(table, null)).toBe(table.rows);
});

it("goes from the likelier order to the other and back to the probe's", () => {
  const [words, numbers] = table.columns as [HtmlTable["columns"][number], HtmlTable["columns"][number]];
  const after = (column: typeof words, clicks: number) =>
    Array.from({ length: clicks }).reduce<ReturnType<typeof nextSorting>>((now) => nextSorting(column, now), null);
  expect([1, 2, 3].map((clicks) => after(numbers, clicks))).toEqual([{ column: "norm", isAscending: false }, { column: "norm", isAscending: true }, null]);
  expect([1, 2, 3].map((clicks) => after(words, clicks))).toEqual([{ column: "site", isAscending: true }, { column: "site", isAscending: false }, null]);
  expect(nextSorting(words, { column: "norm", isAscending: true })).toEqual({ column: "site", isAscending: true });
});

it("of a figure has its numbers as they are written in the picture, its places and warnings", () => {
  const html = htmlOf(examples.table!.figure);
  expect(html?.columns.map(({ label, isNumeric }) => [label, isNumeric])).toContainEqual(["σ (largest)", true]);
  expect(html?.rows[4]?.cells.map(({ text }) => text)).toContain("–");
  expect(html?.rows[4]).toMatchObject({ place: { layer: 4, site: "blocks.4.mlp.in" }, warning: "blocks.4.mlp.in was never trained" });
  expect(htmlOf(examples.bars!.figure)).toBeNull();
});
