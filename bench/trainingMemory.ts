/**
 * What a training run was said to need beside the peak it had, one process a run, on random texts over random weights.
 * Run: npx tsx bench/trainingMemory.ts [gpt2-124m|llama-small|FOLDER rows positions [method]]
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadModel } from "../server/models/loadModel.ts";
import { sharedEngine } from "../server/runs/subject.ts";
import { randomStream } from "../server/linalg/random.ts";
import { trainedCount } from "../server/training/adaptation.ts";
import type { Dataset } from "../server/data/example.ts";
import { memoryEstimate, totalBytes } from "../server/training/memoryEstimate.ts";
import { Trainer } from "../server/training/trainer.ts";
import { trainingParams } from "../server/training/trainingParams.ts";
import { makeCheckpoint, type CheckpointName } from "../server/limits/randomCheckpoint.ts";

const root = join(tmpdir(), "deltascope-bench");
const demo = fileURLToPath(new URL("../fixtures/demo/base", import.meta.url));
const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(0).padStart(6);

const cases = [
  [demo, 8, 32, "lora"],
  [demo, 64, 64, "lora"],
  [demo, 64, 64, "full"],
  ["llama-small", 4, 128, "lora"],
  ["llama-small", 2, 512, "lora"],
  ["gpt2-124m", 1, 128, "lora"],
  ["gpt2-124m", 4, 128, "lora"],
  ["gpt2-124m", 1, 512, "lora"],
] as const;

const [name, rows, positions, method = "lora"] = process.argv.slice(2);
if (name === undefined) {
  process.stdout.write("MiB: estimated, measured, ratio\n");
  const script = fileURLToPath(import.meta.url);
  for (const one of cases) spawnSync(process.execPath, ["--import", "tsx", script, ...one.map(String)], { stdio: "inherit" });
} else {
  const folder = name === "gpt2-124m" || name === "llama-small" ? makeCheckpoint(root, name satisfies CheckpointName) : name;
  await measure(folder, Number(rows), Number(positions), method);
  process.exit(0);
}

async function measure(folder: string, batchSize: number, length: number, how: string): Promise<void> {
  const model = loadModel(folder);
  const random = randomStream(1, "texts");
  const train = Array.from({ length: 2 * batchSize }, () => ({
    tokens: Int32Array.from({ length }, () => random.below(model.config.dVocab)),
    lossWeights: new Float32Array(length).fill(1, 1),
    label: null,
    task: 0,
  }));
  const dataset: Dataset = { train, validation: [], labels: [], tasks: ["all"], cut: 0 };
  const params = trainingParams.parse({ method: how, data: { path: "none" }, batchSize, steps: 2, evaluateEvery: 100, checkpointEvery: 100 });
  const runFolder = mkdtempSync(join(tmpdir(), "deltascope-memory-"));
  const trainer = new Trainer({ model, params, dataset, engine: await sharedEngine({ engine: "onnx-cpu" }), folder: runFolder });
  await trainer.prepare();
  for await (const event of trainer.run(new AbortController().signal)) if (event.type === "ended") break;
  rmSync(runFolder, { recursive: true, force: true });
  const estimated = totalBytes(
    memoryEstimate({
      model,
      trained: trainedCount(trainer.adaptation),
      frozen: 0,
      isFull: how === "full",
      classes: model.config.dVocab,
      batch: { rows: batchSize, positions: length, predictions: batchSize * (length - 1) },
      look: null,
    }),
  );
  const measured = process.resourceUsage().maxRSS * 1024;
  process.stdout.write(`${mib(estimated)} ${mib(measured)} ${(estimated / measured).toFixed(2)}  ${model.name} ${batchSize} × ${length} ${how}\n`);
}
