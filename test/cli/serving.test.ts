/** What keeps a server from starting, told in words and never as a stack. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { RunLock } from "../../server/jobs/runLock.ts";
import { viewFromQuery } from "../../client/state/view.ts";
import { demoBase, deltascope } from "./deltascope.ts";

const folder = mkdtempSync(join(tmpdir(), "deltascope-serving-"));
afterAll(() => rmSync(folder, { recursive: true }));
const facts = fileURLToPath(new URL("../../fixtures/demo/facts-edit", import.meta.url));
const serve = (...flags: string[]) => deltascope(folder, "serve", demoBase, "--no-open", "--port", "0", ...flags).ended;

test.each([
  ["an empty token", () => ["--token", ""], /--token is empty/],
  ["an empty host", () => ["--host", ""], /--host is empty/],
  ["an address that is none", () => ["--host", "999.1.1.1", "--logdir", join(folder, "a")], /cannot listen on 999\.1\.1\.1/],
  [
    "a log folder that is a file",
    () => {
      writeFileSync(join(folder, "file"), "");
      return ["--logdir", join(folder, "file")];
    },
    /--logdir .*file cannot be used/,
  ],
  ["a log folder below a file", () => ["--logdir", join(folder, "file", "below")], /--logdir .*below cannot be used/],
])("%s is a mistake in the command", async (_name, flags, words) => {
  const { code, err } = await serve(...flags());
  expect(err).toMatch(words);
  expect(err).not.toMatch(/^\s+at /m);
  expect(code).toBe(2);
});

test("a second server on one folder is told of the first, and leaves its runs alone", async () => {
  const log = mkdtempSync(join(folder, "log-"));
  const lock = await RunLock.take(log, 0);
  const { code, err } = await serve("--logdir", log);
  expect(err).toMatch(new RegExp(`another server works on .*process ${process.pid}`));
  expect(code).toBe(2);
  lock.release();
  expect(readdirSync(log)).toEqual([]);
});

test("the address that opens a subject opens it with its names and strengths", async () => {
  const log = mkdtempSync(join(folder, "log-"));
  const { child, ended } = deltascope(folder, "serve", demoBase, "-a", `half=${facts}@0.5`, "-a", `${facts}@2`, "--no-open", "--port", "0", "--logdir", log);
  const address = await new Promise<string>((resolve) => {
    let said = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      const found = / at (http:\S+)/.exec(said)?.[1];
      if (found !== undefined) resolve(found);
    });
    child.on("close", () => resolve(said));
  });
  child.kill("SIGINT");
  expect((await ended).code).toBe(0);
  const { model, adapters } = viewFromQuery(new URL(address).search);
  expect(model).toBe(demoBase);
  expect(adapters).toEqual([
    { path: facts, name: "half", strength: 0.5, isOn: true },
    { path: facts, name: null, strength: 2, isOn: true },
  ]);
});
