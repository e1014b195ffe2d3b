/** tokenizer.json through @huggingface/tokenizers, with exact text for every token. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { readJson } from "./json.ts";
import { withUnicodeSpaces } from "./unicodeSpaces.ts";
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

/** Lists are made as long as the largest id; no released vocabulary comes near this. */
const tokenId = z.int().min(0).max(20_000_000);

const tokenizerJson = z.looseObject({
  model: z.looseObject({
    type: z.enum(["BPE", "Unigram", "WordPiece", "WordLevel"]).nullish(),
    vocab: z.union([z.record(z.string(), tokenId), z.array(z.tuple([z.string(), z.number()]))]),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])).optional(),
  }),
  added_tokens: z.array(z.looseObject({ id: tokenId, content: z.string() })).nullish(),
  pre_tokenizer: z.unknown(),
  decoder: z.unknown(),
});

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
  const heeded = withSettings(parsed.data, settings);
  let inner: HuggingFaceTokenizer;
  try {
    inner = new HuggingFaceTokenizer({ ...heeded, pre_tokenizer: withUnicodeSpaces(heeded.pre_tokenizer), model: { ...parsed.data.model, type } }, settings);
  } catch (cause) {
    throw new WorkbenchError(
      "tokenizer.malformed",
      `${file}: ${cause instanceof Error ? cause.message : String(cause)}; expected a tokenizer that @huggingface/tokenizers can run`,
      { cause },
    );
  }
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
      const ids = text === "" && !addSpecial ? [] : [...inner.encode(text, { add_special_tokens: addSpecial }).ids];
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

/** Tokens of tokenizer_config.json, by id. */
const addedTokensDecoder = z.record(z.string().regex(/^\d+$/), z.looseObject({ content: z.string() }));

/** What tokenizer_config.json changes in tokenizer.json, as transformers applies it: a space before the first word, tokens added later. */
function withSettings<T extends TokenizerJson>(json: T, settings: Readonly<Record<string, unknown>>): T {
  const prefix = settings["add_prefix_space"];
  const spaced = typeof prefix === "boolean" ? withPrefixSpace(json.pre_tokenizer, prefix) : json.pre_tokenizer;
  const known = json.added_tokens ?? [];
  const listed = addedTokensDecoder.safeParse(settings["added_tokens_decoder"]);
  const later = Object.entries(listed.data ?? {}).flatMap(([id, token]) =>
    known.some(({ content }) => content === token.content)
      ? []
      : [{ special: false, single_word: false, lstrip: false, rstrip: false, normalized: false, ...token, id: Number(id) }],
  );
  return { ...json, pre_tokenizer: spaced, added_tokens: [...known, ...later] };
}

function withPrefixSpace(preTokenizer: unknown, isAdded: boolean): unknown {
  const steps = z.looseObject({ pretokenizers: z.array(z.unknown()) }).safeParse(preTokenizer);
  if (steps.success) return { ...steps.data, pretokenizers: steps.data.pretokenizers.map((step) => withPrefixSpace(step, isAdded)) };
  const bytes = z.looseObject({ type: z.literal("ByteLevel") }).safeParse(preTokenizer);
  return bytes.success ? { ...bytes.data, add_prefix_space: isAdded } : preTokenizer;
}

type TokenizerJson = z.output<typeof tokenizerJson>;
type ModelJson = z.output<typeof tokenizerJson>["model"];

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
