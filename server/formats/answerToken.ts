/** Answers given as text: the one token that the text becomes after a prompt. */
import { WorkbenchError } from "../errors.ts";
import { quoted } from "../quoted.ts";
import type { Tokenizer } from "./tokenizer.ts";

/**
 * What an answer is read after: a word, where it begins with white space; the end of a line, where it does not. Inside a text no tokenizer puts a
 * beginning token or the space that SentencePiece puts before a first word, so that " Paris" and "Paris" are each the token of that name.
 */
const anchors = { spaced: "a", bare: "\n" } as const;

/**
 * " Paris" is the token that continues "… is", and "Paris" the one that continues "… (", without the tokens and the space that the tokenizer adds to a
 * whole text.
 * @throws "prompt.unknownToken" when it is several tokens (they are listed)
 */
export function answerToken(tokenizer: Tokenizer, text: string, where: string): number {
  const idsOf = (part: string): number[] => tokenizer.encode(part, { addSpecial: false }).ids;
  const anchor = /^\s/.test(text) ? anchors.spaced : anchors.bare;
  const [before, whole, alone] = [idsOf(anchor), idsOf(anchor + text), idsOf(text)];
  const continuing = before.every((id, i) => id === whole[i]) ? whole.slice(before.length) : alone;
  // A word that is no token inside a text may be one at its beginning.
  const ids = continuing.length === 1 ? continuing : alone.length === 1 ? alone : continuing;
  const [id] = ids;
  if (id !== undefined && ids.length === 1) return id;
  const tokens = ids.map((each) => quoted(tokenizer.tokenText(each))).join(", ");
  throw new WorkbenchError(
    "prompt.unknownToken",
    `${where} ${quoted(text)} is ${ids.length} tokens (${tokens}); expected one. The first of them is the usual choice; a ` +
      `word inside a sentence starts with a space`,
  );
}
