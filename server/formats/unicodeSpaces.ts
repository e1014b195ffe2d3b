/**
 * Pre-tokenizers whose JavaScript form takes \s for JavaScript's white space (with U+FEFF, without U+0085), as the Split steps that the tokenizers library
 * defines them by: patterns of Split are Unicode's.
 */
import * as z from "zod";

const step = z.looseObject({ type: z.string() });
const sequence = z.looseObject({ type: z.literal("Sequence"), pretokenizers: z.array(z.unknown()) });
const byteLevel = z.looseObject({ type: z.literal("ByteLevel"), add_prefix_space: z.boolean().nullish(), use_regex: z.boolean().nullish() });

const gpt2Words = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const split = (regex: string, behavior: string, invert: boolean) => ({ type: "Split", pattern: { Regex: regex }, behavior, invert });

/** A `pre_tokenizer` of tokenizer.json with Unicode's white space. */
export function withUnicodeSpaces(preTokenizer: unknown): unknown {
  const steps = sequence.safeParse(preTokenizer);
  if (steps.success) return { ...steps.data, pretokenizers: steps.data.pretokenizers.map(withUnicodeSpaces) };
  const bytes = byteLevel.safeParse(preTokenizer);
  // With a prefix space the words are found after it was added, inside the one step.
  if (bytes.success && bytes.data.add_prefix_space === false && bytes.data.use_regex !== false)
    return { type: "Sequence", pretokenizers: [split(gpt2Words, "Isolated", false), { ...bytes.data, use_regex: false }] };
  switch (step.safeParse(preTokenizer).data?.type) {
    case "WhitespaceSplit":
      return split("\\s+", "Removed", false);
    case "Whitespace":
      return split("\\w+|[^\\w\\s]+", "Removed", true);
    default:
      return preTokenizer;
  }
}
