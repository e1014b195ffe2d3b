/** The prompt pair and answer tokens that most probes share, and how they are read. */
import * as z from "zod";
import { WorkbenchError } from "../server/errors.ts";
import { answerToken } from "../server/formats/answerToken.ts";
import type { Subject } from "../server/runs/subject.ts";

export const promptText = z.union([z.string().min(1), z.array(z.int().min(0)).min(1)]);
const tokenRef = z.union([z.string().min(1), z.int().min(0)]);

export const promptPairFields = {
  clean: promptText.describe("Prompt that brings out the behaviour; text, or token ids"),
  corrupted: promptText.optional().describe("Same length, with the deciding tokens changed; needed only when prompts are contrasted"),
  answer: tokenRef.describe("Answer after the clean prompt: one token, with its leading space"),
  counterAnswer: tokenRef.describe("Answer it is held against: one token"),
};

export interface Prompt {
  readonly ids: readonly number[];
  readonly tokens: readonly string[];
}

/** @throws "prompt.empty", and what the tokenizer throws */
export function readPrompt(subject: Subject, prompt: string | readonly number[], what: string): Prompt {
  const { ids, tokens } = subject.encode(prompt);
  if (ids.length === 0) throw new WorkbenchError("prompt.empty", `${what}: the text has no tokens`);
  const nCtx = subject.model?.config.nCtx ?? Infinity;
  if (ids.length > nCtx)
    throw new WorkbenchError("prompt.tooLong", `${what} has ${ids.length} tokens; ${subject.model?.name ?? "the model"} takes at most ${nCtx}`);
  return { ids, tokens };
}

/** @throws "prompt.lengthMismatch" with both counts */
export function checkSameLength(clean: Prompt, corrupted: Prompt): void {
  if (clean.ids.length !== corrupted.ids.length) {
    throw new WorkbenchError(
      "prompt.lengthMismatch",
      `clean has ${clean.ids.length} tokens and corrupted ${corrupted.ids.length}; patching position by position needs the same number`,
    );
  }
}

/**
 * One token as an id.
 * @throws "prompt.unknownToken" when the text is several tokens (they are listed), or the id is outside the vocabulary
 */
export function readToken(subject: Subject, token: string | number, what: string): number {
  const dVocab = subject.model?.config.dVocab ?? Infinity;
  if (typeof token === "number") {
    if (token >= dVocab) throw new WorkbenchError("prompt.unknownToken", `${what}: token id ${token} is outside the vocabulary (0 to ${dVocab - 1})`);
    return token;
  }
  if (!subject.tokenizer) throw new WorkbenchError("tokenizer.malformed", `${what}: the model has no tokenizer.json; give the token as its id`);
  return answerToken(subject.tokenizer, token, what);
}
