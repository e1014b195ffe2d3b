/**
 * Who writes into a run's folder. A worker outlives a killed server by the step it is in, and two commands may be given
 * one folder: the second waits a little for the first to be gone, and is refused when it stays.
 *
 * Each who wants the folder puts a file of its own name into it, whole from the first moment, and then looks: where another living
 * process has one, it takes its own away again and waits. Of two who come at once at least one sees the other, and the files of dead
 * processes can be removed by anyone, as no living one ever has their names.
 */
import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";

const isLock = (name: string): boolean => /^lock(-[\w-]+)?\.json$/.test(name);
const lockFile = z.object({ pid: z.int(), started: z.string() });
const waitMs = 20_000;
/** Longest of the random waits: those who met must not meet again. */
const askEveryMs = 100;

export class RunLock {
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  /** @throws "run.notFinished" naming the process that has the folder */
  static async take(folder: string, patienceMs = waitMs): Promise<RunLock> {
    const own = `lock-${randomUUID()}.json`;
    const path = join(folder, own);
    const end = performance.now() + patienceMs;
    for (;;) {
      const aside = join(folder, `.${own}.tmp`);
      try {
        writeFileSync(aside, JSON.stringify({ pid: process.pid, started: startOf(process.pid) }));
        renameSync(aside, path);
      } catch (error) {
        // A full disk still takes an empty file.
        rmSync(aside, { force: true });
        throw error;
      }
      const other = otherHolder(folder, own);
      if (other === null) return new RunLock(path);
      rmSync(path, { force: true });
      if (performance.now() > end)
        throw new WorkbenchError(
          "run.notFinished",
          `${folder} is being written by process ${other.pid}; expected it to have ended (if it is no run of yours, delete ${join(folder, other.name)})`,
        );
      await delay(Math.random() * askEveryMs);
    }
  }

  release(): void {
    rmSync(this.#path, { force: true });
  }
}

/** A living process with a lock in the folder other than `own`; locks of dead ones are removed. */
function otherHolder(folder: string, own: string): { name: string; pid: number } | null {
  for (const name of readdirSync(folder)) {
    if (name === own || !isLock(name)) continue;
    const pid = holder(join(folder, name));
    if (pid !== null) return { name, pid };
    rmSync(join(folder, name), { force: true });
  }
  return null;
}

/** The process of a lock file, while it lives. */
function holder(path: string): number | null {
  let raw: unknown;
  try {
    raw = JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return null;
  }
  const parsed = lockFile.safeParse(raw);
  return parsed.success && startOf(parsed.data.pid) === parsed.data.started ? parsed.data.pid : null;
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
