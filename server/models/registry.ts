/** Every model family, keyed by `model_type` in config.json. One file and one line to add one. */
import { WorkbenchError } from "../errors.ts";
import { didYouMean } from "../nearNames.ts";
import type { Family } from "./family.ts";
import { gpt2 } from "./gpt2.ts";
import { llama, mistral, qwen2, qwen3 } from "./llama.ts";

export const families: Readonly<Record<string, Family>> = { gpt2, llama, mistral, qwen2, qwen3 };

/** @throws "model.unknownFamily" listing near names */
export function familyOf(modelType: string, where: string, known = families): Family {
  const found = Object.entries(known).find(([name]) => name === modelType);
  if (!found)
    throw new WorkbenchError(
      "model.unknownFamily",
      `${where}: model_type "${modelType}" is not supported; supported: ${Object.keys(known).join(", ")} (${didYouMean(modelType, Object.keys(known))})`,
    );
  return found[1];
}
