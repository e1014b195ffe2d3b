/**
 * Measures engines, each in a process of its own: a native library that crashes or hangs must not take the workbench with it.
 * All load at the same time, which takes longest, and measure in turn.
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
    for (const { name, child } of children) speeds[name] = await child.measured();
    return speeds;
  } finally {
    for (const { child } of children) child.end();
  }
}

function start(module: URL, name: EngineName): ChildProcess {
  const loader = module.pathname.endsWith(".ts") ? ["--import", import.meta.resolve("tsx")] : [];
  return fork(fileURLToPath(module), [name], { execArgv: loader, stdio: ["ignore", "ignore", "ignore", "ipc"] });
}

type Speed = NonNullable<EngineSpeeds[EngineName]>;

/** One process, and the end that it came to: a time, or why there is none. */
class Child {
  readonly #process: ChildProcess;
  readonly #ended: Promise<Speed>;
  /** When it has loaded, or has ended without. */
  readonly warm: Promise<unknown>;

  constructor(child: ChildProcess, deadline: AbortSignal, limitMs: number) {
    this.#process = child;
    const ready = new Promise<void>((resolve) => {
      child.on("message", ({ type }: FromSpeedChild) => {
        if (type === "ready") resolve();
      });
    });
    this.#ended = new Promise((resolve) => {
      const fail = (failed: string, isLate = false) => resolve({ failed, isLate });
      child.on("message", (message: FromSpeedChild) => {
        if (message.type === "measured") resolve(message.seconds);
        if (message.type === "failed") fail(message.words);
      });
      child.on("error", (error) => fail(error.message));
      child.on("exit", (code, signal) => fail(signal === null ? `its process exited with code ${code ?? "unknown"}` : `its process was ended by ${signal}`));
      deadline.addEventListener("abort", () => fail(`it gave no time within ${limitMs / 1000} s`, true));
    });
    this.warm = Promise.race([ready, this.#ended]);
  }

  measured(): Promise<Speed> {
    if (this.#process.connected) this.#process.send("measure", () => undefined);
    return this.#ended;
  }

  end(): void {
    this.#process.kill("SIGKILL");
  }
}
