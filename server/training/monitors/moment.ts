/** One look: what several monitors need of the run as it is now is computed once, and each pays its part. */
import type { SiteState } from "../../adapters/method.ts";
import { WorkbenchError } from "../../errors.ts";
import type { FactoredMatrix } from "../../linalg/factored.ts";
import type { World } from "../../runs/worlds.ts";
import type { Looker, Moment, WatchedRun } from "./monitor.ts";
import { spectrumOf, type SiteSpectrum } from "./siteSpectrum.ts";

type Logits = ReadonlyMap<World, readonly Float32Array[]>;

/** @param lookers those that look, by the monitor's name @returns with the seconds that each already owes, in the ratio of how many worlds it reads */
export async function momentOf(
  run: WatchedRun,
  { step, gradients }: Pick<Moment, "step" | "gradients">,
  lookers: ReadonlyMap<string, Looker>,
): Promise<{ moment: Moment; owed: ReadonlyMap<string, number> }> {
  const read = [...lookers].flatMap(([id, { worlds = [] }]) => worlds.map((world) => ({ id, world })));
  const started = performance.now();
  const logits: Logits = (await run.prompts?.logits([...new Set(read.map(({ world }) => world))])) ?? new Map();
  const each = (performance.now() - started) / 1000 / Math.max(1, read.length);
  const owed = new Map([...lookers].map(([id, { worlds = [] }]) => [id, each * worlds.length]));
  return { moment: { step, gradients, ...updates(run), logits: (world) => ofWorld(logits, world) }, owed };
}

function updates({ adaptation: { method, options } }: WatchedRun): Pick<Moment, "delta" | "spectrum"> {
  const deltas = new Map<SiteState, FactoredMatrix>();
  const spectra = new Map<SiteState, SiteSpectrum>();
  const delta = (state: SiteState): FactoredMatrix => {
    const found = deltas.get(state) ?? method?.deltaWeight(state, options);
    if (!found) throw new WorkbenchError("internal", "all weights are trained, so no site has a ΔW");
    deltas.set(state, found);
    return found;
  };
  return {
    delta,
    spectrum(state) {
      const found = spectra.get(state) ?? spectrumOf(delta(state));
      spectra.set(state, found);
      return Promise.resolve(found);
    },
  };
}

function ofWorld(logits: Logits, world: World): readonly Float32Array[] {
  const found = logits.get(world);
  if (!found) throw new WorkbenchError("internal", "a monitor reads a world that it did not name");
  return found;
}
