/** Training from the browser: start from the form, watch, look back, pause, go on, reload, branch, open, compare. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startBrowser, startServer, type RunningServer } from "./browser.ts";

/** Compiling the step and two hundred small steps on two shared cores: 25 s were seen at most. */
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
const button = (name: string | RegExp) => page.getByRole("button", { name, exact: typeof name === "string" });
const slider = () => page.getByRole("slider", { name: "Training step" });
const heading = () => page.locator("h1").innerText();
const stepInAddress = () => new URL(page.url()).searchParams.get("step");
const preview = () => page.getByRole("region", { name: "What it would do" });

async function openForm(): Promise<void> {
  await page.goto(server?.url ?? "");
  await page.locator(".checks .good").first().waitFor({ timeout: runWithinMs });
  await button("Train one").click();
  await preview()
    .getByText(/parameters at \d+\s+sites/)
    .waitFor({ timeout: runWithinMs });
}

/** Starts the demo's run under a name; it is on screen when its first spectra are. */
async function startRun(name: string, steps: number): Promise<void> {
  await openForm();
  await page.locator("#param-steps").fill(String(steps));
  await page.locator("#training-name").fill(name);
  await page.locator("#training-name").press("Tab");
  await expect.poll(() => preview().innerText()).toMatch(new RegExp(`${steps} steps`));
  await button("Start training").click();
  await page.locator("[data-figure=loss] path.curve").first().waitFor({ timeout: runWithinMs });
}

/** What a reading is once it stays: the last redraw comes a moment after the last numbers. */
async function settled(read: () => Promise<string>): Promise<string> {
  let before = await read();
  for (;;) {
    await page.waitForTimeout(700);
    const now = await read();
    if (now === before) return now;
    before = now;
  }
}

const isDone = () => expect.poll(heading, { timeout: runWithinMs }).toMatch(/done/);

/** Drawn only when near; the page scrolls, not the document. */
async function show(id: string): Promise<void> {
  await figure(id).evaluate((node) => node.scrollIntoView({ block: "start" }));
  await figure(id).locator("path, rect").first().waitFor({ state: "attached" });
}

describe("the form", () => {
  test("is filled for the demo and says what would be trained, held in memory and read", async () => {
    await openForm();
    const words = await preview().innerText();
    expect(words).toMatch(/parameters at 24 sites/);
    expect(words).toMatch(/Memory, \d+ MB/);
    expect(words).toMatch(/examples, [\d,]+ held out/);
    expect(await preview().locator(".token.differing").count()).toBeGreaterThan(0);
    expect(await button("Start training").isEnabled()).toBe(true);
  });

  test("says beside the field what cannot be, and does not start with it", async () => {
    await openForm();
    await page.locator("#param-options-rank").fill("4096");
    await page.locator("#param-options-rank").press("Tab");
    const rank = page.locator("#param-options-rank");
    await expect.poll(() => rank.getAttribute("aria-invalid")).toBe("true");
    expect(await page.locator("form [role=alert]").innerText()).toMatch(/rank is 4096; .* at most 128/);
    expect(await button("Start training").isEnabled()).toBe(false);
    await rank.fill("4");
    await rank.press("Tab");
    await expect.poll(() => preview().innerText()).toMatch(/49,152/);
    expect(await button("Start training").isEnabled()).toBe(true);
  });

  test("keeps its settings in the address", async () => {
    await openForm();
    await page.getByRole("radio", { name: /^DoRA/ }).check();
    await expect.poll(() => page.url()).toContain("dora");
    await page.reload();
    await expect.poll(() => page.getByRole("radio", { name: /^DoRA/ }).isChecked(), { timeout: runWithinMs }).toBe(true);
  });
});

describe("a run", () => {
  test("moves its spectra while it trains; the slider looks back, a reload keeps run and step, the newest comes back", async () => {
    await startRun("watched", 150);
    await show("spectrum");
    const curves = () => figure("spectrum").locator("svg").innerHTML();
    const early = await curves();
    await expect.poll(curves, { timeout: runWithinMs }).not.toBe(early);
    await isDone();
    const last = await settled(curves);
    await slider().focus();
    for (let times = 0; times < 8; times += 1) await page.keyboard.press("ArrowLeft");
    await expect.poll(stepInAddress).not.toBeNull();
    const step = stepInAddress();
    await expect.poll(curves).not.toBe(last);
    const then = await curves();
    await page.reload();
    await page.locator("[data-figure=loss] path.curve").first().waitFor({ timeout: runWithinMs });
    expect(stepInAddress()).toBe(step);
    expect(await heading()).toContain("watched");
    await show("spectrum");
    await expect.poll(curves).toBe(then);
    await button("last").click();
    await expect.poll(curves).toBe(last);
    expect(stepInAddress()).toBeNull();
  });

  test("pauses with a checkpoint, goes on from it, and ends", async () => {
    await startRun("paused-once", 400);
    await button("Pause").click();
    await button("Resume").waitFor({ timeout: runWithinMs });
    expect(await heading()).toMatch(/paused, \d+ of 400 steps/);
    const at = Number(/paused, (\d+) of/.exec(await heading())![1]);
    expect(at).toBeLessThan(400);
    await button("Resume").click();
    await isDone();
    expect(await heading()).toMatch(/400 of 400 steps/);
  });

  test("is branched at a checkpoint with other settings, and its adapter is opened beside the others", async () => {
    await startRun("stem", 60);
    await isDone();
    const checkpoints = page.getByRole("radiogroup", { name: "Checkpoint at step" }).getByRole("radio");
    await checkpoints.first().click();
    const step = (await checkpoints.first().innerText()).trim();
    await button(`Branch at step ${step}`).click();
    await page.getByText(`at step ${step}`).first().waitFor();
    await page.locator("#training-name").fill("branch");
    await page.locator("#param-optimizer-learningRate").fill("0.0005");
    await page.locator("#param-optimizer-learningRate").press("Tab");
    await button("Start the branch").click();
    await expect.poll(heading, { timeout: runWithinMs }).toMatch(/^branch/);
    await isDone();
    const before = await page.getByRole("switch").count();
    await button("Open this adapter").click();
    await expect.poll(() => page.getByRole("switch").count(), { timeout: runWithinMs }).toBe(before + 1);
  });

  test("has the parts of one checkpoint put into another, on its first pinned prompt", async () => {
    await startRun("across", 60);
    await isDone();
    const checkpoints = page.getByRole("radiogroup", { name: "Checkpoint at step" }).getByRole("radio");
    const [early, late] = [(await checkpoints.first().innerText()).trim(), (await checkpoints.last().innerText()).trim()];
    await checkpoints.first().click();
    await page.getByRole("combobox", { name: "Step whose parts are taken" }).selectOption(`step ${late}`);
    await button(`Patch into step ${early}`).click();
    await figure("across").getByText(`step-${late} into step-${early}`).first().waitFor({ timeout: runWithinMs });
    await expect.poll(() => page.locator(".checks").getByLabel("holds", { exact: true }).count(), { timeout: runWithinMs }).toBe(4);
    expect(await page.getByRole("switch", { checked: true }).count()).toBe(2);
    expect(new URL(page.url()).searchParams.get("probe")).toBe("acrossTime");
    expect(new URL(page.url()).searchParams.get("clean")).toBe("The capital of Arvenia is");
  });

  test("writes the spectrum of the step that the slider shows into its file", async () => {
    await startRun("exported", 40);
    await isDone();
    await slider().focus();
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    await show("spectrum");
    const csv = async () => {
      const [download] = await Promise.all([page.waitForEvent("download"), figure("spectrum").getByText("CSV", { exact: true }).click()]);
      return readFileSync(await download.path(), "utf8");
    };
    const early = await csv();
    await button("last").click();
    const last = await csv();
    expect(early.split("\r\n")).toHaveLength(last.split("\r\n").length);
    expect(early).not.toBe(last);
  });
});

test("two runs stand side by side with what differs, and the address holds them", async () => {
  await startRun("left", 30);
  await isDone();
  await button("New run").click();
  await page.locator("#training-name").fill("right");
  await page.locator("#param-options-rank").fill("2");
  await page.locator("#param-options-rank").press("Tab");
  await expect.poll(() => preview().innerText()).toMatch(/24,576/);
  await button("Start training").click();
  await expect.poll(heading, { timeout: runWithinMs }).toMatch(/^right/);
  await isDone();
  await page.getByRole("checkbox", { name: /^Compare left/ }).check();
  await page.getByRole("checkbox", { name: /^Compare right/ }).check();
  await button("Compare 2 runs").click();
  await page.getByText("2 runs side by side").waitFor();
  const settings = page.getByRole("row", { name: /options\.rank/ });
  expect(await settings.innerText()).toMatch(/2.*8|8.*2/s);
  expect(await page.getByRole("row", { name: /effective rank/ }).count()).toBe(1);
  expect(await page.locator('[data-figure="loss.loss_smoothed"] path.curve').count()).toBe(2);
  await page.reload();
  await page.getByText("2 runs side by side").waitFor({ timeout: runWithinMs });
});

describe("the pages of training", () => {
  test("have no serious accessibility fault and stay inside a window 1,024 wide", async () => {
    await page.setViewportSize({ width: 1024, height: 768 });
    const faults = async () => {
      // Evaluated, not added as a script: the page's own policy forbids inline scripts, as it should.
      await page.evaluate(readFileSync(createRequire(import.meta.url).resolve("axe-core"), "utf8"));
      return page.evaluate(async () => {
        const { axe } = window as unknown as { axe: { run(): Promise<{ violations: { id: string; impact: string; nodes: { html: string }[] }[] }> } };
        return (await axe.run()).violations
          .filter(({ impact }) => impact === "serious" || impact === "critical")
          .map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`);
      });
    };
    const fits = () => page.evaluate(() => document.documentElement.scrollWidth <= 1024 && document.documentElement.scrollHeight <= 768);
    await openForm();
    expect(await faults()).toEqual([]);
    expect(await fits()).toBe(true);
    await page.locator("#training-name").fill("accessible");
    await page.locator("#param-steps").fill("30");
    await page.locator("#param-steps").press("Tab");
    await expect.poll(() => preview().innerText()).toMatch(/30 steps/);
    await button("Start training").click();
    await expect.poll(heading, { timeout: runWithinMs }).toMatch(/^accessible/);
    await isDone();
    expect(await faults()).toEqual([]);
    expect(await fits()).toBe(true);
  });
});
