/** One of the things compared: a process that is ready, measures once whenever it is told to, and says at its end how much memory it had. */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";

interface Line {
  readonly ready?: true;
  readonly seconds?: number | readonly number[];
  readonly peakBytes?: number;
}

export interface SideCommand {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd?: string;
}

/** Threads of a library may spin for a moment after their work, on the cores that the next one measured needs. */
const pauseMs = 120;

export class Side {
  readonly seconds: number[] = [];
  peakBytes = 0;
  /** Why it cannot measure. */
  failed: string | null = null;
  readonly #command: SideCommand;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  #said = "";
  /** A revision from before this protocol: it measures a number of times and ends. */
  #isOneShot = false;

  private constructor(command: SideCommand) {
    this.#command = command;
    this.#child = spawn(command.command, command.args, { cwd: command.cwd });
    this.#child.stderr.on("data", (chunk: Buffer) => (this.#said = (this.#said + chunk.toString()).slice(-2000)));
    this.#child.stdin.on("error", () => {});
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Waits until it has opened what it needs and run once. */
  static async start(command: SideCommand): Promise<Side> {
    const side = new Side(command);
    const first = await side.#next();
    if (first.ready) return side;
    side.#isOneShot = first.seconds !== undefined;
    if (!side.#isOneShot) side.failed ??= "it did not say that it is ready";
    return side;
  }

  async measure(): Promise<void> {
    if (this.failed !== null) return;
    await delay(pauseMs);
    if (this.#isOneShot) {
      this.#measureAlone();
      return;
    }
    this.#child.stdin.write("go\n");
    const { seconds } = await this.#next();
    if (typeof seconds === "number") this.seconds.push(seconds);
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    if (this.#isOneShot || this.failed !== null) return;
    this.peakBytes = (await this.#next()).peakBytes ?? 0;
  }

  /** One process a round, three times; its median is the round's. */
  #measureAlone(): void {
    const { command, args, cwd } = this.#command;
    const done = spawnSync(command, [...args, "3"], { cwd, encoding: "utf8", maxBuffer: 2 ** 26 });
    const line = parsed(done.stdout.trim().split("\n").at(-1) ?? "");
    if (typeof line.seconds !== "object") {
      this.failed = lastLine(done.stderr);
      return;
    }
    this.seconds.push(line.seconds.toSorted((a, b) => a - b)[Math.floor(line.seconds.length / 2)] ?? NaN);
    this.peakBytes = Math.max(this.peakBytes, line.peakBytes ?? 0);
  }

  async #next(): Promise<Line> {
    for (;;) {
      const { value, done } = await this.#lines.next();
      if (done) {
        this.failed = lastLine(this.#said);
        return {};
      }
      // Libraries print to stdout what they like; ours are lines of JSON.
      if (value.startsWith("{")) return parsed(value);
    }
  }
}

/** Of what a process said at its end, what tells why. */
function lastLine(text: string): string {
  const lines = text.trim().split("\n");
  return (lines.findLast((line) => /Error\b/.test(line)) ?? lines.at(-1) ?? "").slice(0, 120) || "it ended without a word";
}

function parsed(text: string): Line {
  try {
    return JSON.parse(text) as Line;
  } catch {
    return {};
  }
}
