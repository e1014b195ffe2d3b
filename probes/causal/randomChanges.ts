/**
 * The null of patching across time: in place of the change that a replacement makes to what its site adds, one in a random direction and as long,
 * token by token.
 */
import { WorkbenchError } from "../../server/errors.ts";
import { uniform } from "../../server/linalg/random.ts";
import { adapterHookName, type AdapterHook } from "../../server/models/siteNames.ts";
import type { SweepRequest } from "../../server/runs/sweep.ts";
import type { World } from "../../server/runs/worlds.ts";
import { float32, type FloatTensor } from "../../server/tensors/hostTensor.ts";
import type { Pair, Part } from "./adapterPair.ts";
import { sum, turned } from "./directions.ts";
import { measured } from "./measuredSweep.ts";

/** @param count draws, over the parts in turn; none where the two adapters agree in all of them */
export async function randomChangeDraws(
  request: SweepRequest,
  pair: Pair,
  parts: readonly Part[],
  { count, seed }: { readonly count: number; readonly seed: number },
  carriedBy: (logits: Float32Array) => number,
): Promise<number[]> {
  const { runner, setting, tokens, signal } = request;
  const next = uniform(seed);
  const chosen = parts.filter(({ site }) => site.site !== "embed");
  // The other's hook where it has one: it adds 0 in the run patched into, so the random change stands beside an update that stays.
  const carrier = ({ site }: Part) => (pair.from.sites.has(site.site) ? pair.from : pair.into);
  const hookOf = (part: Part, hook: AdapterHook) => adapterHookName(part.site.site, carrier(part).name, hook);
  const taps = [...new Set(chosen.flatMap((part) => [hookOf(part, "hook_in"), hookOf(part, "hook_delta")]))];
  const run = await runner.forward({ tokens: [tokens], settings: [setting], taps, logits: "none", ...(signal ? { signal } : {}) });
  const kept = (part: Part, hook: AdapterHook): FloatTensor => {
    const tensor = run.taps[hookOf(part, hook)];
    if (!tensor) throw new WorkbenchError("internal", `internal: nothing was kept at ${hookOf(part, hook)}`);
    return tensor;
  };
  const changes = chosen
    .map((part) => ({ hook: hookOf(part, "hook_delta"), delta: kept(part, "hook_delta"), change: changeOf(pair, part, kept(part, "hook_in")) }))
    // Parts in which the two agree would make chance look smaller than it is.
    .filter(({ change }) => change.data.some((value) => value !== 0));
  const sources: Record<string, Record<string, FloatTensor>> = {};
  const worlds = Array.from({ length: changes.length === 0 ? 0 : count }, (_, i) => changes[i % changes.length]).flatMap((drawn, i): World[] => {
    if (!drawn) return [];
    sources[`null${i}`] = { [drawn.hook]: sum(drawn.delta, turned(drawn.change, next)) };
    return [{ setting, edits: [{ hook: drawn.hook, position: null, head: null, source: `null${i}` }] }];
  });
  return await measured({ ...request, worlds, sources }, carriedBy);
}

/** δ_from − δ_into of one part at the site's inputs x `[1, pos, dIn]` → `[pos, dOut]`. */
function changeOf({ into, from, strengths }: Pair, { site, component }: Part, x: FloatTensor): FloatTensor {
  const { dIn, dOut } = site;
  const positions = x.data.length / dIn;
  const change = new Float32Array(positions * dOut);
  for (const [adapter, sign] of [
    [from, 1],
    [into, -1],
  ] as const) {
    const own = adapter.sites.get(site.site);
    if (!own || (component ?? 0) >= own.rank) continue;
    const { read, write } = own.weights();
    if (!read || !write) throw new WorkbenchError("internal", `internal: ${adapter.name} has no factors at ${site.site}`);
    const [right, left] = [read.data(), write.data()];
    const factor = sign * (strengths[adapter.name] ?? 0);
    const [first, end] = component === null ? [0, own.rank] : [component, component + 1];
    for (let token = 0; token < positions; token++) {
      for (let k = first; k < end; k++) {
        let dot = 0;
        for (let i = 0; i < dIn; i++) dot += (right[k * dIn + i] ?? 0) * (x.data[token * dIn + i] ?? 0);
        for (let o = 0; o < dOut; o++) change[token * dOut + o] = (change[token * dOut + o] ?? 0) + factor * dot * (left[o * own.rank + k] ?? 0);
      }
    }
  }
  return float32(change, [positions, dOut]);
}
