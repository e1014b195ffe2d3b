/** One measurement of ours in a process of its own, so that its peak memory is its own: `tsx bench/measure.ts NAME CHECKPOINT REPEATS`. */
import { performance } from "node:perf_hooks";
import { randomStream, uniform } from "../server/linalg/random.ts";
import { openSubject, sharedEngine } from "../server/runs/subject.ts";
import type { Runner } from "../server/runs/runner.ts";
import { sweep } from "../server/runs/sweep.ts";
import { baseSetting, type World } from "../server/runs/worlds.ts";
import { singularValues } from "../server/linalg/factored.ts";
import { startAdaptation, trainedTensors } from "../server/training/adaptation.ts";
import { AdamW } from "../server/training/optimizer.ts";
import { parameterRules } from "../server/training/parameterRules.ts";
import { TrainingPrograms } from "../server/training/trainingPrograms.ts";
import { optimizerParams, siteParams } from "../server/training/trainingParams.ts";
import { loadModel } from "../server/models/loadModel.ts";

const [name, path, repeatsText] = process.argv.slice(2);
const repeats = Number(repeatsText);
const ids = (count: number) => Array.from({ length: count }, (_, i) => 100 + i);

async function times(run: () => Promise<unknown>): Promise<number[]> {
  await run();
  const seconds: number[] = [];
  for (let i = 0; i < repeats; i++) {
    const start = performance.now();
    await run();
    seconds.push((performance.now() - start) / 1000);
  }
  return seconds;
}

async function runnerOf(): Promise<Runner> {
  return (await openSubject({ model: path!, adapters: [] })).runner!;
}

/** The whole layer × position (or × head) sweep, programs and caches included, as a user who just asked for it waits. */
async function sweepOf(hook: (layer: number) => string, by: "position" | "head"): Promise<number[]> {
  const runner = await runnerOf();
  const { nLayers, nHeads } = runner.model.config;
  const clean = ids(16);
  const corrupted = clean.map((id, i) => (i === 5 ? 4000 : id));
  const run = async () => {
    const hooks = Array.from({ length: nLayers }, (_, layer) => hook(layer));
    const { taps } = await runner.forward({ tokens: [clean], settings: [baseSetting], taps: hooks, logits: "none" });
    const worlds = hooks.flatMap((name) =>
      Array.from({ length: by === "position" ? clean.length : nHeads }, (_, i): World => ({
        setting: baseSetting,
        edits: [{ hook: name, position: by === "position" ? i : null, head: by === "head" ? i : null, source: "clean" }],
      })),
    );
    const request = { runner, tokens: corrupted, setting: baseSetting, worlds, sources: { clean: taps }, position: clean.length - 1 };
    let first = 0;
    for await (const tile of sweep(request)) first ||= tile.logits.data[11]!;
    return first;
  };
  return times(run);
}

/** One AdamW step of LoRA r = 8 on every c_attn (q and v of a Llama), the same step as the peer's: `rows` × 128 tokens. */
async function loraStep(rows: number): Promise<number[]> {
  const model = loadModel(path!);
  const targetModules = model.config.modelType === "gpt2" ? ["c_attn"] : ["q_proj", "v_proj"];
  const adaptation = startAdaptation(model, {
    method: "lora",
    options: { rank: 8, alpha: 16 },
    sites: siteParams.parse({ targetModules }),
    labels: [],
    tasks: ["all"],
    seed: 1,
    runKey: "bench",
  });
  const programs = new TrainingPrograms(await sharedEngine(), adaptation);
  const optimizer = new AdamW(optimizerParams.parse({}), parameterRules(adaptation));
  const positions = 128;
  const tokens = Int32Array.from({ length: rows * positions }, (_, i) => 100 + i);
  const batch = {
    rows,
    positions,
    tokens,
    targets: tokens.map((token) => token + 1),
    lossWeights: Float32Array.from(tokens, (_, i) => (i % positions === positions - 1 ? 0 : 1)),
    last: new Int32Array(rows).fill(positions - 1),
    labels: new Int32Array(rows),
    tasks: new Int32Array(rows),
  };
  const scale = 1 / (rows * (positions - 1));
  return times(async () => {
    const { gradients } = await programs.lossAndGradients({ batch, scale, penaltyScale: 1, dropout: 0, labelSmoothing: 0, random: randomStream(0) });
    optimizer.update(trainedTensors(adaptation), gradients, 1e-4);
  });
}

/** Exact singular values of every site of a 7B-shape adapter, rank 16. */
async function spectra(): Promise<number[]> {
  const shapes: [number, number][] = [
    [4096, 4096],
    [4096, 4096],
    [4096, 4096],
    [4096, 4096],
    [11008, 4096],
    [11008, 4096],
    [4096, 11008],
  ];
  const next = uniform(1);
  const noise = (size: number) => Float32Array.from({ length: size }, () => next() - 0.5);
  const sites = Array.from({ length: 32 }, () => shapes)
    .flat()
    .map(([dOut, dIn]) => ({ left: noise(dOut * 16), right: noise(16 * dIn), dOut, dIn, rank: 16, scale: 2 }));
  return times(async () => sites.map(singularValues));
}

const measurements: Record<string, () => Promise<number[]>> = {
  opening: () => times(() => Promise.resolve(loadModel(path!))),
  forward_with_cache: async () => {
    const runner = await runnerOf();
    const taps = [...runner.hooks.keys()];
    return times(() => runner.forward({ tokens: [ids(128)], settings: [baseSetting], taps, logits: "all" }));
  },
  lora_step: () => loraStep(1),
  lora_step_4: () => loraStep(4),
  spectra,
  resid_sweep: () => sweepOf((layer) => `blocks.${layer}.hook_resid_pre`, "position"),
  head_sweep: () => sweepOf((layer) => `blocks.${layer}.attn.hook_z`, "head"),
  forward_16: async () => {
    const runner = await runnerOf();
    return times(() => runner.forward({ tokens: [ids(16)], settings: [baseSetting], logits: "all" }));
  },
};

const measure = measurements[name ?? ""];
if (!measure) throw new Error(`unknown measurement ${name}; expected one of ${Object.keys(measurements).join(", ")}`);
const seconds = await measure();
process.stdout.write(`${JSON.stringify({ seconds, peakBytes: process.resourceUsage().maxRSS * 1024 })}\n`);
process.exit(0);
