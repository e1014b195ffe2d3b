/** Answers given as text: the one token that the text becomes after a prompt. */
import { WorkbenchError } from "../errors.ts";
import { quoted } from "../quoted.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** A word that every tokenizer has; what follows it is inside a text, where none puts a beginning token or a first space. */
const anchor = "a";

/**
 * " Paris" is the token that continues "… is": without the tokens that the tokenizer adds to a whole text, and without the space that some put before its first word.
 * @throws "prompt.unknownToken" when it is several tokens (they are listed)
 */
export function answerToken(tokenizer: Tokenizer, text: string, where: string): number {
  const alone = tokenizer.encode(text, { addSpecial: false });
  const [before, whole] = [tokenizer.encode(anchor, { addSpecial: false }).ids, tokenizer.encode(anchor + text, { addSpecial: false }).ids];
  const continues = /^\s/.test(text) && before.every((id, i) => id === whole[i]);
  const ids = continues ? whole.slice(before.length) : alone.ids;
  const [id] = ids;
  if (id !== undefined && ids.length === 1) return id;
  const tokens = ids.map((each) => quoted(tokenizer.tokenText(each))).join(", ");
  throw new WorkbenchError(
    "prompt.unknownToken",
    `${where} ${quoted(text)} is ${ids.length} tokens (${tokens}); expected one. The first of them is the usual choice; a word inside a sentence starts with a space`,
  );
}
