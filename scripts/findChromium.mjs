// Where Chromium is on this machine: CHROMIUM_PATH, a name on PATH, or Playwright's own download.
import { accessSync, constants, existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const applications = ["/Applications/Google Chrome.app/Contents/MacOS/Google Chrome", "/Applications/Chromium.app/Contents/MacOS/Chromium"];

/** @returns {string | null} */
export function findChromium() {
  const given = process.env["CHROMIUM_PATH"];
  if (given) return isExecutable(given) ? given : null;
  const onPath = (process.env["PATH"] ?? "").split(delimiter).flatMap((folder) => names.map((name) => join(folder, name)));
  return [...onPath, ...applications].find(isExecutable) ?? playwrightsOwn();
}

function playwrightsOwn() {
  const path = chromium.executablePath();
  return existsSync(path) ? path : null;
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
