import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { RunLock } from "../../server/jobs/runLock.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "deltascope-lock-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const module = new URL("../../server/jobs/runLock.ts", import.meta.url).href;
/** Another process that takes the lock, says so, and keeps it for a minute. */
const holderOf = (path: string) =>
  spawn(
    process.execPath,
    [
      "--import",
      "tsx",
      "--input-type=module",
      "-e",
      `
  const { RunLock } = await import(${JSON.stringify(module)});
  await RunLock.take(${JSON.stringify(path)});
  process.stdout.write("taken");
  setTimeout(() => {}, 60_000);
`,
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );

describe("a run's folder", () => {
  test("has one writer: while one lives, another is refused and told who it is", async () => {
    const holder = holderOf(folder);
    await once(holder.stdout, "data");
    await expect(RunLock.take(folder, 200)).rejects.toThrow(new RegExp(`being written by process ${holder.pid}`));
    holder.kill("SIGKILL");
    await once(holder, "exit");
    const lock = await RunLock.take(folder, 0);
    lock.release();
    expect(existsSync(join(folder, "lock.json"))).toBe(false);
  });

  test("is waited for while its writer is ending", async () => {
    const holder = holderOf(folder);
    await once(holder.stdout, "data");
    const taking = RunLock.take(folder, 20_000);
    holder.kill("SIGKILL");
    (await taking).release();
  });

  test.each([
    ["of a process that ended", () => JSON.stringify({ pid: spawnSync(process.execPath, ["-e", ""]).pid, started: "1" })],
    ["of a later process with the same number", () => JSON.stringify({ pid: process.ppid, started: "another time" })],
    ["that was torn", () => '{"pi'],
  ])("with a lock %s is free", async (_, text) => {
    writeFileSync(join(folder, "lock.json"), text());
    const lock = await RunLock.take(folder, 0);
    expect(JSON.parse(readFileSync(join(folder, "lock.json"), "utf8"))).toMatchObject({ pid: process.pid });
    lock.release();
  });
});
