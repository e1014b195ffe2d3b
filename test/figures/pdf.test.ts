/** PDFs as a reader finds them: page, words, fonts, pictures. */
import { getDocument, OPS } from "pdfjs-dist/legacy/build/pdf.mjs";
import { beforeAll, describe, expect, test } from "vitest";
import { printSizeNames, printSizes } from "../../client/figures/theme.ts";
import { renderFigurePdf } from "../../server/reports/renderFigure.ts";
import { draw } from "./drawing.ts";
import { examples } from "./examples.ts";

const about = { theme: "light", metadata: { command: "deltascope probe x" } } as const;
const make = ({ figure, arrays }: (typeof examples)[string], size: (typeof printSizeNames)[number]) => renderFigurePdf(figure, arrays, { ...about, size });
const open = async (bytes: Uint8Array) => {
  const document = await getDocument({ data: Uint8Array.from(bytes), verbosity: 0 }).promise;
  expect(document.numPages).toBe(1);
  return { document, page: await document.getPage(1) };
};
type Page = Awaited<ReturnType<typeof open>>["page"];
const wordsOf = async (page: Page): Promise<string[]> => (await page.getTextContent()).items.flatMap((item) => ("str" in item ? [item.str] : []));
const kinds = Object.keys(examples);

describe.each(printSizeNames)("a %s", (size) => {
  test.each(["patching", "lens", "spectrum", "scatter"])("of %s is a page of its width in points", async (name) => {
    const { page } = await open(await make(examples[name]!, size));
    const [left, top, right, bottom] = page.view;
    expect([left, top]).toEqual([0, 0]);
    const { drawing } = draw(examples[name]!, { preset: "print", width: printSizes[size].width });
    expect(drawing.width).toBeGreaterThan(printSizes[size].width - 24);
    expect(right).toBeCloseTo(printSizes[size].inches * 72, 0);
    expect((bottom ?? 0) / (right ?? 1)).toBeCloseTo(drawing.height / drawing.width, 2);
  });
});

describe.each(kinds)("%s", (name) => {
  let bytes: Uint8Array;
  beforeAll(async () => {
    bytes = await make(examples[name]!, "page");
  });

  test("has every word of the drawing as text, where a bundled font has its letters", async () => {
    const { page } = await open(bytes);
    const found = (await wordsOf(page)).join("").replaceAll(" ", "");
    const { all } = draw(examples[name]!, { preset: "print", width: printSizes.page.width });
    const words = all("text")
      .flatMap(({ textContent }) => textContent.split(/[⏎↵␀-␡\s]+/u))
      .filter((word) => /^[\x21-\x7e·−–Δσ±×…]+$/u.test(word));
    expect(words.length).toBeGreaterThan(3);
    for (const word of words) expect(found).toContain(word);
  });

  test("embeds every font that it names", () => {
    const raw = Buffer.from(bytes).toString("latin1");
    const descriptors = raw.match(/\/Type \/FontDescriptor/g) ?? [];
    expect(descriptors.length).toBeGreaterThan(0);
    expect(raw.match(/\/FontFile2 /g) ?? []).toHaveLength(descriptors.length);
    expect(raw).not.toMatch(/\/Subtype \/Type1\b/);
    for (const [, base] of raw.matchAll(/\/BaseFont \/(\S+)/g)) expect(base).toMatch(/^[A-Z]{6}\+(Inter|JetBrainsMono)-/);
  });
});

test("is vector: cells are rectangles, and only what is dense is an image", async () => {
  const operators = async (name: string) => {
    const { page } = await open(await make(examples[name]!, "column"));
    return (await page.getOperatorList()).fnArray;
  };
  const few = await operators("patching");
  expect(few.filter((each) => each === OPS.paintImageXObject)).toHaveLength(0);
  expect(few.filter((each) => each === OPS.fill).length).toBeGreaterThan(300);
  expect((await operators("dense")).filter((each) => each === OPS.paintImageXObject)).toHaveLength(2);
});

test("letters are not joined: != is two, and reads as two", async () => {
  const { figure, arrays } = examples.patching!;
  const named = JSON.parse(JSON.stringify(figure).replaceAll('" capital"', '"!="').replaceAll('"venia"', '"->ffi"')) as typeof figure;
  const words = await wordsOf((await open(await make({ ...examples.patching!, figure: named, arrays }, "page"))).page);
  expect(words).toContain("!=");
  expect(words).toContain("->ffi");
});

test("says what it is and how it was made, and is the same file when made again", async () => {
  const bytes = await make(examples.bars!, "column");
  const { document } = await open(bytes);
  const { info } = await document.getMetadata();
  expect(info).toMatchObject({ Title: examples.bars!.figure.title, Creator: "Deltascope" });
  expect(JSON.stringify(info)).toContain("deltascope probe x");
  expect(Buffer.from(await make(examples.bars!, "column")).equals(Buffer.from(bytes))).toBe(true);
});
