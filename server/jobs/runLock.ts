/**
 * Who writes into a run's folder. A worker outlives a killed server by the step it is in, and two commands may be given
 * one folder: the second waits a little for the first to be gone, and is refused when it stays.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";

const fileName = "lock.json";
const lockFile = z.object({ pid: z.int(), started: z.string() });
const waitMs = 20_000;
const askEveryMs = 100;

export class RunLock {
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  /** @throws "run.notFinished" naming the process that has the folder */
  static async take(folder: string, patienceMs = waitMs): Promise<RunLock> {
    const path = join(folder, fileName);
    const own = JSON.stringify({ pid: process.pid, started: startOf(process.pid) });
    const end = performance.now() + patienceMs;
    for (;;) {
      try {
        writeFileSync(path, own, { flag: "wx" });
        return new RunLock(path);
      } catch (error) {
        if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
      }
      const pid = holder(path);
      if (pid === null) {
        rmSync(path, { force: true });
        continue;
      }
      if (performance.now() > end)
        throw new WorkbenchError(
          "run.notFinished",
          `${folder} is being written by process ${pid}; expected it to have ended (if it is no run of yours, delete ${path})`,
        );
      await delay(askEveryMs);
    }
  }

  release(): void {
    rmSync(this.#path, { force: true });
  }
}

/** The process that holds the lock and lives; null when there is none. */
function holder(path: string): number | null {
  let raw: unknown;
  try {
    raw = JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return null;
  }
  const parsed = lockFile.safeParse(raw);
  if (!parsed.success || parsed.data.pid === process.pid) return null;
  return startOf(parsed.data.pid) === parsed.data.started ? parsed.data.pid : null;
}

/** What tells a process from a later one of the same number, where the system says so; "" for one that has ended. */
function startOf(pid: number): string {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // After the name, which is in brackets: state first, start time twentieth. A zombie has ended.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? "" : (fields[19] ?? "");
  } catch {
    return process.platform !== "linux" && isAlive(pid) ? "alive" : "";
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
