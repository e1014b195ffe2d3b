/** What is taken away is what is on screen. */
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { renderFigurePng, renderFigureSvg } from "../../server/reports/renderFigure.ts";
import { examples } from "../figures/examples.ts";
import { startBrowser, startServer, type RunningServer } from "./browser.ts";

const withinMs = 240_000;
/** Of all pixels: the two smooth edges, and lay hatching, a little differently. */
const mayDiffer = 0.0005;
let server: RunningServer | undefined;
let browser: Browser | undefined;
let page: Page;

beforeAll(async () => {
  [server, browser] = await Promise.all([startServer(), startBrowser()]);
}, withinMs);
afterAll(async () => {
  await browser?.close();
  await server?.stop();
});
beforeEach(async () => {
  if (!browser) throw new Error("the browser did not start");
  page = await browser.newPage({ viewport: { width: 1440, height: 900 }, colorScheme: "light" });
  page.setDefaultTimeout(withinMs);
  await page.goto(server?.url ?? "");
  await page.locator(".checks .good").first().waitFor();
  await page.locator("progress").waitFor({ state: "detached" });
});
afterEach(() => page.close());

const figure = (id: string) => page.locator(`[data-figure="${id}"]`);
async function exported(id: string, format: string): Promise<string> {
  const address = await figure(id).getByRole("link", { name: format, exact: true }).getAttribute("href");
  return (await page.request.get(new URL(address ?? "", server?.url).href)).text();
}

test("the head that is chosen on the page is the head in the SVG", async () => {
  await page.getByRole("tab", { name: "Attention" }).click();
  await page.getByRole("button", { name: /^Run/ }).first().click();
  const drawing = page.locator("svg[data-kind=attention]");
  await drawing.locator(".thumbnails text").first().waitFor();
  await page.locator("progress").waitFor({ state: "detached" });
  const id = (await page.locator("[data-figure]:has(svg[data-kind=attention])").getAttribute("data-figure")) ?? "";
  const names = drawing.locator(".thumbnails text");
  const shown = await names.first().textContent();
  const chosen = (await names.nth(6).textContent()) ?? "";
  expect(chosen).not.toBe(shown);
  await names.nth(6).click({ force: true });
  await expect.poll(() => drawing.locator('text[font-weight="600"]', { hasText: chosen }).count()).toBeGreaterThan(0);
  const titles = [...(await exported(id, "SVG")).matchAll(/aria-label="[^"]* (L\d+H\d+)"/g)].map(([, head]) => head);
  expect(titles.length).toBeGreaterThan(0);
  expect(new Set(titles)).toEqual(new Set([chosen]));
});

test("the width is chosen beside the formats, and the file says what it is", async () => {
  const positions = figure("positions");
  await positions.getByRole("button", { name: /Width of the picture/ }).click();
  await page.getByRole("menuitem", { name: /column/ }).click();
  await expect.poll(() => positions.getByRole("button", { name: /Width of the picture/ }).innerText()).toContain("column");
  expect(await exported("positions", "SVG")).toMatch(/<svg[^>]* width="[123]\.\d*in"/);
  const [download] = await Promise.all([page.waitForEvent("download"), positions.getByRole("link", { name: "PNG", exact: true }).click()]);
  expect(download.suggestedFilename()).toMatch(/^[\w.-]+-activationPatching-positions-\w+-column-[\w-]+\.png$/);
});

test("letters are not joined on the page either", async () => {
  const ligatures = (selector: string) =>
    page
      .locator(selector)
      .first()
      .evaluate((node) => getComputedStyle(node).fontVariantLigatures);
  expect(await ligatures('[data-figure="positions"] svg text[font-family^="JetBrains"]')).toBe("none");
  expect(await ligatures("main h2")).toBe("none");
});

test("a pin is outlined in the file, and left out where that is chosen", async () => {
  const positions = figure("positions");
  await positions.locator("rect.cell").nth(9).click();
  await expect.poll(() => positions.locator("rect.selected").count()).toBeGreaterThan(0);
  expect(await exported("positions", "SVG")).toContain('class="selected"');
  await positions.getByRole("button", { name: /Width of the picture/ }).click();
  await page.getByRole("menuitem", { name: "Leave the pin out" }).click();
  await expect.poll(() => exported("positions", "SVG")).not.toContain('class="selected"');
});

/** Share of pixels that are clearly another grey (more than a third of the way from black to white) in Chromium's drawing than in the rasteriser's. */
async function shareThatDiffers(svg: string, png: Uint8Array): Promise<number> {
  const urls = [`data:image/svg+xml;base64,${Buffer.from(svg).toString("base64")}`, `data:image/png;base64,${Buffer.from(png).toString("base64")}`];
  return page.evaluate(async (sources) => {
    const images = await Promise.all(
      sources.map(async (source) => {
        const image = new Image();
        image.src = source;
        await image.decode();
        return image;
      }),
    );
    const { naturalWidth: width = 0, naturalHeight: height = 0 } = images[1] ?? {};
    const [first, second] = images.map((image) => {
      const context = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
      if (!context) throw new Error("no canvas");
      context.drawImage(image, 0, 0, width, height);
      return context.getImageData(0, 0, width, height).data;
    });
    if (!first || !second) throw new Error("two pictures are compared");
    let differ = 0;
    for (let at = 0; at < first.length; at += 4) if (Math.abs((first[at + 1] ?? 0) - (second[at + 1] ?? 0)) > 85) differ += 1;
    return differ / (width * height);
  }, urls);
}

test.each(["patching", "attention", "bars", "spectrum", "table"])("the SVG of %s is the same picture in Chromium and in the rasteriser", async (name) => {
  await page.goto("about:blank");
  const { figure, arrays } = examples[name] ?? {};
  if (!figure || !arrays) throw new Error(`there is no example ${name}`);
  const svg = renderFigureSvg(figure, arrays, { theme: "light", size: "column", metadata: {} });
  const same = await shareThatDiffers(svg, renderFigurePng(svg, 3));
  expect(same).toBeLessThan(mayDiffer);
  // One text less is seen.
  const texts = [...svg.matchAll(/<g [^>]*class="text".*?<\/g><\/g>/gs)].map(([text]) => text);
  const shorter = svg.replace(texts[1] ?? "", "");
  expect(shorter.length).toBeLessThan(svg.length);
  expect(await shareThatDiffers(shorter, renderFigurePng(svg, 3))).toBeGreaterThan(same + mayDiffer);
});

test.runIf(process.env["PICTURES"] !== undefined)("pictures to look at", async () => {
  await figure("positions")
    .getByRole("button", { name: /Width of the picture/ })
    .click();
  await page.getByRole("menuitem", { name: /column/ }).waitFor();
  await page.screenshot({ path: `${process.env["PICTURES"] ?? ""}/widths.png` });
});
