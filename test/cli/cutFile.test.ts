/** A weights file that is cut while a command reads it: the command ends, and says why. */
import { spawnSync } from "node:child_process";
import { cpSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, expect, test } from "vitest";
import { bin, temporaryFolder } from "./deltascope.ts";

const demoAdapter = fileURLToPath(new URL("../../fixtures/demo/ioi-flip", import.meta.url));
const folder = temporaryFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The first thing that happens after the file was mapped is that somebody empties it: its mapping is there, its pages are not. */
const cutter = (file: string): string => `
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
const close = fs.closeSync;
let isCut = false;
fs.closeSync = (fd) => {
  close(fd);
  if (isCut || !fs.readFileSync("/proc/self/maps", "utf8").includes(${JSON.stringify(file)})) return;
  isCut = true;
  fs.truncateSync(${JSON.stringify(file)}, 0);
};
syncBuiltinESMExports();
`;

test.skipIf(process.platform !== "linux").each([["inspect"], ["probe", "deltaSpectrum", "--out", join(folder, "out")]])(
  "%s dies by SIGBUS with words that name the file",
  { timeout: 60_000 },
  (...command) => {
    const adapter = join(folder, `adapter-${command[0]}`);
    cpSync(demoAdapter, adapter, { recursive: true });
    const weights = join(adapter, "adapter_model.safetensors");
    const preload = join(folder, "cut.mjs");
    writeFileSync(preload, cutter(weights));
    const { signal, stderr, stdout } = spawnSync(process.execPath, ["--import", pathToFileURL(preload).href, bin, ...command, "--adapter", adapter], {
      encoding: "utf8",
      env: { ...process.env, DELTASCOPE_SOURCE: "1" },
    });
    expect({ signal, stdout }).toEqual({ signal: "SIGBUS", stdout: "" });
    expect(stderr).toMatch(/^deltascope: a weights file was cut short.*expected.*run this again.*\(file\.changed\)\n/);
    expect(stderr).toContain(weights);
  },
);
