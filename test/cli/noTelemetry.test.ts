/** Nothing leaves the machine: ONNX Runtime's own telemetry makes files in the user's folders before it uploads them. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { bin, demoBase } from "./deltascope.ts";

const folder = mkdtempSync(join(tmpdir(), "deltascope-quiet-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** All files under the folders that a process took for its home and its temporary files. */
async function traces(name: string, args: readonly string[]): Promise<string[]> {
  const [home, temporary] = [join(folder, name, "home"), join(folder, name, "tmp")];
  for (const made of [home, temporary]) mkdirSync(made, { recursive: true });
  const { ORT_DISABLE_TELEMETRY: _, ...env } = process.env;
  const child = spawn(process.execPath, args, {
    cwd: folder,
    env: { ...env, HOME: home, XDG_CACHE_HOME: join(home, ".cache"), TMPDIR: temporary, DELTASCOPE_SOURCE: "1" },
    stdio: "ignore",
  });
  const [code] = (await once(child, "close")) as [number | null];
  expect(code).toBe(0);
  return [home, temporary].flatMap((root) => readdirSync(root, { recursive: true }).map(String)).filter((path) => /mat-debug|deviceid|onnxruntime/i.test(path));
}

test("a command that runs the engine leaves no device id and no event store", async () => {
  const args = [
    bin,
    "activations",
    "--model",
    demoBase,
    "--tokens",
    "[[1,2]]",
    "--hooks",
    "blocks.0.hook_resid_pre",
    "--engine",
    "onnx-cpu",
    "--out",
    join(folder, "x.safetensors"),
  ];
  expect(await traces("command", args)).toEqual([]);
});

test("a script that imports the engine does not either", async () => {
  const providers = new URL("../../server/tensors/providers.ts", import.meta.url).href;
  const script = `const { createEngine } = await import(${JSON.stringify(providers)}); await (await createEngine("onnx-cpu")).dispose();`;
  expect(await traces("script", ["--import", import.meta.resolve("tsx"), "--input-type=module", "-e", script])).toEqual([]);
});

test("a worker of the server does not, whatever the server's own environment says", async () => {
  const module = (path: string): string => JSON.stringify(new URL(`../../server/jobs/${path}`, import.meta.url).href);
  const request = { subject: { model: demoBase, adapters: [] }, probe: "attentionPatterns", params: { prompt: [1, 2] } };
  const script = `
    const { WorkerLane } = await import(${module("workerLane.ts")});
    const { startWorker, workerModule } = await import(${module("workerProcess.ts")});
    const lane = new WorkerLane({ start: () => startWorker(workerModule, { engine: "onnx-cpu" }), maxWaiting: 1 });
    const { engine } = await lane.execute({ kind: "run", input: { kind: "probe", request: ${JSON.stringify(request)}, folder: "" } });
    lane.close();
    if (engine !== "onnx-cpu" || "ORT_DISABLE_TELEMETRY" in process.env) process.exit(1);`;
  expect(await traces("worker", ["--import", import.meta.resolve("tsx"), "--input-type=module", "-e", script])).toEqual([]);
});
