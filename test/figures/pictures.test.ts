/** Figures as text: what is drawn, where, and in which colour. */
import { describe, expect, test } from "vitest";
import { mostVectorCells } from "../../client/figures/cells.ts";
import { dark, light } from "../../client/figures/theme.ts";
import { layerAxis, positionAxis } from "../../probes/axes.ts";
import type { HeatmapFigure } from "../../probes/result.ts";
import { draw } from "./drawing.ts";
import { array, dense, examples, type Example } from "./examples.ts";

const number = (node: Element, name: string): number => Number(node.getAttribute(name));
/** `#rrggbb` and `rgb(r, g, b)` alike. */
const channels = (colour: string): number[] =>
  colour.startsWith("#") ? [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)) : (colour.match(/\d+/g) ?? []).map(Number);

/** Two layers, three tokens: most negative, zero, most positive; then pending, clipped, zero. */
function small(values: readonly number[] = [-1, 0, 1, NaN, 1.5, 0]): Example {
  const figure: HeatmapFigure = {
    kind: "heatmap",
    id: "small",
    title: "Small",
    subtitle: "By hand",
    metrics: [{ id: "m", label: "difference", unit: "1 = restored", scale: "diverging", domain: [-1, 1] }],
    panels: [
      {
        id: "p",
        title: "Panel",
        rows: layerAxis(2),
        cols: positionAxis(["The", " capital", "\n"]),
        values: { m: { array: "values" } },
      },
    ],
  };
  return { figure, arrays: { values: array([2, 3], ["layer", "position"], (row, col) => values[row * 3 + col]!) } };
}

describe("a heatmap", () => {
  test("has one rectangle a cell", () => {
    expect(draw(examples.patching!).all("rect.cell")).toHaveLength(3 * 12 * 10);
  });

  test.each([
    ["light", light],
    ["dark", dark],
  ] as const)("fills zero with the panel's colour in %s", (_, theme) => {
    const cells = draw(small(), { theme }).all("rect.cell");
    expect(channels(cells[1]!.getAttribute("fill")!)).toEqual(channels(theme.panel));
    expect(channels(cells[0]!.getAttribute("fill")!)).toEqual(channels(theme.diverging[0]!));
    expect(channels(cells[2]!.getAttribute("fill")!)).toEqual(channels(theme.diverging.at(-1)!));
  });

  test("hatches what is not computed yet and says so", () => {
    const { all, texts } = draw(small());
    const pending = all("rect.pending");
    expect(pending).toHaveLength(1);
    expect(pending[0]!.getAttribute("fill")).toMatch(/^url\(#.*hatch\)$/);
    expect(all(`pattern[id="${/#(.*)\)/.exec(pending[0]!.getAttribute("fill")!)![1]!}"]`)).toHaveLength(1);
    expect(texts()).toContain("not computed yet");
    expect(draw(small([0, 0, 0, 0, 0, 0])).texts()).not.toContain("not computed yet");
  });

  test("draws layers upward with 0 at the bottom", () => {
    const cells = draw(small()).all("rect.cell");
    expect(number(cells[0]!, "y")).toBeGreaterThan(number(cells[3]!, "y"));
  });

  test("shows spaces as · and newlines as ⏎", () => {
    expect(draw(small()).texts()).toEqual(expect.arrayContaining(["The", "·capital", "⏎"]));
  });

  test("gives the end of the scale a cap where numbers lie beyond it, and counts them", () => {
    const { all, texts } = draw(small());
    expect(all(".cap.high")).toHaveLength(1);
    expect(all(".cap.low")).toHaveLength(0);
    expect(texts()).toContain("1 cell above 1, up to 1.5");
    expect(draw(small([-1, 0, 1, 0, 0.5, 0])).all(".cap")).toHaveLength(0);
  });

  test("takes a symmetric bound from the data when the metric has none", () => {
    const example = small([-0.2, 0, 0.413, 0, 0, 0]);
    const figure = { ...(example.figure as HeatmapFigure), metrics: [{ id: "m", label: "difference", unit: "", scale: "diverging" as const }] };
    expect(draw({ ...example, figure }).texts()).toEqual(expect.arrayContaining(["−0.42", "0.42"]));
  });

  test("marks the selected place in every panel, and its pins", () => {
    const { all } = draw(examples.patching!, { selection: { place: { layer: 3, position: 5 }, figure: "other" }, pins: [{ layer: 7, position: 9 }] });
    // Each mark is a ring of the page's colour and the line on it.
    expect(all("rect.selected")).toHaveLength(3 * 2);
    expect(all("rect.pin")).toHaveLength(3 * 2);
    const cell = all("rect.cell")[3 * 10 + 5]!;
    expect(number(all("rect.selected")[0]!, "x")).toBe(number(cell, "x"));
  });

  test("marks the whole layer when the selected place has no position", () => {
    expect(
      draw(examples.patching!, { selection: { place: { layer: 3, site: "mlp.in", component: 0 }, figure: "other" } }).all("rect.selected.band"),
    ).toHaveLength(3);
  });

  test("writes numbers into cells when there are few", () => {
    expect(draw(examples.heads!).texts()).toContain("0.71");
    expect(draw(examples.dense!).all(".numbers")).toHaveLength(0);
  });

  test("becomes one image a panel above the limit of vector cells", () => {
    const below = draw(dense(64, mostVectorCells / 128));
    expect(below.all("image")).toHaveLength(0);
    expect(below.all("rect.cell")).toHaveLength(mostVectorCells);
    const above = draw(dense(65, mostVectorCells / 128));
    expect(above.all("image")).toHaveLength(2);
    expect(above.all("rect.cell")).toHaveLength(0);
    expect(above.all("rect.pending")).toHaveLength(1);
    expect(above.all("image")[0]!.getAttribute("href")).toMatch(/^data:image\/png;base64,/);
  });

  test("wraps panels that would be too narrow", () => {
    const lefts = (width: number) =>
      new Set(
        draw(examples.patching!, { width })
          .all("g.panel")
          .map((panel) => number(panel.querySelector("rect.cell")!, "x")),
      ).size;
    expect(lefts(860)).toBe(3);
    expect(lefts(240)).toBe(1);
  });
});

describe("labels", () => {
  test.each([860, 640, 320])("of a long prompt never overlap at %i pixels", (width) => {
    for (const group of draw(dense(), { width }).all("g.columns")) {
      const labels = [...group.querySelectorAll("text")];
      const angle = /rotate\((-?[\d.]+)/.exec(labels[0]!.getAttribute("transform") ?? "rotate(0")![1]!;
      const xs = labels.map((label) => number(label, "x")).sort((a, b) => a - b);
      const apart = Math.min(...xs.slice(1).map((x, index) => x - xs[index]!)) * Math.abs(Math.sin((Number(angle) * Math.PI) / 180));
      expect(apart).toBeGreaterThanOrEqual(number(labels[0]!, "font-size"));
    }
  });

  test.each(Object.keys(examples))("of %s stay inside the picture", (name) => {
    for (const width of [860, 317]) {
      for (const text of draw(examples[name]!, { width }).all("text")) {
        expect(number(text, "x"), text.textContent).toBeGreaterThanOrEqual(0);
        // A table that is too wide is drawn smaller as a whole.
        const shrink = Number(/scale\(([\d.]+)\)/.exec(text.parentElement?.getAttribute("transform") ?? "")?.[1] ?? 1);
        expect(number(text, "x") * shrink, text.textContent).toBeLessThanOrEqual(width + 0.5);
      }
    }
  });
});

describe("other kinds", () => {
  test("a spectrum has a panel for each site and a curve for each layer", () => {
    const { all } = draw(examples.spectrum!);
    expect(all("g.panel").map((panel) => panel.getAttribute("data-panel"))).toEqual(["attn.q", "attn.k", "attn.v", "attn.o", "mlp.in", "mlp.out"]);
    expect(all("path.curve")).toHaveLength(6 * 12);
  });

  test("a spectrum of few sites labels every curve at its end", () => {
    expect(draw(examples.spectrumFew!).texts()).toEqual(
      expect.arrayContaining(["L0.mlp.in", "L1.mlp.in", "L2.mlp.in", "L0.mlp.out", "L1.mlp.out", "L2.mlp.out"]),
    );
  });

  test("bars take the adapter's colour only where they clear the null", () => {
    const example = examples.barsTwo!;
    const bars = draw(example).all("rect.bar");
    const values = example.arrays.effect!.data;
    const [low, high] = [-0.08, 0.14];
    bars.forEach((bar, index) => {
      const value = values[index]!;
      const expected = Number.isNaN(value)
        ? /^url/
        : value < low || value > high
          ? new RegExp(light.categorical[index < 12 ? 0 : 1]!)
          : new RegExp(light.quiet);
      expect(bar.getAttribute("fill")).toMatch(expected);
    });
    expect(draw(example).texts()).toContain("95 % of random directions: −0.08 to 0.14");
  });

  test("a token grid writes the top token into its cell", () => {
    const { all } = draw(examples.lens!);
    // 13 rows and 10 tokens a panel; the last row of one panel is pending.
    expect(all(".tokens text")).toHaveLength(3 * 130 - 10);
    expect(all("rect.pending")).toHaveLength(10);
  });

  test("attention orders heads by how much they differ and leaves out what is never looked at", () => {
    const example = examples.attention!;
    const turn = example.arrays.turn!.data;
    const { all } = draw(example);
    const most = turn.indexOf(Math.max(...turn));
    const names = all(".thumbnails text").map((text) => text.textContent);
    expect(names[0]).toBe(`L${Math.floor(most / 8)}H${most % 8}`);
    expect(names).toHaveLength(48);
    expect(all("rect.cell")).toHaveLength((3 * 10 * 11) / 2);
  });

  test("curves of few series stand in one plot, each labelled at its end, evaluations with a dot a point", () => {
    const { all, texts } = draw(examples.loss!);
    expect(all("path.curve")).toHaveLength(2);
    expect(texts()).toEqual(expect.arrayContaining(["training", "held out", "L3.mlp.in: direction turns"]));
    expect(all("circle")).toHaveLength(13);
    expect(all("path.step")).toHaveLength(0);
  });

  test("curves of many sites are small multiples by kind of site, a curve a layer, the selected one in ink", () => {
    const example = examples.siteLines!;
    const { all } = draw(example, { selection: { place: example.selection!, figure: "norms" } });
    expect(all("g.panel").map((panel) => panel.getAttribute("data-panel"))).toEqual(["attn.qkv", "attn.o", "mlp.in", "mlp.out"]);
    expect(all("path.curve")).toHaveLength(24);
    expect(all("path.curve").filter((curve) => curve.getAttribute("stroke") === light.ink)).toHaveLength(1);
  });

  test("the slider's step is a rule through every plot, at the step's own place", () => {
    const { all } = draw(examples.siteLines!, { step: 240 });
    const rules = all("path.step").map((rule) => Number(/^M([\d.]+),/.exec(rule.getAttribute("d")!)![1]));
    expect(rules).toHaveLength(4);
    const later = draw(examples.siteLines!, { step: 250 })
      .all("path.step")
      .map((rule) => Number(/^M([\d.]+),/.exec(rule.getAttribute("d")!)![1]));
    later.forEach((x, index) => expect(x).toBeGreaterThan(rules[index]!));
  });

  test("a logarithmic axis leaves out what is not positive and says that it is logarithmic", () => {
    const { figure, arrays } = examples.loss!;
    const withZero = { ...arrays, loss: { ...arrays.loss!, data: arrays.loss!.data.map((value, index) => (index === 5 ? 0 : value)) } };
    const { svg, texts } = draw({ figure, arrays: withZero }, { look: "log" });
    expect(texts().join(" ")).toContain("logarithmic");
    expect(svg.toString()).not.toMatch(/NaN|Infinity/);
  });

  test("a curve whose smoothed one is drawn stays behind it, in a fainter shade and without a label", () => {
    const { figure, arrays } = examples.loss!;
    if (figure.kind !== "lines") throw new Error("not curves");
    const series = [figure.series[0]!, { ...figure.series[0]!, id: "train_smoothed", label: "smoothed" }];
    const { all, texts } = draw({ figure: { ...figure, series }, arrays });
    const [behind, front] = all("path.curve").map((curve) => curve.getAttribute("stroke"));
    expect(front).toBe(light.categorical[0]);
    expect(behind).not.toBe(front);
    expect(texts()).not.toContain("training");
  });

  test("spectra over time are ridges, a row a snapshot that was reached, thinned when there are many", () => {
    const { all } = draw(examples.ridgeline!);
    expect(all("g.panel")).toHaveLength(4);
    // 30 of 45 snapshots are there; more than 24 rows would not be told apart.
    expect(all("path.ridge")).toHaveLength(4 * 24);
  });

  test("the slider's snapshot is among the ridges, in front of the others", () => {
    const { all } = draw(examples.ridgeline!, { step: 150 });
    const panel = all("g.panel")[0]!;
    expect([...panel.querySelectorAll("path.ridge")].at(-1)!.getAttribute("class")).toContain("step");
    expect([...panel.querySelectorAll("text")].map((text) => text.textContent)).toContain("150");
  });

  test("spectra of many sites are heat, a column a snapshot and a row a component; a chosen site stands alone as ridges", () => {
    const example = examples.ridgelineMany!;
    const cells = draw(example);
    expect(cells.all("g.panel")).toHaveLength(24);
    expect(cells.all("path.ridge")).toHaveLength(0);
    expect(cells.all("image")).toHaveLength(24);
    const alone = draw(example, { panel: "blocks.3.attn.o" });
    expect(alone.all("g.panel").map((panel) => panel.getAttribute("data-panel"))).toEqual(["blocks.3.attn.o"]);
    expect(alone.all("path.ridge").length).toBeGreaterThan(0);
    expect(draw(example, { panel: "blocks.3.attn.o", look: "heat" }).all("rect.cell")).toHaveLength(30 * 8);
  });

  test("snapshots at which the spectra were not measured are left out, not drawn as pending", () => {
    const { figure, arrays } = examples.ridgeline!;
    const sparse = {
      ...arrays,
      spectra: { ...arrays.spectra!, data: arrays.spectra!.data.map((value, index) => (Math.floor(index / 8) % 2 === 1 ? NaN : value)) },
    };
    const { all } = draw({ figure, arrays: sparse }, { look: "heat" });
    // Of 45 snapshots a site an odd number: every second of all rows is another parity in the next site.
    expect(all("rect.cell").filter((cell) => cell.getAttribute("class") === "cell").length).toBe([...sparse.spectra.data].filter(Number.isFinite).length);
  });

  test("a table draws a row for each row and a dash for what is missing", () => {
    const texts = draw(examples.table!).texts();
    expect(texts).toEqual(expect.arrayContaining(["blocks.8.mlp.in", "–", "blocks.4.mlp.in was never trained"]));
  });

  test.each(Object.keys(examples))("%s names no colour that only a page could know", (name) => {
    expect(draw(examples[name]!).svg.toString()).not.toMatch(/currentColor|var\(|NaN|undefined|Infinity/);
  });

  test.each(Object.keys(examples).filter((name) => name !== "table"))("%s draws before any of its arrays is declared", (name) => {
    const { svg } = draw({ ...examples[name]!, arrays: {} });
    expect(svg.toString()).not.toMatch(/NaN|undefined|Infinity/);
    expect(svg.querySelectorAll(".pending").length).toBeGreaterThan(0);
  });

  test("title and subtitle are part of the picture only in print", () => {
    const example = examples.heads!;
    expect(draw(example).texts()).not.toContain(example.figure.title);
    expect(draw(example, { preset: "print", width: 662.4 }).texts()).toContain(example.figure.title);
  });
});
