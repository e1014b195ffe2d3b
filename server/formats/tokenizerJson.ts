/** What tokenizer.json of the tokenizers library must have. */
import * as z from "zod";

const tokenId = z.int().min(0);
export const tokenizerJson = z.looseObject({
  model: z.looseObject({
    type: z.enum(["BPE", "Unigram", "WordPiece", "WordLevel"]).nullish(),
    vocab: z.union([z.record(z.string(), tokenId), z.array(z.tuple([z.string(), z.number()]))]),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])).optional(),
  }),
  added_tokens: z.array(z.looseObject({ id: tokenId, content: z.string() })).nullish(),
  normalizer: z.unknown(),
  pre_tokenizer: z.unknown(),
  decoder: z.unknown(),
});

export type TokenizerJson = z.output<typeof tokenizerJson>;
