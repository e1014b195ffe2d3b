/** tokenizer_config.json, where it changes what tokenizer.json says. */
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { namedShort, quoted } from "../quoted.ts";
import type { TokenizerJson } from "./tokenizerJson.ts";

/** Tokens of tokenizer_config.json, by id. */
const addedTokensDecoder = z.record(z.string().regex(/^\d+$/), z.looseObject({ content: z.string() }));

/**
 * What tokenizer_config.json changes in tokenizer.json, as the tokenizer class of transformers 5 that it names applies it: GPT-2's and Qwen's have a
 * space before the first
 * word as it is told, or none; Llama's can be told to have none; the plain one follows tokenizer.json. Tokens listed there only come after all others.
 * @throws "tokenizer.malformed" for one listed under an id that it cannot have
 */
export function withSettings(json: TokenizerJson, settings: Readonly<Record<string, unknown>>, file: string): TokenizerJson {
  const prefix = settings["add_prefix_space"];
  const known = json.added_tokens ?? [];
  const { vocab } = json.model;
  const ids = new Map<string, number>(Array.isArray(vocab) ? vocab.map(([piece], id) => [piece, id]) : Object.entries(vocab));
  known.forEach(({ content, id }) => ids.set(content, id));
  const listed = addedTokensDecoder.safeParse(settings["added_tokens_decoder"]);
  const later = Object.entries(listed.data ?? {}).flatMap(([id, token]) => {
    if (known.some(({ content }) => content === token.content)) return [];
    const own = ids.get(token.content) ?? ids.size;
    if (own !== Number(id))
      throw new WorkbenchError(
        "tokenizer.malformed",
        `${file}: added_tokens_decoder gives ${quoted(token.content)} the id ${namedShort(id)}; expected ${own}, which it has beside tokenizer.json`,
      );
    ids.set(token.content, own);
    return [{ special: false, single_word: false, lstrip: false, rstrip: false, normalized: false, ...token, id: own }];
  });
  const added = { ...json, added_tokens: [...known, ...later] };
  switch (typeof settings["tokenizer_class"] === "string" ? settings["tokenizer_class"].replace(/Fast$/, "") : null) {
    case "GPT2Tokenizer":
    case "Qwen2Tokenizer":
      return { ...added, pre_tokenizer: withPrefixSpace(json.pre_tokenizer, prefix === true) };
    case "LlamaTokenizer":
      return prefix === false ? { ...added, normalizer: withoutPrepend(json.normalizer), pre_tokenizer: withoutPrepend(json.pre_tokenizer) } : added;
    case null:
      return typeof prefix === "boolean" ? { ...added, pre_tokenizer: withPrefixSpace(json.pre_tokenizer, prefix) } : added;
    default:
      return added;
  }
}

function withPrefixSpace(preTokenizer: unknown, isAdded: boolean): unknown {
  const steps = z.looseObject({ pretokenizers: z.array(z.unknown()) }).safeParse(preTokenizer);
  if (steps.success) return { ...steps.data, pretokenizers: steps.data.pretokenizers.map((step) => withPrefixSpace(step, isAdded)) };
  const bytes = z.looseObject({ type: z.literal("ByteLevel") }).safeParse(preTokenizer);
  return bytes.success ? { ...bytes.data, add_prefix_space: isAdded } : preTokenizer;
}

/** A normalizer or pre-tokenizer that puts no ▁ before the first word. */
function withoutPrepend(step: unknown): unknown {
  const read = z
    .looseObject({ type: z.string(), normalizers: z.array(z.unknown()).optional(), pretokenizers: z.array(z.unknown()).optional() })
    .safeParse(step);
  if (!read.success) return step;
  const { type, normalizers, pretokenizers } = read.data;
  if (type === "Prepend") return { type: "Sequence", normalizers: [] };
  if (type === "Metaspace") return { ...read.data, prepend_scheme: "never" };
  return {
    ...read.data,
    ...(normalizers ? { normalizers: normalizers.map(withoutPrepend) } : {}),
    ...(pretokenizers ? { pretokenizers: pretokenizers.map(withoutPrepend) } : {}),
  };
}
