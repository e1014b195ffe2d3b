/** What a prompt must be before a model reads it. */
import { WorkbenchError } from "../errors.ts";
import type { LoadedModel } from "../models/loadModel.ts";

/** @throws "prompt.empty", "prompt.tooLong", "prompt.unknownToken" */
export function checkPrompt(ids: readonly number[], { config, name }: Pick<LoadedModel, "config" | "name">): void {
  if (ids.length === 0) throw new WorkbenchError("prompt.empty", "the prompt has no tokens; at least one is needed");
  if (ids.length > config.nCtx) throw new WorkbenchError("prompt.tooLong", `the prompt has ${ids.length} tokens; ${name} takes at most ${config.nCtx}`);
  for (const id of ids) {
    if (!Number.isInteger(id) || id < 0 || id >= config.dVocab)
      throw new WorkbenchError("prompt.unknownToken", `token id ${id} is outside the vocabulary of ${name} (0 to ${config.dVocab - 1})`);
  }
}
