/** How AdaLoRA divides its budget of ranks: importance of each triplet (a row of A, a column of B, an entry of E), and which are kept. */
import { WorkbenchError } from "../errors.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import type { Factors } from "./trainedFactors.ts";
import type { None, SiteState } from "./method.ts";
import { at } from "../at.ts";
import { scaledRows } from "../linalg/matrices.ts";

export interface BudgetOptions {
  readonly initRank: number;
  readonly targetRank: number;
  /** Steps before the budget shrinks, and steps at the end at the target budget. */
  readonly tinit: number;
  readonly tfinal: number;
  readonly deltaT: number;
  readonly beta1: number;
  readonly beta2: number;
}

const parameters = ["loraA", "loraB", "loraE"] as const;
type Parameter = (typeof parameters)[number];
const zeros = (shape: readonly number[]): FloatTensor => float32(new Float32Array(shape.reduce((product, dim) => product * dim, 1)), shape);

/** B, E and A of a site, the means of |w ∂L/∂w| and of its deviation, and which triplets the budget keeps. */
export interface AdaloraTensors {
  readonly trained: Factors<FloatTensor> & { loraE: FloatTensor };
  readonly frozen: None;
  readonly memory: Record<`${Parameter}Importance` | `${Parameter}Uncertainty` | "kept" | "totalSteps", FloatTensor>;
}

/** Nothing is important yet, and everything is kept. */
export function startMemory(shapes: Readonly<Record<Parameter, readonly number[]>>): AdaloraTensors["memory"] {
  const { loraA, loraB, loraE } = shapes;
  const rank = loraE[0] ?? 0;
  return {
    loraAImportance: zeros(loraA),
    loraAUncertainty: zeros(loraA),
    loraBImportance: zeros(loraB),
    loraBUncertainty: zeros(loraB),
    loraEImportance: zeros(loraE),
    loraEUncertainty: zeros(loraE),
    kept: float32(new Float32Array(rank).fill(1), [rank]),
    totalSteps: zeros([1]),
  };
}

/**
 * Triplets that may stay after a step, over all sites: all until `tinit`, then target + (initial − target)(1 − p)³, rounded down,
 * with p the share of the steps between `tinit` and `totalSteps` − `tfinal` that is done.
 * @param step steps done, from 1
 * @returns `masks`: whether the budget acts at this step
 * @see peft tuners/adalora/layer.py, budget_schedule
 */
export function budgetAt(
  step: number,
  totalSteps: number,
  sites: number,
  { initRank, targetRank, tinit, tfinal, deltaT }: BudgetOptions,
): { budget: number; masks: boolean } {
  const [initial, target] = [initRank * sites, targetRank * sites];
  const last = totalSteps - tfinal;
  if (step <= tinit) return { budget: initial, masks: false };
  if (step >= last) return { budget: target, masks: true };
  const left = 1 - (step - tinit) / (last - tinit);
  return { budget: Math.trunc((initial - target) * left ** 3 + target), masks: step % deltaT === 0 };
}

/** @throws "training.badOptions" when no step is left between `tinit` and `tfinal` */
export function checkSchedule(totalSteps: number, { tinit, tfinal }: BudgetOptions): void {
  if (tinit < totalSteps - tfinal) return;
  throw new WorkbenchError(
    "training.badOptions",
    `tinit is ${tinit} and tfinal ${tfinal} in a run of ${totalSteps} steps; expected their sum below ${totalSteps}, so that the budget can shrink ` +
      `between them`,
    { field: "options.tinit" },
  );
}

/**
 * I = |w ∂L/∂w|; Ī ← β₁ Ī + (1 − β₁) I; U ← β₂ U + (1 − β₂) |I − Ī|, in the site's memory.
 * @param gradient by parameter
 */
export function updateImportance(
  { trained, memory }: SiteState<AdaloraTensors>,
  gradient: (parameter: Parameter) => Float32Array,
  { beta1, beta2 }: BudgetOptions,
): void {
  for (const parameter of parameters) {
    const [values, slopes] = [trained[parameter].data, gradient(parameter)];
    const [mean, deviation] = [memory[`${parameter}Importance`].data, memory[`${parameter}Uncertainty`].data];
    for (let i = 0; i < values.length; i++) {
      const importance = Math.abs(values[i]! * slopes[i]!);
      mean[i] = beta1 * mean[i]! + (1 - beta1) * importance;
      deviation[i] = beta2 * deviation[i]! + (1 - beta2) * Math.abs(importance - mean[i]!);
    }
  }
}

/** s(E_k) + mean_i s(A_ki) + mean_j s(B_jk) of each triplet k with s = Ī·U, `[rank]`. */
export function tripletScores({ site: { dIn, dOut }, memory }: Pick<SiteState<AdaloraTensors>, "site" | "memory">): Float32Array {
  const score = (parameter: Parameter) => {
    const [mean, deviation] = [memory[`${parameter}Importance`].data, memory[`${parameter}Uncertainty`].data];
    return (i: number) => mean[i]! * deviation[i]!;
  };
  const [a, b, e] = [score("loraA"), score("loraB"), score("loraE")];
  const rank = memory.loraEImportance.data.length;
  return Float32Array.from({ length: rank }, (_, k) => {
    let [row, column] = [0, 0];
    for (let i = 0; i < dIn; i++) row += a(k * dIn + i);
    for (let j = 0; j < dOut; j++) column += b(j * rank + k);
    return e(k) + row / dIn + column / dOut;
  });
}

/** Keeps the `budget` best triplets of all sites in `memory.kept`; what ties with the best of the others goes too. */
export function keepBest(sites: readonly SiteState<AdaloraTensors>[], budget: number): void {
  const scored = sites.map((state) => ({ kept: state.memory.kept.data, scores: tripletScores(state) }));
  const ascending = Float32Array.from(scored.flatMap(({ scores }) => [...scores])).sort();
  const worst = ascending.length - budget;
  const threshold = worst > 0 ? at(ascending, worst - 1) : -Infinity;
  for (const { kept, scores } of scored) kept.set(scores.map((score) => (score > threshold ? 1 : 0)));
}

/** E = 0 where a triplet is not kept; its A and B stay, so that it can come back. */
export function maskEnergies({ trained, memory }: SiteState<AdaloraTensors>): void {
  trained.loraE.data.set(scaledRows(trained.loraE.data, memory.kept.data));
}
