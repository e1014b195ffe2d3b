/** One measurement of ours in a process of its own, so that its peak memory is its own: `tsx bench/measure.ts NAME CHECKPOINT REPEATS`. */
import { performance } from "node:perf_hooks";
import { openSubject } from "../server/runs/subject.ts";
import type { Runner } from "../server/runs/runner.ts";
import { sweep } from "../server/runs/sweep.ts";
import { baseSetting, type World } from "../server/runs/worlds.ts";
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
    const worlds = hooks.flatMap((name) => Array.from({ length: by === "position" ? clean.length : nHeads }, (_, i): World => ({ setting: baseSetting, edits: [{ hook: name, position: by === "position" ? i : null, head: by === "head" ? i : null, source: "clean" }] })));
    const request = { runner, tokens: corrupted, setting: baseSetting, worlds, sources: { clean: taps }, position: clean.length - 1 };
    let first = 0;
    for await (const tile of sweep(request)) first ||= tile.logits.data[11]!;
    return first;
  };
  return times(run);
}

const measurements: Record<string, () => Promise<number[]>> = {
  opening: () => times(() => Promise.resolve(loadModel(path!))),
  forward_with_cache: async () => {
    const runner = await runnerOf();
    const taps = [...runner.hooks.keys()];
    return times(() => runner.forward({ tokens: [ids(128)], settings: [baseSetting], taps, logits: "all" }));
  },
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
