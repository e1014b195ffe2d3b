/** The null of component ablation: in place of a singular component, a random rank-one term of the same σ is taken away from what its site adds. */
import { WorkbenchError } from "../../server/errors.ts";
import { randomDirection, uniform } from "../../server/linalg/random.ts";
import { adapterHookName, type AdapterHook } from "../../server/models/siteNames.ts";
import type { SweepRequest } from "../../server/runs/sweep.ts";
import { strengthOf, type World } from "../../server/runs/worlds.ts";
import { float32, type FloatTensor } from "../../server/tensors/hostTensor.ts";
import type { ComponentPart } from "../axes.ts";
import { measured } from "./measuredSweep.ts";

/** @param chosen none at the embedding, which has no hook of what an adapter adds; @returns `effectOf` the logits of each draw */
export async function randomTermDraws(
  request: SweepRequest,
  chosen: readonly ComponentPart[],
  seed: number,
  effectOf: (logits: Float32Array) => number,
): Promise<number[]> {
  if (chosen.length === 0) return [];
  const next = uniform(seed + 1);
  const { runner, tokens, setting, signal } = request;
  const hookOf = ({ site, adapter }: ComponentPart, hook: AdapterHook) => adapterHookName(site, adapter, hook);
  const taps = [...new Set(chosen.flatMap((component) => [hookOf(component, "hook_in"), hookOf(component, "hook_delta")]))];
  const cached = await runner.forward({ tokens: [tokens], settings: [setting], taps, logits: "none", ...(signal ? { signal } : {}) });
  const sources: Record<string, Record<string, FloatTensor>> = {};
  const worlds = chosen.map((component, i): World => {
    const hook = hookOf(component, "hook_delta");
    const site = runner.adapters.find(({ name }) => name === component.adapter)?.sites.get(component.site);
    const [delta, x, write] = [cached.taps[hook], cached.taps[hookOf(component, "hook_in")], site?.weights()["write"]];
    if (!site || !delta || !x || !write) throw new WorkbenchError("internal", `internal: nothing was kept at ${component.site}`);
    const sigma = strengthOf(setting, component.adapter) * columnNorm(write.data(), site.rank, component.component);
    sources[`null${i}`] = { [hook]: withoutRandomTerm(delta, x, sigma, next) };
    return { setting, edits: [{ hook, position: null, head: null, source: `null${i}` }] };
  });
  return await measured({ ...request, worlds, sources }, effectOf);
}

/** Norm of column k of U Σ `[dOut, rank]`, which is σ_k. */
function columnNorm(write: Float32Array, rank: number, k: number): number {
  let sum = 0;
  for (let at = k; at < write.length; at += rank) sum += (write[at] ?? 0) ** 2;
  return Math.sqrt(sum);
}

/** δ − σ (v·x) u with u and v random unit vectors; δ `[1, pos, dOut]`, x `[1, pos, dIn]`. */
function withoutRandomTerm(delta: FloatTensor, x: FloatTensor, sigma: number, next: () => number): FloatTensor {
  const [dOut = 0, dIn = 0] = [delta.shape.at(-1), x.shape.at(-1)];
  const u = randomDirection(dOut, 1, next);
  const v = randomDirection(dIn, 1, next);
  const along = Float64Array.from({ length: delta.data.length / dOut }, (_, token) =>
    v.reduce((dot, value, i) => dot + value * (x.data[token * dIn + i] ?? 0), 0),
  );
  return float32(
    delta.data.map((value, at) => value - sigma * (along[Math.floor(at / dOut)] ?? 0) * (u[at % dOut] ?? 0)),
    delta.shape,
  );
}
