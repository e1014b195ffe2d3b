/**
 * One measurement of ours in a process of its own, so that its peak memory is its own: `tsx bench/measure.ts NAME CHECKPOINT`.
 * It gets ready, runs once and says so; then every line on stdin has it run once more and print its seconds; at the end its peak memory.
 */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import * as z from "zod";
import { activationPatching } from "../probes/activationPatching.ts";
import { randomStream, uniforms } from "../server/linalg/random.ts";
import { openSubject, sharedEngine } from "../server/runs/subject.ts";
import type { Runner } from "../server/runs/runner.ts";
import { sweep } from "../server/runs/sweep.ts";
import { baseSetting, type World } from "../server/runs/worlds.ts";
import { at } from "../server/at.ts";
import { factoredSpectra } from "../server/linalg/factoredSpectra.ts";
import { startAdaptation, trainedTensors } from "../server/training/adaptation.ts";
import { AdamW } from "../server/training/optimizer.ts";
import { parameterRules } from "../server/training/parameterRules.ts";
import { TrainingPrograms } from "../server/training/trainingPrograms.ts";
import { optimizerParams, siteParams } from "../server/training/trainingParams.ts";
import { loadModel } from "../server/models/loadModel.ts";

const [name = "", path = ""] = process.argv.slice(2);
const ids = (count: number) => Array.from({ length: count }, (_, i) => 100 + i);

/** What is timed; opening and compiling lie before it. */
type Run = () => Promise<unknown>;

async function runnerOf(): Promise<Runner> {
  const { runner } = await openSubject({ model: path, adapters: [] });
  if (!runner) throw new Error(`${path} has no model`);
  return runner;
}

/** The whole layer × position (or × head) sweep, programs and caches included, as a user who just asked for it waits. */
async function sweepOf(hook: (layer: number) => string, by: "position" | "head", tokens = 16): Promise<Run> {
  const runner = await runnerOf();
  const { nLayers, nHeads } = runner.model.config;
  const clean = ids(tokens);
  const corrupted = clean.map((id, i) => (i === 5 ? 4000 : id));
  return async () => {
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
}

/** One AdamW step of LoRA r = 8 on every c_attn (q and v of a Llama), the same step as the peer's: `rows` × 128 tokens. */
async function loraStep(rows: number): Promise<Run> {
  const model = loadModel(path);
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
  return async () => {
    const { gradients } = await programs.lossAndGradients({ batch, scale, penaltyScale: 1, dropout: 0, labelSmoothing: 0, random: randomStream(0) });
    optimizer.update(trainedTensors(adaptation), gradients, 1e-4);
  };
}

interface LlamaShape {
  readonly layers: number;
  readonly rank: number;
  readonly dModel: number;
  readonly dKv: number;
  readonly dMlp: number;
  /** Layers with random factors of their own; the rest uses them again, so that 70B fits into memory. */
  readonly distinct: number;
}

/** Exact singular values of every site of an adapter on all seven linear maps of a Llama. */
function spectra({ layers, rank, dModel, dKv, dMlp, distinct }: LlamaShape): Run {
  const shapes = [
    [dModel, dModel],
    [dKv, dModel],
    [dKv, dModel],
    [dModel, dModel],
    [dMlp, dModel],
    [dMlp, dModel],
    [dModel, dMlp],
  ] as const;
  const random = randomStream(1);
  const sites = Array.from({ length: distinct }, () =>
    shapes.map(([dOut, dIn]) => ({ left: uniforms(dOut * rank, 0.5, random), right: uniforms(rank * dIn, 0.5, random), dOut, dIn, rank, scale: 2 })),
  );
  const all = Array.from({ length: layers }, (_, layer) => at(sites, layer % distinct).map((factors, i) => ({ site: `${layer}.${i}`, factors }))).flat();
  return async () => {
    let largest = 0;
    for await (const { values } of factoredSpectra(all)) largest = Math.max(largest, at(values, 0));
    return largest;
  };
}

/** The run that the demo opens with, its model open already; to its first tile, or to its end. */
async function demoPatching(until: "firstTile" | "end"): Promise<Run> {
  const folder = fileURLToPath(new URL("../fixtures/demo/", import.meta.url));
  const { subject: asked, params } = demo.parse(JSON.parse(readFileSync(`${folder}demo.json`, "utf8")));
  const here = { model: folder + asked.model, adapters: asked.adapters.map((adapter) => ({ ...adapter, path: folder + adapter.path })) };
  const subject = await openSubject(here);
  return async () => {
    const events = activationPatching.run(subject, activationPatching.params.parse(params), new AbortController().signal);
    for await (const { type } of events) if (until === "firstTile" && type === "tile") break;
  };
}
const demo = z.object({
  subject: z.object({ model: z.string(), adapters: z.array(z.object({ path: z.string(), name: z.string(), strength: z.number() })) }),
  params: z.unknown(),
});

const measurements: Readonly<Record<string, () => Run | Promise<Run>>> = {
  opening: () => () => Promise.resolve(loadModel(path)),
  forward_with_cache: async () => {
    const runner = await runnerOf();
    const taps = [...runner.hooks.keys()];
    return () => runner.forward({ tokens: [ids(128)], settings: [baseSetting], taps, logits: "all" });
  },
  lora_step: () => loraStep(1),
  lora_step_4: () => loraStep(4),
  spectra: () => spectra({ layers: 32, rank: 16, dModel: 4096, dKv: 4096, dMlp: 11008, distinct: 32 }),
  spectra_70b: () => spectra({ layers: 80, rank: 64, dModel: 8192, dKv: 1024, dMlp: 28672, distinct: 1 }),
  resid_sweep: () => sweepOf((layer) => `blocks.${layer}.hook_resid_pre`, "position"),
  resid_sweep_64: () => sweepOf((layer) => `blocks.${layer}.hook_resid_pre`, "position", 64),
  head_sweep: () => sweepOf((layer) => `blocks.${layer}.attn.hook_z`, "head"),
  forward_16: async () => {
    const runner = await runnerOf();
    return () => runner.forward({ tokens: [ids(16)], settings: [baseSetting], logits: "all" });
  },
  demo_first_tile: () => demoPatching("firstTile"),
  demo_patching: () => demoPatching("end"),
};

const prepare = measurements[name];
if (!prepare) throw new Error(`unknown measurement ${name}; expected one of ${Object.keys(measurements).join(", ")}`);
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);
const run = await prepare();
await run();
say({ ready: true });
for await (const _ of createInterface({ input: process.stdin })) {
  const start = performance.now();
  await run();
  say({ seconds: (performance.now() - start) / 1000 });
}
say({ peakBytes: process.resourceUsage().maxRSS * 1024 });
process.exit(0);
