/** Activations of named hooks on given tokens, with their size known before the run. */
import { WorkbenchError } from "../errors.ts";
import type { FloatTensor } from "../tensors/hostTensor.ts";
import type { Subject } from "./subject.ts";

export interface ActivationsRequest {
  /** Rows of token ids, one length. */
  readonly tokens: readonly (readonly number[])[];
  /** Full hook names. */
  readonly hooks: readonly string[];
  readonly budgetBytes?: number;
  readonly signal?: AbortSignal;
}

/**
 * @returns one array a hook under its own name, and `logits` `[batch, pos, dVocab]`
 * @throws "probe.notApplicable" without a base model, "run.overBudget" with the byte count, and what Runner.forward throws
 */
export async function activations(subject: Subject, request: ActivationsRequest): Promise<Record<string, FloatTensor>> {
  const { runner } = subject;
  if (!runner) throw new WorkbenchError("probe.notApplicable", "activations need a base model; give --model DIR");
  const budget = request.budgetBytes ?? 4 * 2 ** 30;
  const bytes = runner.tapBytes(request.hooks, request.tokens.length, request.tokens[0]?.length ?? 0);
  if (bytes > budget) throw new WorkbenchError("run.overBudget", `these hooks would hold ${bytes} bytes; the budget is ${budget}`);
  const { taps, logits } = await runner.forward({
    tokens: request.tokens,
    settings: [subject.setting],
    taps: request.hooks,
    logits: "all",
    ...(request.signal ? { signal: request.signal } : {}),
  });
  return { ...taps, logits: logits! };
}
