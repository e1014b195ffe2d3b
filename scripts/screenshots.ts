/**
 * Pictures of the workbench on the demo, to be looked at: `npx tsx scripts/screenshots.ts [FOLDER]` (docs/screenshots when left out).
 * Every probe at 1440 × 900 in both themes; patching with a pin at 1024 × 768, rail closed and open;
 * training in all of them: the form, a run while it trains, its end with the slider moved back, its spectra.
 */
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Page } from "playwright-core";
import { startBrowser, startServer } from "../test/e2e/browser.ts";

const folder = resolve(process.argv[2] ?? "docs/screenshots");
const runWithinMs = 60_000;
const probes = ["Health", "Spectrum", "Patching", "Components", "Lens", "Attention"];

async function finished(page: Page): Promise<void> {
  await page.locator(".checks").waitFor({ timeout: runWithinMs });
  await page
    .getByText(/\d (ms|s)(,|$)/)
    .first()
    .waitFor({ timeout: runWithinMs });
  await page.locator("progress").waitFor({ state: "detached", timeout: runWithinMs });
}

async function training(page: Page, save: (name: string) => Promise<unknown>): Promise<void> {
  await page.getByRole("button", { name: "Train one" }).click();
  await page.getByText(/parameters at \d+ sites/).waitFor({ timeout: runWithinMs });
  await save("training-form");
  await page.getByRole("button", { name: "Start training" }).click();
  await page.locator("[data-figure=loss] path.curve").first().waitFor({ timeout: runWithinMs });
  await page.waitForTimeout(2500);
  await save("training-live");
  await page.locator("h1", { hasText: "done" }).waitFor({ timeout: runWithinMs });
  await page.getByRole("slider", { name: "Training step" }).focus();
  for (let times = 0; times < 40; times += 1) await page.keyboard.press("ArrowLeft");
  await page.evaluate(() => document.activeElement instanceof HTMLElement && document.activeElement.blur());
  await save("training-earlier");
  await page.locator("[data-figure=spectrum]").evaluate((node) => node.scrollIntoView());
  await page.waitForTimeout(300);
  await save("training-spectra");
  await page.getByRole("combobox", { name: "Site" }).first().selectOption({ index: 12 });
  await page.locator("[data-figure=spectra_over_time]").evaluate((node) => node.scrollIntoView());
  await page.waitForTimeout(300);
  await save("training-ridges");
}

mkdirSync(folder, { recursive: true });
const [server, browser] = await Promise.all([startServer(), startBrowser()]);
try {
  for (const colorScheme of ["light", "dark"] as const) {
    for (const [width, height] of [
      [1440, 900],
      [1024, 768],
    ] as const) {
      const page = await browser.newPage({ viewport: { width, height }, colorScheme });
      const save = (name: string) => page.screenshot({ path: join(folder, `${name}-${width}-${colorScheme}.png`) });
      await page.goto(server.url);
      await finished(page);
      await page.locator("[data-arrows]").first().focus();
      await page.keyboard.press("ArrowUp");
      await page.evaluate(() => document.activeElement instanceof HTMLElement && document.activeElement.blur());
      await save("pinned");
      if (width < 1180) {
        await page.keyboard.press("i");
        await page.waitForTimeout(200);
        await save("drawer");
        await page.keyboard.press("i");
      } else {
        for (const probe of probes) {
          await page.getByRole("tab", { name: probe }).click();
          const run = page.getByRole("button", { name: /^Run / }).first();
          if ((await page.locator(".checks").count()) === 0) await run.click();
          await finished(page);
          await save(probe.toLowerCase());
        }
      }
      await training(page, save);
      await page.close();
    }
  }
} finally {
  await browser.close();
  await server.stop();
}
