/** A sweep as its worlds become final: cost before, the logits of one world after the other, progress between tiles. */
import { planSweep, sweep, type SweepRequest } from "../../server/runs/sweep.ts";
import type { ProbeEvent } from "../result.ts";

/** One world of the request, by its index, and its logits `[dVocab]` at the answer; a view that lives until the next tile. */
export interface WorldLogits {
  readonly index: number;
  readonly logits: Float32Array;
}

/** What a number of each world is, in the order of the worlds. */
export async function measured(request: SweepRequest, measure: (logits: Float32Array) => number): Promise<number[]> {
  const values = request.worlds.map(() => NaN);
  if (values.length === 0) return values;
  const { dVocab } = request.runner.model.config;
  for await (const { worlds, logits } of sweep(request))
    for (const [row, index] of worlds.entries()) values[index] = measure(logits.data.subarray(row * dVocab, (row + 1) * dVocab));
  return values;
}

/**
 * @param unit what a world is: "components"
 * @param extraBytes held besides the sweep's own
 * @param emit the events of the worlds that became final together
 */
export async function* measuredSweep(
  request: SweepRequest,
  unit: string,
  emit: (worlds: readonly WorldLogits[]) => Iterable<ProbeEvent>,
  extraBytes = 0,
): AsyncGenerator<ProbeEvent, void, void> {
  const total = request.worlds.length;
  yield { type: "cost", worlds: total, bytes: planSweep(request).bytes + extraBytes };
  yield { type: "progress", done: 0, total, unit };
  const { dVocab } = request.runner.model.config;
  let done = 0;
  for await (const tile of sweep(request)) {
    yield* emit(tile.worlds.map((index, row) => ({ index, logits: tile.logits.data.subarray(row * dVocab, (row + 1) * dVocab) })));
    done += tile.worlds.length;
    yield { type: "progress", done, total, unit };
  }
}
