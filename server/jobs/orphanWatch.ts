/**
 * Ends a worker whose server is gone. The "disconnect" of its channel needs the event loop, which a long step of the engine holds;
 * a thread of its own looks whether the parent is still there.
 */
import { Worker } from "node:worker_threads";

const lookEveryMs = 1000;

/** Kills this process soon after its parent has ended, whatever it is doing. */
export function endWithParent(): void {
  const source = `
    const { workerData: parent } = require("node:worker_threads");
    setInterval(() => { if (process.ppid !== parent) process.kill(process.pid, "SIGKILL"); }, ${lookEveryMs});`;
  new Worker(source, {
    eval: true,
    workerData: process.ppid,
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 4 },
  }).unref();
}
