/** What is taken away is what is on screen. */
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { startBrowser, startServer, type RunningServer } from "./browser.ts";

const withinMs = 240_000;
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

test("a pin is outlined in the file, and left out where that is chosen", async () => {
  const positions = figure("positions");
  await positions.locator("rect.cell").nth(9).click();
  await expect.poll(() => positions.locator("rect.selected").count()).toBeGreaterThan(0);
  expect(await exported("positions", "SVG")).toContain('class="selected"');
  await positions.getByRole("button", { name: /Width of the picture/ }).click();
  await page.getByRole("menuitem", { name: "Leave the pin out" }).click();
  await expect.poll(() => exported("positions", "SVG")).not.toContain('class="selected"');
});
