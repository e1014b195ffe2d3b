/** Three things that the workbench does all day, timed on one model: what a forward, a tile of a sweep and a training step take, and where. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomStream } from "../linalg/random.ts";
import { loadModel, type LoadedModel } from "../models/loadModel.ts";
import { Runner } from "../runs/runner.ts";
import { sweep } from "../runs/sweep.ts";
import { baseSetting, type World } from "../runs/worlds.ts";
import type { Engine } from "../tensors/engine.ts";
import { createOnnxEngine } from "../tensors/onnx.ts";
import { startAdaptation } from "../training/adaptation.ts";
import { siteParams } from "../training/trainingParams.ts";
import { TrainingPrograms } from "../training/trainingPrograms.ts";
import { nodeTimes, type NodeTimes } from "./nodeTimes.ts";

export interface Workload extends NodeTimes {
  readonly name: string;
  /** Median, from the call to its answer. */
  readonly wall: number;
}

type Run = () => Promise<unknown>;

const positions = 128;
/** Runs in all, of which the first compiles and is not counted. */
const repetitions = 6;

const workloads: readonly { readonly name: string; readonly ready: (model: LoadedModel, engine: Engine) => Run }[] = [
  { name: "forward 1×128, every hook cached", ready: forward },
  { name: "sweep of one layer, 32 worlds of 16 tokens", ready: sweepTile },
  { name: "LoRA r=8 loss and gradients, 4×128", ready: step },
];

/** @throws what opening the model and running it throw */
export async function timedWorkloads(modelFolder: string, threads: number | undefined): Promise<Workload[]> {
  const model = loadModel(modelFolder);
  const timed: Workload[] = [];
  for (const { name, ready } of workloads) {
    const folder = mkdtempSync(join(tmpdir(), "deltascope-profile-"));
    try {
      const engine = await createOnnxEngine("onnx-cpu", { ...(threads === undefined ? {} : { threads }), profileFolder: folder });
      const run = ready(model, engine);
      const walls: number[] = [];
      for (let i = 0; i < repetitions; i++) {
        const start = performance.now();
        await run();
        walls.push((performance.now() - start) / 1000);
      }
      await engine.dispose();
      const profiles = readdirSync(folder).map((file) => readFileSync(join(folder, file), "utf8"));
      const counted = walls.slice(1).toSorted((a, b) => a - b);
      timed.push({ name, wall: counted[counted.length >> 1] ?? NaN, ...nodeTimes(profiles, repetitions, 1) });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  return timed;
}

const ids = (model: LoadedModel, count: number): number[] =>
  Array.from({ length: Math.min(count, model.config.nCtx) }, (_, i) => (i * 31) % model.config.dVocab);

function forward(model: LoadedModel, engine: Engine): Run {
  const runner = new Runner(model, [], engine);
  const taps = [...runner.hooks.keys()];
  return () => runner.forward({ tokens: [ids(model, positions)], settings: [baseSetting], taps, logits: "all" });
}

function sweepTile(model: LoadedModel, engine: Engine): Run {
  const runner = new Runner(model, [], engine);
  const tokens = ids(model, 16);
  const hook = "blocks.0.hook_resid_pre";
  const worlds = Array.from({ length: 32 }, (_, i): World => ({
    setting: baseSetting,
    edits: [{ hook, position: i % tokens.length, head: null, source: "clean" }],
  }));
  return async () => {
    const { taps } = await runner.forward({ tokens: [tokens.toReversed()], settings: [baseSetting], taps: [hook], logits: "none" });
    const request = { runner, tokens, setting: baseSetting, worlds, sources: { clean: taps }, position: tokens.length - 1 };
    for await (const tile of sweep(request)) tile.logits.data.at(0);
  };
}

function step(model: LoadedModel, engine: Engine): Run {
  const adaptation = startAdaptation(model, {
    method: "lora",
    options: { rank: 8, alpha: 16 },
    sites: siteParams.parse({}),
    labels: [],
    tasks: ["all"],
    seed: 1,
    runKey: "limits",
  });
  const programs = new TrainingPrograms(engine, adaptation);
  const rows = 4;
  const row = ids(model, positions);
  const tokens = Int32Array.from(Array.from({ length: rows }, () => row).flat());
  const batch = {
    rows,
    positions: row.length,
    tokens,
    targets: tokens,
    lossWeights: new Float32Array(tokens.length).fill(1),
    last: new Int32Array(rows).fill(row.length - 1),
    labels: new Int32Array(rows),
    tasks: new Int32Array(rows),
  };
  const request = { batch, scale: 1 / tokens.length, penaltyScale: 1, dropout: 0, labelSmoothing: 0, random: randomStream(0) };
  return () => programs.lossAndGradients(request);
}
