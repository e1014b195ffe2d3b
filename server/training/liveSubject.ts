/** The adapter as it is at this step of its training, opened as any adapter is: probes see in a run what they would see of its checkpoint. */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { loadAdapter } from "../adapters/loadAdapter.ts";
import { Runner } from "../runs/runner.ts";
import type { Subject } from "../runs/subject.ts";
import type { Adaptation } from "./adaptation.ts";
import { saveAdaptation } from "./saveAdaptation.ts";

/**
 * Runs something on base and adapter at strength 1. The adapter goes through the files that a checkpoint has, in a folder of its own that
 * is gone afterwards, so weights that engines keep by their place are never mixed up with those of another step.
 * @param base the open subject that the run trains on
 * @param folder where there is room for one adapter
 */
export async function* onLiveSubject<T>(
  base: Subject,
  { adaptation, folder, name }: { readonly adaptation: Adaptation; readonly folder: string; readonly name: string },
  use: (subject: Subject) => AsyncGenerator<T, void, void>,
): AsyncGenerator<T, void, void> {
  const dir = mkdtempSync(join(folder, "live-"));
  try {
    const path = join(dir, name);
    saveAdaptation(path, adaptation);
    const adapter = loadAdapter(path, name, adaptation.model);
    const { runner } = base;
    yield* use({
      ...base,
      adapters: [adapter],
      runner: runner && new Runner(adaptation.model, [adapter], runner.engine),
      setting: { strengths: { [name]: 1 } },
    });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
