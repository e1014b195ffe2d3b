/** The null adapter: the same sites, ranks and singular values, with random directions in place of those that training found. */
import type { LoadedAdapter } from "../../server/adapters/loadAdapter.ts";
import type { SiteAdapter } from "../../server/adapters/method.ts";
import { weight } from "../../server/adapters/lowRankSite.ts";
import { Runner } from "../../server/runs/runner.ts";
import { identity } from "../../server/linalg/matrices.ts";
import { thinQr } from "../../server/linalg/qr.ts";
import { gaussian, uniform } from "../../server/linalg/random.ts";

/**
 * A runner on the same model with every adapter's directions drawn anew.
 * @returns null where an adapter does more than add products: then nothing of its kind can be drawn
 */
export function nullRunner({ model, adapters, engine }: Runner, seed: number): Runner | null {
  const isPlain = adapters.every(({ saved, sites }) => saved.length === 0 && [...sites.values()].every(({ beyondLowRank }) => beyondLowRank === null));
  return isPlain
    ? new Runner(
        model,
        adapters.map((adapter, i) => randomised(adapter, uniform(seed * 64 + i))),
        engine,
      )
    : null;
}

function randomised(adapter: LoadedAdapter, next: () => number): LoadedAdapter {
  const tag = next().toString(36);
  return { ...adapter, sites: new Map([...adapter.sites].map(([name, site]) => [name, randomSite(site, `${adapter.path}:${name}:null:${tag}`, next)])) };
}

function randomSite(site: SiteAdapter, key: string, next: () => number): SiteAdapter {
  const { rank, dIn, dOut } = site;
  const write = site.weights()["write"]?.data() ?? new Float32Array(dOut * rank);
  const sigma = Float64Array.from({ length: rank }, (_, k) => Math.hypot(...Array.from({ length: dOut }, (_row, o) => write[o * rank + k] ?? 0)));
  const [right, left] = [orthonormal(dIn, rank, next), orthonormal(dOut, rank, next)];
  const weights = {
    read: weight(`${key}:read`, [rank, dIn], Float32Array.from(right)),
    write: weight(
      `${key}:write`,
      [dOut, rank],
      Float32Array.from({ length: dOut * rank }, (_, at) => (left[(at % rank) * dOut + Math.floor(at / rank)] ?? 0) * (sigma[at % rank] ?? 0)),
    ),
  };
  return { ...site, weights: () => weights };
}

/** `rank` random directions of `width` numbers, orthonormal as far as there is room: `[rank, width]`. */
function orthonormal(width: number, rank: number, next: () => number): Float64Array {
  const n = Math.min(rank, width);
  const columns = Float64Array.from({ length: width * n }, () => gaussian(next));
  const found = thinQr({ data: columns, rows: width, n, rowStride: 1, columnStride: width }).times(identity(n), n);
  const all = new Float64Array(width * rank);
  all.set(found);
  return all;
}
