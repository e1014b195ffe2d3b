/** The real server on a free port and a real browser in front of it. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium, type Browser } from "playwright-core";

const { findChromium } = (await import(new URL("../../scripts/findChromium.mjs", import.meta.url).href)) as { findChromium: () => string | null };
const binary = fileURLToPath(new URL("../../bin/deltascope.js", import.meta.url));
const startWithinMs = 240_000;

export interface RunningServer {
  readonly url: string;
  stop(): Promise<void>;
}

/** @param kept a folder for its runs that stays; else one of its own, which goes with it */
export async function startServer(kept?: string): Promise<RunningServer> {
  const logdir = kept ?? mkdtempSync(join(tmpdir(), "deltascope-e2e-"));
  const child = spawn(process.execPath, [binary, "serve", "--no-open", "--port", "0", "--logdir", logdir], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  const url = await new Promise<string>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`the server did not start within ${startWithinMs} ms: ${said}`)), startWithinMs);
    const hear = (chunk: Buffer): void => {
      said += chunk.toString();
      const address = /http:\/\/\S+/.exec(said)?.[0];
      if (address === undefined) return;
      clearTimeout(late);
      resolve(address);
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.on("exit", (code) => reject(new Error(`the server ended with ${code}: ${said}`)));
  });
  return {
    url,
    stop: () =>
      new Promise((resolve) => {
        child.removeAllListeners("exit");
        child.on("exit", () => {
          if (kept === undefined) rmSync(logdir, { recursive: true, force: true });
          resolve();
        });
        child.kill("SIGTERM");
      }),
  };
}

export function startBrowser(): Promise<Browser> {
  const executablePath = findChromium();
  if (executablePath === null) throw new Error("no Chromium; run `node scripts/ensureChromium.mjs`");
  return chromium.launch({
    executablePath,
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
  });
}
