/** What a sweep gave, in the order of its worlds. */
import type { SweepTile } from "../../server/runs/sweep.ts";

/** Logits `[worlds, dVocab]`; NaN where a world never came. */
export async function rows(tiles: AsyncGenerator<SweepTile>, worlds: number, dVocab: number): Promise<Float32Array> {
  const all = new Float32Array(worlds * dVocab).fill(NaN);
  for await (const tile of tiles) tile.worlds.forEach((world, row) => all.set(tile.logits.data.subarray(row * dVocab, (row + 1) * dVocab), world * dVocab));
  return all;
}
