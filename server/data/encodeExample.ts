/** One example's text as tokens with a loss weight each. */
import { WorkbenchError } from "../errors.ts";
import type { Tokenizer } from "../formats/tokenizer.ts";

export interface EncodedExample {
  readonly tokens: Int32Array;
  /** As `Example.lossWeights`. */
  readonly lossWeights: Float32Array;
  readonly isCut: boolean;
}

/** A text that is far longer than what is kept of it is encoded as far as needed: one record may have megabytes. */
const lettersToken = 16;
const longestWord = 1000;
const unsureTokens = 8;

export class ExampleEncoder {
  readonly #tokenizer: Tokenizer;
  readonly #maxLength: number;
  readonly #before: readonly number[];
  /** Ids that end every example of language modelling. */
  readonly #end: readonly number[];

  /** @param maxLength tokens that an example may have; what is beyond is cut at the end */
  constructor(tokenizer: Tokenizer, maxLength: number) {
    const { before, after } = specialIds(tokenizer);
    this.#tokenizer = tokenizer;
    this.#maxLength = maxLength;
    this.#before = before;
    this.#end = after.length > 0 || tokenizer.eosId === null ? after : [tokenizer.eosId];
  }

  /** Loss on every token after the first, the end token included. */
  text(text: string): EncodedExample {
    const ids = [...this.#before, ...this.#plain(text), ...this.#end];
    return this.#example(ids, 1);
  }

  /**
   * Loss on the completion and the end token alone. Where the tokens of prompt and completion together do not begin with the
   * tokens of the prompt (a token would span the boundary), the two are encoded apart, as when the prompt is given alone.
   */
  completion(prompt: string, completion: string): EncodedExample {
    const promptIds = this.#plain(prompt);
    const together = this.#plain(prompt + completion);
    const isPrefix = promptIds.length <= together.length && promptIds.every((id, i) => together[i] === id);
    const ids = [...this.#before, ...(isPrefix ? together : [...promptIds, ...this.#plain(completion)]), ...this.#end];
    return this.#example(ids, this.#before.length + promptIds.length);
  }

  /** As the tokenizer encodes a prompt; no token is predicted. */
  classified(text: string): EncodedExample {
    const plain = this.#plain(text);
    const ids = plain.length > this.#maxLength ? [...this.#before, ...plain] : this.#tokenizer.encode(text).ids;
    return this.#example(ids, ids.length);
  }

  /** All tokens of the text, or of its beginning when that alone has more than will be kept. */
  #plain(text: string): number[] {
    const encode = (part: string): number[] => this.#tokenizer.encode(part, { addSpecial: false }).ids;
    for (let letters = this.#maxLength * lettersToken; letters + longestWord < text.length; letters *= 4) {
      // At a space, where words and so their tokens end.
      const end = text.slice(letters, letters + longestWord).search(/\s/);
      if (end === -1) break;
      const ids = encode(text.slice(0, letters + end));
      // The last few may depend on what follows them.
      if (ids.length > this.#maxLength + unsureTokens) return ids;
    }
    return encode(text);
  }

  #example(ids: readonly number[], lossFrom: number): EncodedExample {
    const tokens = Int32Array.from(ids.slice(0, this.#maxLength));
    const lossWeights = new Float32Array(tokens.length);
    // Nothing stands before the first token to predict it from.
    lossWeights.fill(1, Math.max(1, lossFrom));
    return { tokens, lossWeights, isCut: tokens.length < ids.length };
  }
}

/** Ids that the tokenizer puts before and after every text. @throws "tokenizer.malformed" when they cannot be told from a text's own */
function specialIds(tokenizer: Tokenizer): { readonly before: number[]; readonly after: number[] } {
  const plain = tokenizer.encode("a", { addSpecial: false }).ids;
  const whole = tokenizer.encode("a").ids;
  const at = whole.findIndex((_, start) => plain.every((id, i) => whole[start + i] === id));
  if (plain.length === 0 || at === -1)
    throw new WorkbenchError(
      "tokenizer.malformed",
      `the tokenizer gives "a" the ids ${JSON.stringify(plain)} alone and ${JSON.stringify(whole)} with special tokens; expected the first within the second`,
    );
  return { before: whole.slice(0, at), after: whole.slice(at + plain.length) };
}
