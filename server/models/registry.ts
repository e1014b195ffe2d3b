/** Every model family, keyed by `model_type` in config.json. One file and one line to add one. */
import { WorkbenchError } from "../errors.ts";
import { didYouMean } from "../nearNames.ts";
import type { Family } from "./family.ts";
import { gpt2 } from "./gpt2.ts";
import { llama, mistral, qwen2, qwen3 } from "./llama.ts";

export const families = { gpt2, llama, mistral, qwen2, qwen3 } satisfies Record<string, Family>;

/** @throws "model.unknownFamily" listing near names */
export function familyOf(modelType: string, where: string): Family {
  const found = Object.entries(families).find(([name]) => name === modelType);
  if (!found)
    throw new WorkbenchError(
      "model.unknownFamily",
      `${where}: model_type "${modelType}" is not supported; supported: ${Object.keys(families).join(", ")} (${didYouMean(modelType, Object.keys(families))})`,
    );
  return found[1];
}
