/** Working with figures: pins that all figures share, comparing, metrics, files, cancelling, links, next steps, keys. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startBrowser, startServer, type RunningServer } from "./browser.ts";

/** A cold engine on two shared cores: the longest that a demo run was seen to take was 4 s. */
const runWithinMs = 240_000;

let server: RunningServer | undefined;
let browser: Browser | undefined;
let page: Page;
let troubles: string[];

beforeAll(async () => {
  [server, browser] = await Promise.all([startServer(), startBrowser()]);
});
afterAll(async () => {
  await browser?.close();
  await server?.stop();
});
beforeEach(async () => {
  if (!browser) throw new Error("the browser did not start");
  page = await browser.newPage({ viewport: { width: 1440, height: 900 }, colorScheme: "light" });
  page.setDefaultTimeout(runWithinMs);
  troubles = [];
  page.on("pageerror", (error) => troubles.push(error.message));
});
afterEach(async () => {
  await page.close();
  expect(troubles, "errors on the page").toEqual([]);
});

const figure = (id: string) => page.locator(`[data-figure="${id}"]`);
const picked = () => page.locator("aside[aria-label='What we picked']");
const lookedAt = () => page.locator("aside[aria-label='What we look at']");
const selectedWords = () => picked().locator("h2").first().innerText();
const activeTab = () => page.locator("[role=tab][aria-selected=true]").innerText();

async function openDemo(): Promise<void> {
  await page.goto(server?.url ?? "");
  await finished();
}
async function finished(): Promise<void> {
  await page.locator(".checks .good").first().waitFor({ timeout: runWithinMs });
  await page.locator("progress").waitFor({ state: "detached", timeout: runWithinMs });
}
async function middleOfCell(panel: string, index: number): Promise<{ x: number; y: number }> {
  // Cells are drawn anew with every batch: one may be gone between being found and being measured.
  const measure = () => page.locator(`[data-figure="positions"] [data-panel="${panel}"] rect`).nth(index).boundingBox();
  await expect.poll(measure).not.toBeNull();
  const box = await measure();
  if (!box) throw new Error(`panel ${panel} has no cell ${index}`);
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}
async function pinCell(panel: string, index: number): Promise<void> {
  const { x, y } = await middleOfCell(panel, index);
  await page.mouse.click(x, y);
}

describe("a pin", () => {
  test("is named on hover, marked in every figure, moved by arrows, kept in the address, and let go by Esc", async () => {
    await openDemo();
    const cell = await middleOfCell("resid_pre", 0);
    await page.mouse.move(cell.x, cell.y);
    await page.locator("[role=tooltip]").waitFor();
    expect(await page.locator("[role=tooltip]").innerText()).toMatch(/layer \d+/);
    await pinCell("resid_pre", 0);
    await picked().locator(".value").waitFor();
    const first = await selectedWords();
    expect(first).toMatch(/layer \d+, .*\[\d+\]/);
    expect(await figure("positions").locator(".selected").count()).toBeGreaterThanOrEqual(1);
    expect(await figure("heads").locator(".selected").count()).toBeGreaterThanOrEqual(1);
    expect(page.url()).toContain("pin=positions");

    await page.keyboard.press("ArrowRight");
    expect(await selectedWords()).not.toBe(first);
    await page.keyboard.press("ArrowLeft");
    expect(await selectedWords()).toBe(first);
    await page.keyboard.press("Escape");
    expect(await selectedWords()).toBe("Nothing selected");
    expect(page.url()).not.toContain("pin=");
  });

  test("is set and moved without a pointer", async () => {
    await openDemo();
    await figure("heads").locator("[data-arrows]").focus();
    await page.keyboard.press("ArrowUp");
    expect(await selectedWords()).toMatch(/head L\d+H\d+/);
  });

  test("is compared with a second one on Shift-click", async () => {
    await openDemo();
    await pinCell("resid_pre", 1);
    await page.keyboard.down("Shift");
    await pinCell("resid_pre", 4);
    await page.keyboard.up("Shift");
    expect(await picked().innerText()).toMatch(/Against layer \d+/);
  });

  test("leads to the next probe, which runs and marks the same place", async () => {
    await openDemo();
    await pinCell("mlp_out", 0);
    await page.getByRole("button", { name: /Lens here/ }).click();
    await finished();
    expect(await activeTab()).toBe("Lens");
    await expect.poll(() => page.locator("svg[data-kind=tokenGrid] .selected").count()).toBeGreaterThanOrEqual(1);
    await expect.poll(() => picked().innerText()).toContain("Top tokens");
  });
});

describe("a figure", () => {
  test("is drawn by another metric when one is chosen, and Back undoes that", async () => {
    await openDemo();
    const before = await figure("positions").locator("svg").innerHTML();
    await page.getByRole("radio", { name: "KL" }).click();
    expect(await figure("positions").locator("svg").innerHTML()).not.toBe(before);
    expect(new URL(page.url()).searchParams.get("metric")).toBe("kl");
    await page.goBack();
    await expect.poll(() => page.getByRole("radio", { name: "normalised" }).getAttribute("aria-checked")).toBe("true");
  });

  test.each([
    ["PNG", "\u0089PNG"],
    ["CSV", "panel,"],
    ["JSON", "{"],
  ] as const)("is exported as %s", async (format, beginning) => {
    await openDemo();
    const [download] = await Promise.all([page.waitForEvent("download"), figure("positions").getByRole("link", { name: format, exact: true }).click()]);
    expect(
      readFileSync(await download.path())
        .subarray(0, 100)
        .toString("latin1"),
    ).toContain(beginning);
  });
});

describe("a run", () => {
  test("that is cancelled stays on the screen and says so", async () => {
    await openDemo();
    // Long enough not to be over before the click: 512 random directions at every place of a longer prompt.
    const address = new URL(page.url());
    address.searchParams.set(
      "params",
      JSON.stringify({ nullSamples: 512, activations: ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "heads"] }),
    );
    address.searchParams.set("clean", `${"The capital of Arvenia is Krest. ".repeat(4)}The capital of Arvenia is`);
    address.searchParams.delete("run");
    await page.goto(address.href);
    await page.getByRole("button", { name: "Run patching" }).click();
    await page.getByRole("button", { name: "Cancel" }).click({ timeout: runWithinMs });
    await expect.poll(() => page.locator(".page").innerText(), { timeout: runWithinMs }).toContain("Cancelled: what was computed stays");
    expect(await page.locator("section[aria-label='Recent runs']").innerText()).toContain("cancelled");
  });

  test("comes back from its link with model, adapters, prompts, probe and selection", async () => {
    await openDemo();
    await pinCell("attn_out", 2);
    const [words, number, tab, tokens] = [
      await selectedWords(),
      await picked().locator(".value").innerText(),
      await activeTab(),
      await lookedAt().locator(".token").allInnerTexts(),
    ];
    await page.goto("about:blank");
    await page.goBack();
    await page.locator("[data-figure=positions] .selected").first().waitFor({ timeout: runWithinMs });
    expect(await selectedWords()).toBe(words);
    expect(await picked().locator(".value").innerText()).toBe(number);
    expect(await activeTab()).toBe(tab);
    await expect.poll(() => lookedAt().locator(".token").allInnerTexts()).toEqual(tokens);
  });
});

describe("the screen", () => {
  test("has a palette that finds a probe by typing, and a list of keys", async () => {
    await openDemo();
    await page.keyboard.press("Control+k");
    await page.getByRole("combobox").fill("lens");
    await page.keyboard.press("Enter");
    await expect.poll(activeTab).toBe("Lens");
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
    await page.keyboard.press("Escape");
    expect(await page.getByRole("dialog").count()).toBe(0);
  });

  test("keeps its theme after a reload", async () => {
    await openDemo();
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await page.getByRole("button", { name: "Switch to dark theme" }).click();
    const dark = await ground();
    await page.reload();
    await page.locator("h1").waitFor();
    expect(await ground()).toBe(dark);
  });

  test.each([1180, 1024, 800])("cuts no tab off at %d pixels", async (width) => {
    await page.setViewportSize({ width, height: 768 });
    await openDemo();
    const tabs = await page.getByRole("tab").evaluateAll((nodes) =>
      nodes.map((node) => {
        const { left, right, top, bottom } = node.getBoundingClientRect();
        // What is painted at its four corners: a label that lies beyond an edge, or under another thing, is not all there.
        const corners = [left + 1, right - 1].flatMap((x) => [top + 1, bottom - 1].map((y) => document.elementFromPoint(x, y)));
        return { label: node.textContent, isWhole: corners.every((found) => found === node), isWide: node.scrollWidth <= node.clientWidth };
      }),
    );
    expect(tabs.length).toBeGreaterThan(6);
    for (const tab of tabs) expect(tab).toEqual({ label: tab.label, isWhole: true, isWide: true });
  });

  test("cuts nothing off at 1024 pixels, where the right rail is a drawer", async () => {
    await page.setViewportSize({ width: 1024, height: 768 });
    await openDemo();
    expect(await page.locator(".page").evaluate((node) => node.scrollWidth - node.clientWidth)).toBe(0);
    await page.getByRole("button", { name: /^Selected/ }).click();
    await page.locator("aside.drawer.open").waitFor();
  });

  test.each(["light", "dark"] as const)("has no serious accessibility fault with a pin in the %s theme", async (colorScheme) => {
    await page.emulateMedia({ colorScheme });
    await openDemo();
    await pinCell("resid_pre", 0);
    // Evaluated, not added as a script: the page's content policy allows none but its own.
    await page.evaluate(readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8"));
    const serious = await page.evaluate(async () => {
      const { axe } = window as unknown as { axe: { run(): Promise<{ violations: { id: string; impact: string; nodes: { html: string }[] }[] }> } };
      return (await axe.run()).violations
        .filter(({ impact }) => impact === "serious" || impact === "critical")
        .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")}`);
    });
    expect(serious).toEqual([]);
  });
});
