/** How each trained parameter of a run is trained: the method's rules, and those of heads and whole weights. */
import type { ParameterRule } from "../adapters/method.ts";
import type { Adaptation } from "./adaptation.ts";

export function parameterRules({ method, options }: Pick<Adaptation, "method" | "options">): Record<string, ParameterRule> {
  return { ...method?.rules(options), score: { decays: true }, base: { decays: true } };
}
