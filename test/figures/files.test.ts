/** Figures as files: data that come back unchanged, and the same picture from the server as in the browser. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { inflateSync } from "node:zlib";
import { create } from "fontkit";
import { DOMParser } from "linkedom";
import { describe, expect, test } from "vitest";
import { figureCsv, figureJson } from "../../client/figures/figureData.ts";
import { pngDataUrl } from "../../client/figures/png.ts";
import { contrast, dark, inkOn, light, printSizes } from "../../client/figures/theme.ts";
import { renderFigurePng, renderFigureSvg } from "../../server/reports/renderFigure.ts";
import { sfntFromWoff } from "../../server/reports/woff.ts";
import { draw, labelsOf } from "./drawing.ts";
import { examples } from "./examples.ts";

/** RFC 4180, written anew so that writer and reader cannot share a mistake. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  let [row, field, quoted] = [[] as string[], "", false];
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!;
    if (quoted) {
      if (character !== '"') field += character;
      else if (text[at + 1] === '"') field += text[++at]!;
      else quoted = false;
    } else if (character === '"') quoted = true;
    else if (character === ",") [row, field] = [[...row, field], ""];
    else if (character === "\r" && text[at + 1] === "\n") {
      rows.push([...row, field]);
      [row, field] = [[], ""];
      at += 1;
    } else field += character;
  }
  return rows;
}

describe("data files", () => {
  test("a CSV has every number to the last bit, and every token as the tokenizer has it", () => {
    const { figure, arrays } = examples.patching!;
    const [header, ...rows] = parseCsv(figureCsv(figure, arrays));
    expect(header).toEqual(["panel", "layer", "layer_label", "position", "position_label", "restored", "kl"]);
    expect(rows).toHaveLength(360);
    const column = rows.map((row) => (row[5] === "" ? NaN : Number(row[5])));
    expect(Float32Array.from(column)).toEqual(arrays.restored!.data);
    expect(rows[0]![4]).toBe("\n");
    expect(rows[2]![4]).toBe(" capital");
  });

  test.each(Object.keys(examples))("the CSV of %s has as many fields in every row as columns", (name) => {
    const { figure, arrays } = examples[name]!;
    const rows = parseCsv(figureCsv(figure, arrays));
    expect(rows.length).toBeGreaterThan(1);
    expect(new Set(rows.map((row) => row.length)).size).toBe(1);
  });

  test("JSON has axes, labels and units beside the numbers, null while pending", () => {
    const { figure, arrays } = examples.patching!;
    const json = JSON.parse(JSON.stringify(figureJson(figure, arrays))) as {
      metrics: { unit: string }[];
      panels: { cols: { labels: string[] }; values: { restored: { shape: number[]; axes: string[]; data: (number | null)[] } } }[];
    };
    const { shape, axes, data } = json.panels[2]!.values.restored;
    expect(shape).toEqual([12, 10]);
    expect(axes).toEqual(["layer", "position"]);
    expect(Float32Array.from(data, (value) => value ?? NaN)).toEqual(arrays.restored!.data.subarray(240));
    expect(data.at(-1)).toBeNull();
    expect(json.panels[0]!.cols.labels[2]).toBe(" capital");
    expect(json.metrics[0]!.unit).toBe("1 = adapted behaviour restored");
  });
});

describe("picture files", () => {
  test("the server's picture is the browser's, its text as outlines, with title and metadata before it", () => {
    const { figure, arrays } = examples.bars!;
    const file = renderFigureSvg(figure, arrays, {
      theme: "light",
      size: "column",
      metadata: { run: "3f9c", command: 'deltascope probe "a&b"', version: "0.1.0" },
    });
    const { svg: page } = draw(examples.bars!, { width: printSizes.column.width, preset: "print" });
    const read = new DOMParser().parseFromString(file, "image/svg+xml");
    const shapes = (svg: string) =>
      [...svg.replaceAll(/<g [^>]*class="text".*?<\/g><\/g>|<defs>.*?<\/defs>/gs, "").matchAll(/<(?:rect|path|circle|image) [^>]*>/g)].map(([tag]) => tag);
    const drawn = shapes(page.toString());
    expect(drawn.length).toBeGreaterThan(24);
    expect(shapes(file)).toEqual(drawn);
    expect(labelsOf(file)).toEqual([...page.querySelectorAll("text")].map(({ textContent }) => textContent));
    expect(file).not.toContain("<text");
    expect(file).toContain('width="3.3in"');
    expect(JSON.parse(read.querySelector("metadata")?.textContent ?? "")).toEqual({
      figure: "strongest",
      run: "3f9c",
      command: 'deltascope probe "a&b"',
      version: "0.1.0",
    });
  });

  test("every letter of an SVG is drawn, and letters are not joined into others", () => {
    const { figure, arrays } = examples.patching!;
    const tokens = ["!=", "->", "<|endoftext|>", "ffi", "σ₁", "日本", "a&b"];
    const named = JSON.parse(
      tokens.reduce(
        (text, token, index) => text.replaceAll(JSON.stringify([" capital", " of", " Ar", "venia", " is", " the", " city"][index]), JSON.stringify(token)),
        JSON.stringify(figure),
      ),
    ) as typeof figure;
    const svg = renderFigureSvg(named, arrays, { theme: "light", metadata: {} });
    const texts = [...svg.matchAll(/<g [^>]*class="text".*?<\/g><\/g>/gs)].map(([text]) => text);
    const lettersOf = (token: string) => (texts.find((text) => labelsOf(text)[0] === token)?.match(/<(use|path) /g) ?? []).length;
    for (const token of tokens) expect(lettersOf(token), token).toBeGreaterThanOrEqual(token === "日本" ? 1 : [...token].length);
    const defined = new Set([...svg.matchAll(/<path [^>]*id="([^"]*)"/g)].map(([, id]) => id));
    const used = [...svg.matchAll(/<use [^>]*href="#([^"]*)"/g)].map(([, id]) => id);
    expect(used.length).toBeGreaterThan(100);
    expect(used.filter((id) => !defined.has(id))).toEqual([]);
  });

  test("a PNG is drawn with the bundled fonts at the size asked for", () => {
    const { figure, arrays } = examples.heads!;
    const svg = renderFigureSvg(figure, arrays, { theme: "dark", width: printSizes.column.width, metadata: {} });
    const png = Buffer.from(renderFigurePng(svg, 2));
    expect(png.subarray(1, 4).toString()).toBe("PNG");
    // 3.3 in at 96 px an inch, twice; the rasteriser rounds up.
    expect(Math.abs(png.readUInt32BE(16) - printSizes.column.width * 2)).toBeLessThan(1);
  });

  test("fonts are TrueType files, whole or without a table", () => {
    const path = createRequire(import.meta.url).resolve("@fontsource/inter/files/inter-latin-400-normal.woff");
    const woff = readFileSync(path);
    expect(create(sfntFromWoff(woff, "x.woff"))).toMatchObject({ familyName: "Inter" });
    expect(sfntFromWoff(woff, "x.woff").includes("GSUB")).toBe(true);
    expect(sfntFromWoff(woff, "x.woff", ["GSUB"]).includes("GSUB")).toBe(false);
    expect(() => sfntFromWoff(Buffer.from("not a font"), "x.woff")).toThrow('x.woff does not begin with "wOFF"; expected a WOFF 1.0 font');
  });

  test("the image encoder writes pixels that a PNG reader finds again", () => {
    const url = pngDataUrl(Uint8Array.of(0, 1, 2, 2, 1, 0), 3, 2, [
      [0, 0, 0],
      [255, 0, 0],
      [0, 0, 255],
    ]);
    const bytes = Buffer.from(url.slice(url.indexOf(",") + 1), "base64");
    const at = bytes.indexOf("IDAT");
    const pixels = inflateSync(bytes.subarray(at + 4, at + 4 + bytes.readUInt32BE(at - 4)));
    expect([...pixels]).toEqual([0, 0, 1, 2, 0, 2, 1, 0]);
    const png = Buffer.from(
      renderFigurePng(
        `<svg xmlns="http://www.w3.org/2000/svg" width="3" height="2"><image width="3" height="2" image-rendering="pixelated" href="${url}"/></svg>`,
        1,
      ),
    );
    expect(png.readUInt32BE(16)).toBe(3);
  });

  test("the image encoder compresses: a long prompt's cells take a fraction of a byte each where they are alike", () => {
    const size = (pixels: Uint8Array) => (pngDataUrl(pixels, 500, 96, [[0, 0, 0]]).length * 3) / 4;
    expect(size(new Uint8Array(500 * 96).fill(7))).toBeLessThan(500);
    const { figure, arrays } = examples.dense!;
    const cells = [...renderFigureSvg(figure, arrays, { theme: "light", metadata: {} }).matchAll(/data:image\/png;base64,([^"]*)/g)].map(
      ([, data]) => data!.length,
    );
    expect(cells).toHaveLength(2);
    // Stored, each of the panels' 32 × 300 cells took a byte, before base64 made 4 of 3.
    for (const length of cells) expect(length).toBeLessThan((32 * 300 * 4) / 3);
  });
});

/** WCAG 2.2 AA for text of this size. */
const readable = 4.5;
/** Blue and red of one strength differ somewhat in lightness in ColorBrewer's RdBu, too. */
const armRatio = 1.35;
/** WCAG 2.2 AA for shapes that carry meaning. */
const visible = 3;

describe.each([
  ["light", light],
  ["dark", dark],
] as const)("colours in %s", (_, theme) => {
  test("text reads on the page and on the panel", () => {
    for (const ground of [theme.background, theme.panel])
      for (const text of [theme.ink, theme.muted]) expect(contrast(text, ground)).toBeGreaterThanOrEqual(readable);
  });

  test("text reads on every shade of both scales", () => {
    for (const shade of [...theme.diverging, ...theme.sequential]) expect(contrast(inkOn(shade), shade)).toBeGreaterThanOrEqual(readable);
  });

  test("every adapter's colour stands out from page and null band", () => {
    for (const colour of theme.categorical)
      for (const ground of [theme.background, theme.band]) expect(contrast(colour, ground)).toBeGreaterThanOrEqual(visible);
  });

  test("the sequential scale grows steadily away from the panel", () => {
    const steps = theme.sequential.map((shade) => contrast(shade, theme.panel));
    expect(steps[0]).toBe(1);
    steps.slice(1).forEach((step, index) => expect(step).toBeGreaterThan(steps[index]! - 1e-9));
  });

  test("both arms of the diverging scale are equally strong", () => {
    const strength = theme.diverging.map((shade) => contrast(shade, theme.panel));
    strength.forEach((each, index) => {
      const other = strength[strength.length - 1 - index]!;
      expect(Math.max(each, other) / Math.min(each, other)).toBeLessThan(armRatio);
    });
  });

  test("selection and pins are told apart from each other", () => {
    const { all } = draw(examples.patching!, { theme, selection: { place: { layer: 3, position: 5 }, figure: "x" }, pins: [{ layer: 7, position: 9 }] });
    expect(new Set([all("rect.selected").at(-1)!, all("rect.pin").at(-1)!].map((mark) => mark.getAttribute("stroke"))).size).toBe(2);
  });
});
