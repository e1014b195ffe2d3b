/** Figures as a paper needs them: its widths, its type size, nothing cut, nothing of the machine. */
import { DOMParser } from "linkedom";
import { describe, expect, test } from "vitest";
import { printSizeNames, printSizes } from "../../client/figures/theme.ts";
import { figureMetadata } from "../../server/jobs/provenance.ts";
import { figureFileName } from "../../server/reports/figureName.ts";
import { renderFigureSvg } from "../../server/reports/renderFigure.ts";
import { draw } from "./drawing.ts";
import { examples } from "./examples.ts";

const print = (name: string, width: number) => draw(examples[name]!, { preset: "print", width });
const kinds = Object.keys(examples);
/** 8 pt in CSS pixels, less a hundredth, to which coordinates are rounded. */
const eightPoints = 32 / 3 - 0.01;

describe.each(printSizeNames)("%s", (size) => {
  test.each(kinds)("%s is no wider than its paper, and its smallest letters have 8 pt", (name) => {
    const { figure, arrays } = examples[name]!;
    const svg = new DOMParser().parseFromString(renderFigureSvg(figure, arrays, { theme: "light", size, metadata: {} }), "image/svg+xml").documentElement;
    const [width, box] = [svg.getAttribute("width") ?? "", (svg.getAttribute("viewBox") ?? "").split(" ").map(Number)];
    const inches = Number(width.replace(/in$/, ""));
    expect(inches).toBeLessThanOrEqual(printSizes[size].inches + 0.005);
    expect(inches / ((box[2] ?? 0) / 96)).toBeCloseTo(printSizes[size].zoom, 1);
    // In the file they are outlines.
    const texts = print(name, printSizes[size].width)
      .all("text, tspan")
      .filter((text) => text.hasAttribute("font-size"));
    expect(texts.length).toBeGreaterThan(3);
    for (const text of texts) expect(Number(text.getAttribute("font-size")), text.textContent).toBeGreaterThanOrEqual(eightPoints);
  });
});

test("a drawing that needs less than its paper is cut to its width, and looks the same", () => {
  const { figure, arrays } = examples.bars!;
  if (figure.kind !== "bars") throw new Error("the example of bars has other figures");
  const few = { ...figure, bars: figure.bars.slice(0, 5) };
  const values = Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, { ...array, shape: [5], data: array.data.slice(0, 5) }]));
  const { drawing, all } = draw({ figure: few, arrays: values }, { preset: "print", width: printSizes.page.width });
  expect(drawing.width).toBeLessThan(printSizes.page.width / 2);
  const right = Math.max(...all("rect.bar").map((bar) => Number(bar.getAttribute("x")) + Number(bar.getAttribute("width"))));
  expect(right).toBeLessThanOrEqual(drawing.width);
});

test.each(["column", "page"] as const)("all panels of a figure have numbers or none has, in a %s", (size) => {
  for (const name of ["patching", "heads", "components", "attention"]) {
    const { all } = print(name, printSizes[size].width);
    const numbered = all(".panel").map((panel) => panel.querySelector(".numbers") !== null);
    expect(new Set(numbered).size, name).toBe(1);
  }
});

test.each(["column", "page"] as const)("no word of a table, a token of an axis or a panel's title is cut in a %s", (size) => {
  for (const name of ["table", "patching", "attention", "components", "bars", "barsTwo", "heads"])
    expect(print(name, printSizes[size].width).texts().join(" "), name).not.toContain("…");
});

test("a long site stands whole on a page's axis", () => {
  const site = "blocks.10.a_long_name_of_a_module.mlp.in";
  const { figure, arrays } = examples.patching!;
  const named = JSON.parse(JSON.stringify(figure).replaceAll(JSON.stringify(" capital"), JSON.stringify(site))) as typeof figure;
  expect(draw({ figure: named, arrays }, { preset: "print", width: printSizes.page.width }).texts()).toContain(site);
});

test("a bar of a token shows its space, on screen and on paper", () => {
  const { figure, arrays } = examples.bars!;
  if (figure.kind !== "bars") throw new Error("the example of bars has other figures");
  const tokens = { ...figure, bars: figure.bars.map((bar, position) => ({ ...bar, label: " is", place: { position } })) };
  for (const preset of ["screen", "print"] as const) expect(draw({ figure: tokens, arrays }, { preset }).texts()).toContain("·is");
});

test("a file is called by model, probe, figure, metric and run", () => {
  const named = { run: "3f9c", model: "/home/x/tiny llama", probe: "activationPatching", figure: "positions", format: "svg", metric: "kl" } as const;
  expect(figureFileName({ ...named, size: "column" })).toBe("tiny-llama-activationPatching-positions-kl-column-3f9c.svg");
  expect(figureFileName({ ...named, model: "/c/hub/models--org--Llama-3/snapshots/5f0b" })).toBe("Llama-3-activationPatching-positions-kl-3f9c.svg");
});

test("what a file carries names folders and not where they lie", () => {
  const here = import.meta.dirname;
  const request = {
    subject: { model: "/home/x/tiny-llama", adapters: [{ path: "/home/x/lora/edit", strength: 0.5 }] },
    probe: "logitLens",
    params: { from: here, clean: "/ is" },
  };
  const provenance = {
    version: "0",
    engine: "e",
    platform: "p",
    node: "n",
    hashes: {},
    command: "",
    durationMs: 1,
    warnings: ["/home/x/tiny-llama has no answer"],
  };
  const text = figureMetadata({ kind: "probe", request, provenance });
  expect(text).toContain("tiny-llama");
  expect(text).toContain("edit@0.5");
  expect(text).toContain('"/ is"');
  expect(text).not.toContain("/home/x");
  expect(text).not.toContain(here);
});
