/**
 * Pre-tokenizers whose JavaScript form takes \s for JavaScript's white space (with U+FEFF, without U+0085), as the Split steps that the tokenizers library
 * defines them by: patterns of Split are Unicode's.
 */
import * as z from "zod";

const step = z.looseObject({ type: z.string() });
const sequence = z.looseObject({ type: z.literal("Sequence"), pretokenizers: z.array(z.unknown()) });
const byteLevel = z.looseObject({ type: z.literal("ByteLevel"), add_prefix_space: z.boolean().nullish(), use_regex: z.boolean().nullish() });

const gpt2Words = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
/** Unicode's punctuation and all of ASCII's that is neither letter nor digit, as BERT has it. */
const punctuation = "\\p{P}\\u0021-\\u002F\\u003A-\\u0040\\u005B-\\u0060\\u007B-\\u007E";
const split = (regex: string, behavior: string, invert: boolean) => ({ type: "Split", pattern: { Regex: regex }, behavior, invert });

/** A `pre_tokenizer` of tokenizer.json with Unicode's white space. */
export function withUnicodeSpaces(preTokenizer: unknown): unknown {
  const steps = sequence.safeParse(preTokenizer);
  if (steps.success) return { ...steps.data, pretokenizers: steps.data.pretokenizers.map(withUnicodeSpaces) };
  const bytes = byteLevel.safeParse(preTokenizer);
  if (bytes.success && bytes.data.use_regex !== false) {
    const prefixed = bytes.data.add_prefix_space === true ? [{ type: "Replace", pattern: { Regex: "\\A(?! )" }, content: " " }] : [];
    const words = { ...bytes.data, add_prefix_space: false, use_regex: false };
    return { type: "Sequence", pretokenizers: [...prefixed, split(gpt2Words, "Isolated", false), words] };
  }
  switch (step.safeParse(preTokenizer).data?.type) {
    case "WhitespaceSplit":
      return split("\\s+", "Removed", false);
    case "Whitespace":
      return split("\\w+|[^\\w\\s]+", "Removed", true);
    case "BertPreTokenizer":
      return split(`[^\\s${punctuation}]+|[${punctuation}]`, "Removed", true);
    default:
      return preTokenizer;
  }
}

const normalizerSequence = z.looseObject({ type: z.literal("Sequence"), normalizers: z.array(z.unknown()) });
const strip = z.looseObject({ type: z.literal("Strip"), strip_left: z.boolean().nullish(), strip_right: z.boolean().nullish() });

/** A `normalizer` of tokenizer.json that strips Unicode's white space, not JavaScript's. */
export function strippingUnicodeSpaces(normalizer: unknown): unknown {
  const steps = normalizerSequence.safeParse(normalizer);
  if (steps.success) return { ...steps.data, normalizers: steps.data.normalizers.map(strippingUnicodeSpaces) };
  const stripped = strip.safeParse(normalizer);
  if (!stripped.success) return normalizer;
  const cut = (regex: string) => ({ type: "Replace", pattern: { Regex: regex }, content: "" });
  const ends = [...(stripped.data.strip_left === true ? [cut("\\A\\s+")] : []), ...(stripped.data.strip_right === true ? [cut("\\s+\\z")] : [])];
  return { type: "Sequence", normalizers: ends };
}
