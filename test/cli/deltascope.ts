/** The command line from its sources, not a build that may be older than they are. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const bin = fileURLToPath(new URL("../../bin/deltascope.js", import.meta.url));
export const demoBase = fileURLToPath(new URL("../../fixtures/demo/base", import.meta.url));
export const factsFile = fileURLToPath(new URL("../../fixtures/tasks/facts.jsonl", import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}
export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Resolves when stderr has the words; also when the command ends without them. */
  said(words: string | RegExp): Promise<void>;
}

export function start(command: string, args: readonly string[], folder: string): Running {
  const child = spawn(command, args, { cwd: folder, env: { ...process.env, DELTASCOPE_SOURCE: "1" }, stdio: ["ignore", "pipe", "pipe"] });
  const text = { out: "", err: "" };
  child.stdout.on("data", (chunk: Buffer) => (text.out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (text.err += chunk.toString()));
  const ended = once(child, "close").then(([code]) => ({ code: code as number | null, ...text }));
  const said = (words: string | RegExp): Promise<void> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (text.err.search(words) >= 0) resolve();
      };
      child.stderr.on("data", look);
      child.on("close", () => resolve());
      look();
    });
  return { child, ended, said };
}

export const deltascope = (folder: string, ...args: string[]): Running => start(process.execPath, [bin, ...args], folder);

export const temporaryFolder = (): string => mkdtempSync(join(tmpdir(), "deltascope-train-"));

/** A run that is short and has all that a checkpoint must hold: moments, dropout, looks, an order of its own in each epoch. */
export const shortRun = {
  model: demoBase,
  options: { rank: 4 },
  sites: { targetModules: ["c_attn"] },
  data: { path: factsFile, task: "completion" },
  steps: 40,
  batchSize: 16,
  checkpointEvery: 3,
  evaluateEvery: 20,
  dropout: 0.1,
  optimizer: { learningRate: 0.01, weightDecay: 0.01 },
  seed: 5,
};
