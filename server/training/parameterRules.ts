/** How each trained parameter of a run is trained: the method's rules, and those of heads and whole weights. */
import type { ParameterRule } from "../adapters/method.ts";
import { WorkbenchError } from "../errors.ts";
import { didYouMean } from "../nearNames.ts";
import type { Adaptation } from "./adaptation.ts";
import type { OptimizerParams } from "./trainingParams.ts";

export function parameterRules({ method, options }: Pick<Adaptation, "method" | "options">): Record<string, ParameterRule> {
  return { ...method?.rules(options), score: { decays: true }, base: { decays: true } };
}

/**
 * Every name in `optimizer.rates` must be one of the run's parameters, and one that follows the scheduled rate.
 * @param parameters names of what the run trains
 * @throws "training.badParams" with near names
 */
export function checkRates({ rates }: OptimizerParams, rules: Readonly<Record<string, ParameterRule>>, parameters: Iterable<string>): void {
  const known = new Set(parameters);
  for (const name of Object.keys(rates)) {
    if (!known.has(name))
      throw new WorkbenchError("training.badParams", `optimizer.rates: "${name}" is none of the run's parameters; ${didYouMean(name, known)}`, {
        field: "optimizer.rates",
      });
    const own = rules[name]?.learningRate;
    if (own !== undefined)
      throw new WorkbenchError(
        "training.badParams",
        `optimizer.rates: "${name}" has a constant rate of its own, ${own}; set it by the method's option instead`,
        { field: "optimizer.rates" },
      );
  }
}
