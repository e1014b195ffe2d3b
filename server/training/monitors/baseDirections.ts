/** Singular vectors of base weights, found once a process for each weight: W never changes while adapters train. */
import type { TrainingSite } from "../../adapters/method.ts";
import type { Engine } from "../../tensors/engine.ts";
import { LruCache } from "../../tensors/lruCache.ts";
import { randomStream } from "../../linalg/random.ts";
import { svd } from "../../linalg/svd.ts";
import { leadingDirections } from "../../tensors/topSingular.ts";
import type { BaseDirections } from "./intruderCount.ts";

/** Up to this many a weight's vectors are all found, exactly. */
const exactSize = 256;
const leadingCount = 32;
const mostBytes = 2 ** 30;
const cache = new LruCache<BaseDirections>(4096, mostBytes, () => undefined);

export async function baseDirections(engine: Engine, site: TrainingSite): Promise<BaseDirections> {
  const key = `${site.baseWeight.key} ${site.stored}`;
  const found = cache.get(key);
  if (found) return found;
  const made = Math.min(site.dIn, site.dOut) <= exactSize ? allDirections(site) : await leading(engine, site);
  cache.set(key, made, 8 * made.left.length * (site.dIn + site.dOut));
  return made;
}

/** Every singular vector. @throws "spectrum.notConverged" when W holds NaN or infinity */
export function allDirections({ baseWeight, stored, dIn, dOut }: Pick<TrainingSite, "baseWeight" | "stored" | "dIn" | "dOut">): BaseDirections {
  const values = baseWeight.data();
  const columns = new Float64Array(dOut * dIn);
  for (let o = 0; o < dOut; o++) for (let i = 0; i < dIn; i++) columns[i * dOut + o] = values[stored === "outIn" ? o * dIn + i : i * dOut + o]!;
  const { u, s, v } = svd(columns, dOut, dIn);
  const held = s.filter((value) => value > 0).length;
  const rows = (vectors: Float64Array, length: number) => Array.from({ length: held }, (_, k) => vectors.slice(k * length, (k + 1) * length));
  return { values: s.subarray(0, held), left: rows(u, dOut), right: rows(v, dIn), isAll: true };
}

async function leading(engine: Engine, { name, baseWeight, stored, dIn, dOut }: TrainingSite): Promise<BaseDirections> {
  const random = randomStream(0, "base directions", name);
  const { values, left, right } = await leadingDirections(engine, baseWeight, stored, leadingCount, () => random.uniform());
  const rows = (vectors: Float32Array, length: number) =>
    Array.from({ length: values.length }, (_, k) => Float64Array.from(vectors.subarray(k * length, (k + 1) * length)));
  return { values, left: rows(left, dOut), right: rows(right, dIn), isAll: false };
}
