/** The figures of a training run, pointing at the arrays that steps and looks fill. */
import type { MonitorId } from "../server/training/monitors/registry.ts";
import type { Watch } from "../server/training/monitors/watch.ts";
import type { Figure, ProbeEvent } from "./result.ts";
import { intruderFigures, rotationFigures, sizeFigures, spectraFigures } from "./training/deltaFigures.ts";
import { gaugeFigures, gradientFigures } from "./training/methodFigures.ts";
import { patchingFigures, promptFigures } from "./training/promptFigures.ts";
import { stepFigures } from "./training/stepFigures.ts";

/** Figures of each monitor; one that is missing does not compile. */
const figuresOf: Record<MonitorId, (watch: Watch) => readonly Figure[]> = {
  spectra: spectraFigures,
  rotation: rotationFigures,
  size: sizeFigures,
  gradientNorms: gradientFigures,
  gauges: gaugeFigures,
  promptShift: promptFigures,
  patching: patchingFigures,
  intruders: intruderFigures,
};

/** Every figure of the run; to be made again after each look, as the markers grow. */
export function trainingFigures(watch: Watch): Figure[] {
  return [...stepFigures(watch), ...watch.active.flatMap((id) => figuresOf[id](watch))];
}

/** Declares every array of the run. */
export function trainingArrays(watch: Watch): ProbeEvent[] {
  return watch.arrays().map(({ name, shape, axes }) => ({ type: "array", name, shape, axes }));
}
