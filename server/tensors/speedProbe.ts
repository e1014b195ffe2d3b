/**
 * Measures engines, each in a process of its own: a native library that crashes or hangs must not take the workbench with it.
 * All load at the same time, which takes longest, and measure in turn, several times, so that what else the machine does meets all of them.
 */
import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { EngineName } from "./engine.ts";
import type { BlockSeconds, EngineSpeeds } from "./engineSpeeds.ts";

export type FromSpeedChild =
  { readonly type: "ready" } | { readonly type: "measured"; readonly seconds: BlockSeconds } | { readonly type: "failed"; readonly words: string };

const childModule = new URL(import.meta.url.endsWith(".ts") ? "./speedChild.ts" : "./speedChild.js", import.meta.url);

export interface SpeedProbeOptions {
  /** For all of them together; what has not answered by then has failed. */
  readonly limitMs: number;
  readonly module?: URL;
}

export async function measureEngines(names: readonly EngineName[], { limitMs, module = childModule }: SpeedProbeOptions): Promise<EngineSpeeds> {
  const deadline = AbortSignal.timeout(limitMs);
  const children = names.map((name) => ({ name, child: new Child(start(module, name), deadline, limitMs) }));
  const speeds: EngineSpeeds = {};
  try {
    await Promise.all(children.map(({ child }) => child.warm));
    for (let round = 0; round < rounds; round++) for (const { name, child } of children) speeds[name] = fastest(speeds[name], await child.measured());
    return speeds;
  } finally {
    for (const { child } of children) child.end();
  }
}

function start(module: URL, name: EngineName): ChildProcess {
  const loader = module.pathname.endsWith(".ts") ? ["--import", import.meta.resolve("tsx")] : [];
  return fork(fileURLToPath(module), [name], { execArgv: loader, stdio: ["ignore", "ignore", "ignore", "ipc"] });
}

const rounds = 3;

type Speed = NonNullable<EngineSpeeds[EngineName]>;

/** One that was in time before is not late. */
function fastest(before: Speed | undefined, now: Speed): Speed {
  if (before === undefined || "failed" in before) return before ?? now;
  if ("failed" in now) return now.isLate ? before : now;
  return { small: Math.min(before.small, now.small), large: Math.min(before.large, now.large) };
}

/** One process: what it answers, and the end that it may come to instead. */
class Child {
  readonly #process: ChildProcess;
  readonly #failed: Promise<Speed>;
  /** When it has loaded, or has ended without. */
  readonly warm: Promise<unknown>;

  constructor(child: ChildProcess, deadline: AbortSignal, limitMs: number) {
    this.#process = child;
    this.#failed = new Promise((resolve) => {
      const fail = (failed: string, isLate = false) => resolve({ failed, isLate });
      child.on("message", (message: FromSpeedChild) => {
        if (message.type === "failed") fail(message.words);
      });
      child.on("error", (error) => fail(error.message));
      child.on("exit", (code, signal) => fail(signal === null ? `its process exited with code ${code ?? "unknown"}` : `its process was ended by ${signal}`));
      deadline.addEventListener("abort", () => fail(`it gave no time within ${limitMs / 1000} s`, true));
    });
    this.warm = Promise.race([this.#answer(({ type }) => (type === "ready" ? true : null)), this.#failed]);
  }

  measured(): Promise<Speed> {
    const answer = this.#answer((message) => (message.type === "measured" ? message.seconds : null));
    if (this.#process.connected) this.#process.send("measure", () => undefined);
    return Promise.race([answer, this.#failed]);
  }

  end(): void {
    this.#process.kill("SIGKILL");
  }

  #answer<T>(read: (message: FromSpeedChild) => T | null): Promise<T> {
    return new Promise((resolve) => {
      this.#process.on("message", (message: FromSpeedChild) => {
        const found = read(message);
        if (found !== null) resolve(found);
      });
    });
  }
}
