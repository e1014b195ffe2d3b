import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
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
    expect(existsSync(join(folder, "lock.json"))).toBe(false);
    await expect(RunLock.take(folder, 0)).rejects.toThrow(new RegExp(`process ${process.pid}`));
    lock.release();
    expect(readdirSync(folder)).toEqual([]);
  });

  test("is never held twice, by four processes that take it in turn among locks that others left", async () => {
    const takings = 60;
    const taker = (): Promise<string> =>
      new Promise((done, fail) => {
        const child = spawn(
          process.execPath,
          [
            "--import",
            "tsx",
            "--input-type=module",
            "-e",
            `
  import { closeSync, openSync, rmSync, writeFileSync } from "node:fs";
  const { RunLock } = await import(${JSON.stringify(module)});
  const folder = ${JSON.stringify(folder)};
  let doubles = 0;
  for (let i = 0; i < ${takings}; i++) {
    const lock = await RunLock.take(folder, 300_000);
    try { closeSync(openSync(folder + "/held", "wx")); } catch { doubles++; }
    if (i % 3 === 0) writeFileSync(folder + "/lock-" + process.pid + "-" + i + ".json", JSON.stringify({ pid: 2 ** 22 + 1, started: "1" }));
    rmSync(folder + "/held", { force: true });
    lock.release();
  }
  process.stdout.write(String(doubles));
`,
          ],
          { stdio: ["ignore", "pipe", "inherit"] },
        );
        let said = "";
        child.stdout.on("data", (data: Buffer) => (said += data.toString()));
        child.on("error", fail);
        child.on("close", () => done(said));
      });
    expect(await Promise.all([taker(), taker(), taker(), taker()])).toEqual(["0", "0", "0", "0"]);
  });
});
