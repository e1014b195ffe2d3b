/** Pointing at figures, walking through them by key, and reading numbers off. */
import { describe, expect, test } from "vitest";
import { firstPlace, neighbour, numbersAt, valueAt } from "../../client/figures/aboutFigure.ts";
import type { Place } from "../../probes/result.ts";
import { draw } from "./drawing.ts";
import { examples } from "./examples.ts";

const patching = examples.patching!;

describe("the cell under a point", () => {
  test("names panel, layer and token with its index, and has the value the array has", () => {
    const { drawing, all } = draw(patching);
    const rect = all("rect.cell")[3 * 10 + 5]!;
    const hover = drawing.cellAt(Number(rect.getAttribute("x")) + 3, Number(rect.getAttribute("y")) + 3)!;
    expect(hover.label).toBe("Residual stream, layer 3, venia [5]");
    expect(hover.place).toEqual({ layer: 3, position: 5, site: "resid_pre" });
    expect(hover.value).toBe(patching.arrays.restored!.data[3 * 10 + 5]);
    expect(hover.lines.map(({ label }) => label)).toEqual([
      "normalised logit difference, 1 = adapted behaviour restored",
      "KL to the adapted run",
      "95 % of random directions of equal norm",
    ]);
  });

  test("is nothing outside the cells", () => {
    expect(draw(patching).drawing.cellAt(1, 1)).toBeNull();
  });

  // The loss is nowhere in the network.
  test.each(Object.keys(examples).filter((name) => name !== "loss"))("of %s has a place that the figure marks again", (name) => {
    const example = examples[name]!;
    const { drawing, all } = draw(example);
    let found: Place | null = null;
    for (let y = 2; y < drawing.height && !found; y += 6) for (let x = 2; x < 860 && !found; x += 6) found = drawing.cellAt(x, y)?.place ?? null;
    expect(found).not.toBeNull();
    expect(all("rect.selected")).toHaveLength(0);
    expect(draw(example, { selection: { place: found!, figure: example.figure.id } }).all("rect.selected").length).toBeGreaterThan(0);
  });
});

describe("arrow keys", () => {
  test("move by one layer up and down and by one token left and right", () => {
    const place = { layer: 3, position: 5, site: "mlp_out" };
    expect(neighbour(patching.figure, place, "ArrowUp")).toEqual({ ...place, layer: 4 });
    expect(neighbour(patching.figure, place, "ArrowDown")).toEqual({ ...place, layer: 2 });
    expect(neighbour(patching.figure, place, "ArrowLeft")).toEqual({ ...place, position: 4 });
    expect(neighbour(patching.figure, place, "ArrowRight")).toEqual({ ...place, position: 6 });
  });

  test("lead from the side of a panel into the one beside it, and stop at the last", () => {
    expect(neighbour(patching.figure, { layer: 3, position: 9, site: "resid_pre" }, "ArrowRight")).toEqual({ layer: 3, position: 0, site: "attn_out" });
    expect(neighbour(patching.figure, { layer: 3, position: 9, site: "mlp_out" }, "ArrowRight")).toBeNull();
    expect(neighbour(patching.figure, { layer: 11, position: 0, site: "mlp_out" }, "ArrowUp")).toBeNull();
  });

  test("walk through components, bars, heads and rows", () => {
    const component = neighbour(examples.components!.figure, { layer: 3, site: "mlp.in", component: 7 }, "ArrowRight");
    expect(component).toEqual({ layer: 3, site: "mlp.out", component: 0 });
    const bars = examples.bars!.figure;
    const first = bars.kind === "bars" ? bars.bars.map(({ place }) => place) : [];
    expect(neighbour(bars, first[0]!, "ArrowRight")).toEqual(first[1]);
    expect(neighbour(bars, first[0]!, "ArrowLeft")).toBeNull();
    expect(neighbour(examples.attention!.figure, { layer: 2, head: 7 }, "ArrowRight")).toBeNull();
    expect(neighbour(examples.attention!.figure, { layer: 2, head: 6 }, "ArrowRight")).toEqual({ layer: 2, head: 7 });
    expect(neighbour(examples.table!.figure, { layer: 3, site: "blocks.3.mlp.in" }, "ArrowDown")).toEqual({ layer: 4, site: "blocks.4.mlp.in" });
    const { figure, arrays } = examples.spectrum!;
    const here = { layer: 3, site: "blocks.3.mlp.in", component: 7, adapter: "facts-edit" };
    expect(neighbour(figure, here, "ArrowRight", arrays)).toBeNull();
    expect(neighbour(figure, here, "ArrowUp", arrays)).toEqual({ ...here, layer: 4, site: "blocks.4.mlp.in" });
  });

  test("other keys lead nowhere", () => {
    expect(neighbour(patching.figure, { layer: 3, position: 5 }, "Enter")).toBeNull();
  });
});

describe("without a pin", () => {
  test.each(Object.keys(examples).filter((name) => name !== "loss"))("the first place of %s is one that the figure marks", (name) => {
    const { figure, arrays } = examples[name]!;
    const place = firstPlace(figure, arrays)!;
    expect(draw(examples[name]!, { selection: { place, figure: figure.id } }).all("rect.selected").length).toBeGreaterThan(0);
  });

  test("it is the strongest cell of a heatmap", () => {
    expect(firstPlace(examples.heads!.figure, examples.heads!.arrays)).toEqual({ layer: 9, head: 6 });
    expect(numbersAt(examples.heads!.figure, examples.heads!.arrays, { layer: 9, head: 6 }, null)[0]!.value).toBeCloseTo(0.71, 6);
  });
});

describe("the value at a place", () => {
  test("is the number of the array, NaN while pending and null where the figure has no such place", () => {
    const { figure, arrays } = patching;
    expect(valueAt(figure, arrays, "restored", { layer: 2, position: 5, site: "mlp_out" })).toBe(arrays.restored!.data[2 * 120 + 2 * 10 + 5]);
    expect(valueAt(figure, arrays, "restored", { layer: 11, position: 5, site: "mlp_out" })).toBeNaN();
    expect(valueAt(figure, arrays, "restored", { layer: 12, position: 5, site: "mlp_out" })).toBeNull();
    expect(valueAt(figure, arrays, "restored", { layer: 2 })).toBeNull();
  });

  test("finds a component by the full or the short name of its site", () => {
    const { figure, arrays } = examples.components!;
    const expected = arrays.grid!.data[3 * 48 + 32];
    expect(valueAt(figure, arrays, undefined, { layer: 3, site: "blocks.3.mlp.in", component: 0 })).toBe(expected);
    expect(valueAt(figure, arrays, undefined, { layer: 3, site: "mlp.in", component: 0 })).toBe(expected);
  });

  test("of a figure over steps is the last one up to the step, and the newest when none is named", () => {
    const { figure, arrays } = examples.siteLines!;
    const place = { layer: 3, site: "blocks.3.mlp.in" };
    const row = arrays.norm!.data.subarray(15 * 50, 16 * 50);
    expect(valueAt(figure, arrays, undefined, place)).toBe(row[49]);
    expect(valueAt(figure, arrays, undefined, place, 125)).toBe(row[12]);
    const { figure: ridges, arrays: spectra } = examples.ridgeline!;
    const component = { layer: 1, site: "blocks.1.attn.qkv", component: 2 };
    expect(valueAt(ridges, spectra, undefined, component, 95)).toBe(spectra.spectra!.data[(45 + 9) * 8 + 2]);
    expect(valueAt(ridges, spectra, undefined, component)).toBe(spectra.spectra!.data[(45 + 29) * 8 + 2]);
  });
});
