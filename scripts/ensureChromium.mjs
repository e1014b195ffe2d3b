// Finds a Chromium for the browser tests, or installs one: by apt where it may, else Playwright's own, else one clear line.
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { findChromium } from "./findChromium.mjs";

const run = (command, args) => spawnSync(command, args, { stdio: "inherit" }).status === 0;
const found = () => {
  const path = findChromium();
  if (path !== null) console.log(`browser tests use ${path}`);
  return path !== null;
};

if (!found()) {
  if (process.platform === "linux" && process.getuid?.() === 0) {
    console.log("no Chromium found; trying apt-get install chromium");
    run("apt-get", ["update", "-q"]);
    run("apt-get", ["install", "-y", "-q", "--no-install-recommends", "chromium"]);
  }
  if (!found()) {
    console.log("no Chromium found; trying Playwright's own");
    run(process.execPath, [join(dirname(createRequire(import.meta.url).resolve("playwright-core/package.json")), "cli.js"), "install", "chromium"]);
    if (!found()) {
      console.error("The browser tests need Chromium: install it, or set CHROMIUM_PATH to its executable.");
      process.exit(1);
    }
  }
}
