/** tokenizer.json through @huggingface/tokenizers, with exact text for every token. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { readJson } from "./json.ts";
import { strippingUnicodeSpaces, withUnicodeSpaces } from "./unicodeSpaces.ts";
import { withSettings } from "./tokenizerSettings.ts";
import { tokenizerJson, type TokenizerJson } from "./tokenizerJson.ts";
import { pieceReader, type PieceReader } from "./tokenText.ts";
import { quoted } from "../quoted.ts";

export interface Tokenizer {
  /** `tokens` are texts as `tokenText` gives them. `addSpecial` (default true) lets the tokenizer add its own BOS and such. */
  encode(text: string, options?: { readonly addSpecial?: boolean }): { readonly ids: number[]; readonly tokens: string[] };
  /** Special tokens are kept, and spaces are not tidied. */
  decode(ids: readonly number[]): string;
  /**
   * The exact text of one token: spaces kept, bytes decoded where they are whole characters, `<0xE2>` where not.
   *
   * @throws "prompt.unknownToken" for an id outside the vocabulary
   */
  tokenText(id: number): string;
  tokenId(token: string): number | null;
  /** One more than the largest id. */
  readonly vocabSize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
}

/** Gemma's, the largest in wide use, has 34 MB. */
const maxTokenizerBytes = 256 * 2 ** 20;

/** Ids that no token has, at most; lists are made as long as the largest id. */
const mostHoles = 1_000_000;

export function hasTokenizer(dir: string): boolean {
  return existsSync(join(dir, "tokenizer.json"));
}

/** @throws "file.notFound" without tokenizer.json; "tokenizer.malformed" */
export function openTokenizer(dir: string): Tokenizer {
  const file = join(dir, "tokenizer.json");
  const raw = readJson(file, { maxBytes: maxTokenizerBytes, code: "tokenizer.malformed" });
  const parsed = tokenizerJson.safeParse(raw);
  if (!parsed.success)
    throw new WorkbenchError("tokenizer.malformed", `${file}: ${z.prettifyError(parsed.error)}; expected a tokenizer.json of the tokenizers library`);
  checkMerges(file, parsed.data.model);
  const settings = optionalJson(join(dir, "tokenizer_config.json"));
  const type = modelType(file, parsed.data.model);
  const heeded = withSettings(parsed.data, settings, join(dir, "tokenizer_config.json"));
  checkIds(file, heeded);
  let inner: HuggingFaceTokenizer;
  try {
    const spaces = { normalizer: strippingUnicodeSpaces(heeded.normalizer ?? null), pre_tokenizer: withUnicodeSpaces(heeded.pre_tokenizer ?? null) };
    inner = new HuggingFaceTokenizer({ ...heeded, ...spaces, model: { ...parsed.data.model, type } }, settings);
  } catch (cause) {
    throw new WorkbenchError(
      "tokenizer.malformed",
      `${file}: ${cause instanceof Error ? cause.message : String(cause)}; expected a tokenizer that @huggingface/tokenizers can run`,
      { cause },
    );
  }
  const { model } = inner;
  // The library's own hands every token to one call as an argument, which a word of some hundred thousand letters overflows.
  if (model !== null && isUnigram(model)) model.encode = (words) => words.flatMap((word) => model.tokenize(word));
  let vocabSize = 0;
  for (const id of inner.get_vocab(true).values()) vocabSize = Math.max(vocabSize, id + 1);
  const readPiece: PieceReader = pieceReader(parsed.data.decoder);
  const added = new Map((heeded.added_tokens ?? []).map(({ id, content }) => [id, content]));

  const readTokenText = (id: number): string => {
    const piece = added.get(id) ?? inner.id_to_token(id);
    if (piece === undefined) throw new WorkbenchError("prompt.unknownToken", `token id ${id} is not in ${file}; expected 0 to ${vocabSize - 1}`);
    return added.has(id) ? piece : readPiece(piece);
  };
  // A data file asks for the same few thousand texts millions of times.
  const texts = new Map<number, string>();
  const tokenText = (id: number): string => {
    const known = texts.get(id);
    if (known !== undefined) return known;
    const text = readTokenText(id);
    texts.set(id, text);
    return text;
  };
  const special = (name: "bos_token" | "eos_token"): number | null => {
    const content = specialContent(settings[name]) ?? specialContent(optionalJson(join(dir, "special_tokens_map.json"))[name]);
    if (content !== null) return inner.token_to_id(content) ?? null;
    const fromModel = optionalJson(join(dir, "config.json"))[`${name}_id`];
    const id: unknown = Array.isArray(fromModel) ? fromModel[0] : fromModel;
    return typeof id === "number" && Number.isInteger(id) && id >= 0 && id < vocabSize ? id : null;
  };
  return {
    encode(text, { addSpecial = true } = {}) {
      // The library has no id for a piece outside a vocabulary without an unknown token.
      const found: readonly (number | undefined)[] = text === "" && !addSpecial ? [] : inner.encode(text, { add_special_tokens: addSpecial }).ids;
      const ids = found.filter((id) => id !== undefined);
      if (ids.length < found.length)
        throw new WorkbenchError(
          "prompt.unknownToken",
          `${quoted(text)} has ${found.length - ids.length} pieces that ${file} has no token for, and no token for unknown ones; ` +
            `expected text of its vocabulary`,
        );
      return { ids, tokens: ids.map(tokenText) };
    },
    decode(ids) {
      ids.forEach(tokenText); // an unknown id would be left out of the text in silence
      // The library throws on an empty list.
      return ids.length === 0 ? "" : inner.decode([...ids], { skip_special_tokens: false, clean_up_tokenization_spaces: false });
    },
    tokenText,
    tokenId: (token) => inner.token_to_id(token) ?? null,
    vocabSize,
    bosId: special("bos_token"),
    eosId: special("eos_token"),
  };
}

/** The library does not export its type. */
function isUnigram(model: object): model is { tokenize(word: string): string[]; encode(words: string[]): string[] } {
  return "tokenize" in model && "trie" in model;
}

function checkIds(file: string, { model: { vocab }, added_tokens: added }: TokenizerJson): void {
  const words: [string, number][] = Array.isArray(vocab) ? vocab.map(([word], id) => [word, id]) : Object.entries(vocab);
  const ids: [string, number][] = [...words, ...(added ?? []).map(({ content, id }): [string, number] => [content, id])];
  const most = ids.length + mostHoles;
  const far = ids.find(([, id]) => !(id < most));
  if (far)
    throw new WorkbenchError(
      "tokenizer.malformed",
      `${file}: token ${quoted(far[0])} has id ${far[1]}; expected an id under ${most}, as there are ${ids.length} tokens`,
    );
}
type ModelJson = TokenizerJson["model"];

/** Files from before 2020 have no type, and the library would take the words themselves for tokens. */
function modelType(file: string, { type, vocab, merges }: ModelJson): string {
  const found = type ?? (Array.isArray(vocab) ? "Unigram" : merges ? "BPE" : null);
  if (found === null)
    throw new WorkbenchError("tokenizer.malformed", `${file}: the model has no type and no merges; expected BPE, Unigram, WordPiece or WordLevel`);
  return found;
}

/** The Rust library refuses a merge of tokens it does not have; the JavaScript one would tokenize differently in silence. */
function checkMerges(file: string, { vocab, merges }: ModelJson): void {
  if (merges === undefined || Array.isArray(vocab)) return;
  merges.forEach((merge, i) => {
    const parts = typeof merge === "string" ? merge.split(" ") : merge;
    const isKnown = parts.length === 2 && parts.every((part) => Object.hasOwn(vocab, part));
    if (!isKnown) throw new WorkbenchError("tokenizer.malformed", `${file}: merge ${i} is ${quoted(merge)}; expected two tokens of the vocabulary`);
  });
}

function optionalJson(file: string): Record<string, unknown> {
  if (!existsSync(file)) return {};
  const parsed = z.record(z.string(), z.unknown()).safeParse(readJson(file, { code: "tokenizer.malformed" }));
  if (!parsed.success) throw new WorkbenchError("tokenizer.malformed", `${file}: ${z.prettifyError(parsed.error)}; expected a JSON object`);
  return parsed.data;
}

/** A special token is written as its text or as `{ "content": text }`. */
function specialContent(value: unknown): string | null {
  if (typeof value === "string") return value;
  return typeof value === "object" && value !== null && "content" in value && typeof value.content === "string" ? value.content : null;
}
