/** Stored results on the page: those of before and of a later version, and every figure kind with its pins, keys and files. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { encodeSafetensors, parseSafetensors } from "../../server/formats/safetensors.ts";
import type { StoredResult } from "../../server/wire.ts";
import { examples } from "../figures/examples.ts";
import { startBrowser, startServer, type RunningServer } from "./browser.ts";

const withinMs = 240_000;
const logdir = mkdtempSync(join(tmpdir(), "deltascope-results-"));
let server: RunningServer | undefined;
let browser: Browser | undefined;
let run = "";

/** The demo's run as an earlier version wrote it, axes without places, with figures of other kinds and of one that nobody knows beside its own. */
beforeAll(async () => {
  const first = await startServer(logdir);
  browser = await startBrowser();
  const page = await browser.newPage();
  page.setDefaultTimeout(withinMs);
  await page.goto(first.url);
  await page.getByText(/every hook fired/).waitFor();
  await page.locator("progress").waitFor({ state: "detached" });
  await page.close();
  await first.stop();
  const runs = join(logdir, "runs");
  run = readdirSync(runs).find((each) => readdirSync(join(runs, each)).includes("result.json")) ?? "";
  const folder = join(runs, run);
  const stored = JSON.parse(readFileSync(join(folder, "result.json"), "utf8"), (key, value: unknown) =>
    key === "places" || key === "place" ? undefined : value,
  ) as StoredResult;
  const { tensors } = parseSafetensors(readFileSync(join(folder, "arrays.safetensors")), "arrays");
  const added = ["graph", "scatter", "table"].map((name) => examples[name]!);
  const more = Object.assign({}, ...added.map(({ arrays }) => arrays)) as (typeof added)[number]["arrays"];
  const ghost = { kind: "hologram", id: "ghost", title: "Of tomorrow", subtitle: "By a later version" };
  const arrays = { ...stored.arrays, ...Object.fromEntries(Object.entries(more).map(([name, { shape, axes }]) => [name, { shape, axes }])) };
  writeFileSync(join(folder, "result.json"), JSON.stringify({ ...stored, arrays, figures: [...stored.figures, ...added.map(({ figure }) => figure), ghost] }));
  const own = [...tensors].map(([name, { shape, data }]) => ({ name, shape, data: data as Float32Array }));
  writeFileSync(
    join(folder, "arrays.safetensors"),
    encodeSafetensors([...own, ...Object.entries(more).map(([name, { shape, data }]) => ({ name, shape, data }))]),
  );
  server = await startServer(logdir);
}, withinMs);
afterAll(async () => {
  await browser?.close();
  await server?.stop();
  rmSync(logdir, { recursive: true, force: true });
});

async function open(scheme: "light" | "dark" = "light", size = { width: 1440, height: 900 }): Promise<Page & { troubles: string[] }> {
  if (!browser) throw new Error("the browser did not start");
  const page = await browser.newPage({ viewport: size, colorScheme: scheme });
  page.setDefaultTimeout(60_000);
  const troubles: string[] = [];
  page.on("pageerror", (error) => troubles.push(error.message));
  await page.goto(`${server?.url ?? ""}?run=${run}`);
  await page.locator('[data-figure="graph"], [data-figure="circuit"]').first().waitFor();
  return Object.assign(page, { troubles });
}
const figure = (page: Page, id: string) => page.locator(`[data-figure="${id}"]`);
const file = (page: Page, name: string) => page.request.get(new URL(`/api/runs/${run}/figures/${name}`, server?.url).href);
const picked = (page: Page) => page.locator("aside[aria-label='What we picked']");

test("a result of before opens: its cells are places, which other figures mark", async () => {
  const page = await open();
  await figure(page, "positions").locator("rect.cell").nth(13).click();
  await expect.poll(() => picked(page).locator("h2").first().innerText()).toContain("layer");
  expect(await figure(page, "positions").locator("rect.selected").count()).toBeGreaterThanOrEqual(2);
  expect(page.troubles).toEqual([]);
  await page.close();
});

test("a figure of a kind that this version does not know is said in words, and the others stand", async () => {
  const page = await open();
  expect(await figure(page, "ghost").innerText()).toContain("hologram");
  const svg = await file(page, "ghost.svg");
  expect(await svg.text()).toMatch(/aria-label="[^"]*hologram/);
  expect(page.troubles).toEqual([]);
  await page.close();
});

test("a table stays under its head, sorts, and is walked in the order on screen", async () => {
  const page = await open();
  const health = figure(page, "health");
  const names = () => health.locator("tbody th").allInnerTexts();
  const before = await names();
  await health.getByRole("button", { name: /effective rank/ }).click();
  await expect.poll(names).toEqual(before.toReversed());
  expect(await health.locator("th[aria-sort=descending]").count()).toBe(1);
  await health.locator("tbody tr").nth(1).click();
  await expect.poll(() => health.locator("tr.selected th").innerText()).toBe(before.at(-2));
  await health.locator("[data-arrows]").focus();
  await page.keyboard.press("ArrowDown");
  await expect.poll(() => health.locator("tr.selected th").innerText()).toBe(before.at(-3));
  expect(page.troubles).toEqual([]);
  await page.close();
});

test("a graph and a scatter plot tell under the pointer, keep a pin, follow arrow keys, and are files", async () => {
  const page = await open();
  const graph = figure(page, "circuit");
  await graph.locator("circle.node").nth(3).hover();
  await expect.poll(() => graph.locator("[role=tooltip]").innerText()).toMatch(/effect when switched off/);
  await graph.locator("circle.node").nth(3).click();
  await expect.poll(() => graph.locator("rect.selected").count()).toBe(2);
  expect(await picked(page).innerText()).toContain("Strongest edges");
  const words = await picked(page).locator("h2").first().innerText();
  await graph.locator("[data-arrows]").focus();
  await page.keyboard.press("ArrowUp");
  await expect.poll(() => picked(page).locator("h2").first().innerText()).not.toBe(words);
  await graph.getByText("120 edges", { exact: true }).click();
  await expect.poll(() => graph.locator("path.edge").count()).toBeGreaterThanOrEqual(120);
  const dots = figure(page, "size-and-rank");
  await dots.locator("path.point").nth(8).hover();
  await expect.poll(() => dots.locator("[role=tooltip]").innerText()).toMatch(/kind of site/);
  for (const id of ["circuit", "size-and-rank"])
    for (const [format, type] of Object.entries({ svg: "image/svg+xml", png: "image/png", pdf: "application/pdf", csv: "text/csv", json: "application/json" }))
      expect((await file(page, `${id}.${format}`)).headers()["content-type"], `${id}.${format}`).toContain(type);
  expect(page.troubles).toEqual([]);
  await page.close();
});

const pictures = process.env["PICTURES"];
test.runIf(pictures !== undefined)(
  "pictures to look at",
  async () => {
    mkdirSync(pictures ?? "", { recursive: true });
    for (const scheme of ["light", "dark"] as const) {
      for (const [width, height] of [
        [1440, 900],
        [1024, 768],
      ] as const) {
        const page = await open(scheme, { width, height });
        for (const id of ["circuit", "size-and-rank", "health", "ghost"]) {
          await figure(page, id).scrollIntoViewIfNeeded();
          await page.waitForTimeout(300);
          if (id === "circuit") await figure(page, id).locator("circle.node").nth(5).click();
          if (id === "health") await figure(page, id).locator("tbody tr").nth(3).click();
          await page.screenshot({ path: join(pictures ?? "", `${id}-${scheme}-${width}.png`) });
        }
        await page.close();
      }
    }
  },
  withinMs,
);
