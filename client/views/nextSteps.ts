/** What a person would do next from a pinned place; the first is the primary action. */
import type { Place } from "../../probes/result.ts";

export interface NextStep {
  readonly label: string;
  readonly hint: string;
  readonly probe: string;
}

/** Each leads to another probe with the same subject and prompts, runs it, and keeps the place marked. */
export function nextSteps(place: Place, probe: string | null, available: ReadonlySet<string>): NextStep[] {
  const steps: NextStep[] = [];
  const { layer, head, component } = place;
  if (component !== undefined) {
    steps.push({
      label: `Switch component ${component} off`,
      hint: "Each component of ΔW off alone: how much of the behaviour goes with it",
      probe: "componentAblation",
    });
    steps.push({ label: "Its spectrum", hint: "Singular values of ΔW at the site", probe: "deltaSpectrum" });
  }
  if (head !== undefined && layer !== undefined)
    steps.push({ label: `Attention of L${layer}H${head}`, hint: "Patterns in base, adapted, and their difference", probe: "attentionPatterns" });
  if (component === undefined && layer !== undefined)
    steps.push({ label: `Switch components of layer ${layer} off`, hint: "Which singular components of ΔW carry this", probe: "componentAblation" });
  if (layer !== undefined) steps.push({ label: "Lens here", hint: "What the model would say if it ended here", probe: "logitLens" });
  steps.push({ label: "Patch activations", hint: "Where the behaviour enters and where it is read out", probe: "activationPatching" });
  if (head === undefined && layer !== undefined)
    steps.push({ label: "Attention", hint: "Patterns in base, adapted, and their difference", probe: "attentionPatterns" });
  return steps.filter((step, index) => step.probe !== probe && available.has(step.probe) && steps.findIndex((other) => other.probe === step.probe) === index);
}
