/**
 * Starts a worker from a module, whether that module is built JavaScript or still TypeScript.
 * A worker is a process, not a thread: ending a thread inside ONNX Runtime's `run` aborts the whole process ("Napi::Error"),
 * and so would any crash in native code. Processes share the weights through the page cache just as threads do.
 */
import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { EngineChoice } from "./messages.ts";

/** The production entry, next to this file and of the same kind: `worker.js` in dist, `worker.ts` in a checkout. */
export const workerModule = new URL(import.meta.url.endsWith(".ts") ? "./worker.ts" : "./worker.js", import.meta.url);

/**
 * Activations leave ONNX Runtime as array buffers, and a heap that starts small is collected for each 30 MB of them: a forward
 * pass with every hook of GPT-2-small's size takes 8 % less with this.
 */
export const workerNodeFlags: readonly string[] = ["--initial-heap-size=1024"];

export function startWorker(module: URL, choice: EngineChoice, nodeFlags: readonly string[] = workerNodeFlags): ChildProcess {
  const loader = module.pathname.endsWith(".ts") ? ["--import", import.meta.resolve("tsx")] : [];
  return fork(fileURLToPath(module), [JSON.stringify(choice)], {
    execArgv: [...nodeFlags, ...loader],
    // Structured clone, so that typed arrays stay typed arrays.
    serialization: "advanced",
    // A worker's words go where the log goes; stdout is for the address and for results.
    stdio: ["ignore", 2, 2, "ipc"],
  });
}
