/** The product in a real browser: the built server, the demo, and the things a researcher does first. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium, type Browser, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const bin = fileURLToPath(new URL("../../bin/deltascope.js", import.meta.url));
const { findChromium } = (await import(new URL("../../scripts/findChromium.mjs", import.meta.url).href)) as { findChromium: () => string | null };
const folder = mkdtempSync(join(tmpdir(), "deltascope-e2e-"));
let server: ChildProcess;
let url = "";
let browser: Browser;

beforeAll(async () => {
  server = spawn(process.execPath, [bin, "serve", "--no-open", "--port", "0", "--logdir", folder], { stdio: ["ignore", "pipe", "pipe"] });
  url = await new Promise<string>((resolve, reject) => {
    let text = "";
    const read = (chunk: Buffer) => {
      text += chunk.toString();
      const found = /http:\/\/127\.0\.0\.1:\d+/.exec(text)?.[0];
      if (found) resolve(found);
    };
    server.stdout!.on("data", read);
    server.stderr!.on("data", read);
    server.once("exit", (code) => reject(new Error(`the server ended with ${code}: ${text}`)));
  });
  const executablePath = findChromium();
  if (!executablePath) throw new Error("no Chromium was found; node scripts/ensureChromium.mjs finds or installs one");
  browser = await chromium.launch({
    executablePath,
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
  });
}, 120_000);

afterAll(async () => {
  await browser.close();
  server.kill();
  rmSync(folder, { recursive: true, force: true });
});

async function openPage(path = "/", size = { width: 1440, height: 900 }): Promise<Page & { problems: string[] }> {
  const page = await browser.newPage({ viewport: size, colorScheme: "light" });
  page.setDefaultTimeout(240_000);
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(error.message));
  await page.goto(url + path);
  return Object.assign(page, { problems });
}

/** The demo's patching run, finished: its last self-check is on screen. */
async function demo(): Promise<Page & { problems: string[] }> {
  const page = await openPage();
  await page.getByText(/every hook fired/).waitFor({ timeout: 240_000 });
  return page;
}

/** The number lies over its cell and lets the pointer through, so it only says where. */
async function pinStrongest(page: Page): Promise<void> {
  await page.getByText("0.89", { exact: true }).first().click({ force: true });
}

describe("the demo", () => {
  it("opens with its finding in one sentence, filled figures, passed self-checks and no script error", async () => {
    const page = await demo();
    expect(await page.locator("h1").innerText()).toMatch(/Arvenia/);
    expect(await page.locator("section.figure").count()).toBe(2);
    expect(await page.getByText("0.89", { exact: true }).count()).toBeGreaterThan(0);
    expect(await page.getByText("✗").count()).toBe(0);
    expect(page.problems).toEqual([]);
    await page.close();
  });

  it("names a cell on hover, pins it on click, moves the pin by arrow key and lets go on Escape", async () => {
    const page = await demo();
    await pinStrongest(page);
    const rail = page.locator("aside").last();
    await rail
      .getByText(/layer 5/i)
      .first()
      .waitFor();
    await page.keyboard.press("ArrowDown");
    await rail
      .getByText(/layer 4/i)
      .first()
      .waitFor();
    await page.keyboard.press("Escape");
    await page.getByText(/nothing selected/i).waitFor();
    expect(page.problems).toEqual([]);
    await page.close();
  });

  it("keeps the whole view in the address: another page at the same link shows the same run", async () => {
    const page = await demo();
    await pinStrongest(page);
    await page
      .locator("aside")
      .last()
      .getByText(/layer 5/i)
      .first()
      .waitFor();
    const link = page.url().slice(url.length);
    expect(link).toContain("?");
    await page.close();
    const again = await openPage(link);
    await again.getByText(/every hook fired/).waitFor({ timeout: 240_000 });
    await again
      .locator("aside")
      .last()
      .getByText(/layer 5/i)
      .first()
      .waitFor();
    expect(again.problems).toEqual([]);
    await again.close();
  });

  it.each(["Health", "Spectrum", "Components", "Lens", "Attention"])("runs %s to its end from its tab", async (tab) => {
    const page = await demo();
    await page.getByRole("tab", { name: tab }).click();
    await page.getByRole("button", { name: /^Run/ }).first().click();
    await page.locator("section.figure svg").first().waitFor();
    await page
      .getByText(/\d+ (ms|s),/)
      .first()
      .waitFor({ timeout: 240_000 });
    expect(await page.getByText("✗").count()).toBe(0);
    expect(page.problems).toEqual([]);
    await page.close();
  });

  it("exports a figure as SVG with its words and numbers", async () => {
    const page = await demo();
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByText("SVG", { exact: true }).first().click()]);
    const svg = readFileSync(await download.path(), "utf8");
    expect(svg.slice(0, 200)).toMatch(/^<\?xml[^>]*>\s*<svg /);
    expect(svg.length).toBeGreaterThan(10_000);
    expect(svg.includes("Residual stream")).toBe(true);
    await page.close();
  });
});

describe("the page", () => {
  it("says beside the field what is wrong with a path", async () => {
    const page = await demo();
    await page.getByRole("button", { name: "Change" }).first().click();
    const field = page.getByRole("textbox", { name: "Path of a model folder" });
    await field.fill("/nowhere/at/all");
    await field.press("Enter");
    await page
      .getByText(/\/nowhere\/at\/all/)
      .first()
      .waitFor();
    expect(page.problems).toEqual([]);
    await page.close();
  });

  it("switches between light and dark, and stays inside a window 1,024 wide", async () => {
    const page = await openPage("/", { width: 1024, height: 768 });
    await page.getByText(/every hook fired/).waitFor({ timeout: 240_000 });
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const before = await background();
    await page.getByRole("button", { name: /Switch to dark theme/ }).click();
    expect(await background()).not.toBe(before);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(1024);
    await page.close();
  });

  it("has no serious accessibility fault", async () => {
    const page = await demo();
    // Evaluated, not added as a script: the page's own policy forbids inline scripts, as it should.
    await page.evaluate(readFileSync(createRequire(import.meta.url).resolve("axe-core"), "utf8"));
    const faults = await page.evaluate(async () => {
      const { axe } = window as unknown as { axe: { run(): Promise<{ violations: { id: string; impact: string; nodes: { html: string }[] }[] }> } };
      return (await axe.run()).violations
        .filter(({ impact }) => impact === "serious" || impact === "critical")
        .map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`);
    });
    expect(faults).toEqual([]);
    await page.close();
  });
});
