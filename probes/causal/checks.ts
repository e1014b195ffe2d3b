/** The self-checks that causal probes share: a number each, with what it has to be. */
import { WorkbenchError } from "../../server/errors.ts";
import { naiveSweep, sweep, type SweepRequest } from "../../server/runs/sweep.ts";
import type { World } from "../../server/runs/worlds.ts";
import type { ProbeEvent } from "../result.ts";

/** Runs in float32 that ought to be the same differ by about 1e-6. */
const sameRun = 1e-4;
/** A ratio of two differences of such runs. */
const sameShare = 1e-3;

function near(name: string, value: number, target: number, within: number, expected: string): ProbeEvent {
  return { type: "check", check: { name, ok: Math.abs(value - target) <= within, value, expected } };
}

/** @param expected what 0 is, "the adapted run" */
export const isZero = (name: string, value: number, expected = ""): ProbeEvent => near(name, value, 0, sameRun, `${expected}${expected && ", "}0 within 1e-4`);
/** @param expected what 1 is */
export const isOne = (name: string, value: number, expected = ""): ProbeEvent => near(name, value, 1, sameShare, `${expected}${expected && ", "}1 within 1e-3`);
export const isSameRun = (name: string, found: Float32Array, expected: Float32Array, run: string): ProbeEvent =>
  near(name, relativeDistance(found, expected), 0, sameRun, `${run}logits equal within 1e-4`);

/** The planner against the naive path, on one of the request's worlds. */
export async function plannerCheck(request: SweepRequest, world: World | undefined): Promise<ProbeEvent> {
  if (!world) throw new WorkbenchError("internal", "internal: a sweep without worlds has nothing to be checked");
  const of = { ...request, worlds: [world] };
  return isSameRun("planner against one forward pass", await first(sweep(of)), await first(naiveSweep(of)), "");
}

/** The logits of a sweep of one world. */
export async function first(tiles: ReturnType<typeof sweep>): Promise<Float32Array> {
  for await (const { logits } of tiles) return logits.data.slice();
  throw new WorkbenchError("internal", "internal: a sweep of one world gave no tile");
}

/** max |x − y| / max |y| */
function relativeDistance(x: Float32Array, y: Float32Array): number {
  const scale = y.reduce((max, value) => Math.max(max, Math.abs(value)), 1e-9);
  return y.reduce((max, value, i) => Math.max(max, Math.abs(value - (x[i] ?? NaN))), 0) / scale;
}
