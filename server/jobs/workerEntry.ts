/** Starts a worker thread from a module, whether that module is built JavaScript or still TypeScript. */
import { Worker, type ResourceLimits } from "node:worker_threads";

/** The production entry, next to this file and of the same kind: `worker.js` in dist, `worker.ts` in a checkout. */
export const workerModule = new URL(import.meta.url.endsWith(".ts") ? "./worker.ts" : "./worker.js", import.meta.url);

export function startWorker(module: URL, workerData: unknown, resourceLimits: ResourceLimits = {}): Worker {
  if (!module.pathname.endsWith(".ts")) return new Worker(module, { workerData, resourceLimits });
  // In Node 20 `--import tsx` does not reach a worker's own entry module, so a line of JavaScript registers it first.
  const boot = `import(${JSON.stringify(import.meta.resolve("tsx/esm/api"))}).then(({ register }) => { register(); return import(${JSON.stringify(module.href)}); })`;
  return new Worker(boot, { eval: true, execArgv: [], workerData, resourceLimits });
}
