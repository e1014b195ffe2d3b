import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { hasTokenizer, openTokenizer } from "../../server/formats/tokenizer.ts";
import { expectCode } from "./expectCode.ts";
import { temporaryFolder } from "./temporaryFolder.ts";

const added = (id: number, content: string) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true });

/** Byte-level BPE over "a b é newline", with two merges and one special token. */
const byteLevel = {
  version: "1.0",
  added_tokens: [added(7, "<|end|>")],
  normalizer: null,
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
  post_processor: null,
  decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: { type: "BPE", dropout: null, unk_token: null, vocab: { a: 0, b: 1, Ġ: 2, Ã: 3, "©": 4, Ċ: 5, Ġa: 6 }, merges: [["Ġ", "a"]] },
};

/** Llama's kind: ▁ for spaces, bytes as <0x..>, BOS put in front. */
const sentencePiece = {
  version: "1.0",
  added_tokens: [added(0, "<s>"), added(1, "</s>")],
  normalizer: {
    type: "Sequence",
    normalizers: [
      { type: "Prepend", prepend: "▁" },
      { type: "Replace", pattern: { String: " " }, content: "▁" },
    ],
  },
  pre_tokenizer: null,
  post_processor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [],
    special_tokens: { "<s>": { id: "<s>", ids: [0], tokens: ["<s>"] } },
  },
  decoder: {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: "▁" }, content: " " },
      { type: "ByteFallback" },
      { type: "Fuse" },
      { type: "Strip", content: " ", start: 1, stop: 0 },
    ],
  },
  model: { type: "BPE", byte_fallback: true, vocab: { "<s>": 0, "</s>": 1, "<0x0A>": 2, "<0xC3>": 3, "▁": 4, a: 5, "▁a": 6 }, merges: ["▁ a"] },
};

function folder(tokenizer: unknown, settings?: object): string {
  const dir = temporaryFolder();
  writeFileSync(join(dir, "tokenizer.json"), typeof tokenizer === "string" || tokenizer instanceof Uint8Array ? tokenizer : JSON.stringify(tokenizer));
  if (settings) writeFileSync(join(dir, "tokenizer_config.json"), JSON.stringify(settings));
  return dir;
}

test("byte-level tokens are shown as their own text, spaces and newlines kept, and decode back", () => {
  const tokenizer = openTokenizer(folder(byteLevel, { eos_token: { content: "<|end|>" }, bos_token: "<|end|>" }));
  const text = "a a\nb<|end|>";
  const { ids, tokens } = tokenizer.encode(text);
  expect(ids).toEqual([0, 6, 5, 1, 7]);
  expect(tokens).toEqual(["a", " a", "\n", "b", "<|end|>"]);
  expect(tokenizer.decode(ids)).toBe(text);
  expect(tokenizer).toMatchObject({ vocabSize: 8, bosId: 7, eosId: 7 });
});

test("bytes that are part of a character are shown as bytes, together they are the character", () => {
  const tokenizer = openTokenizer(folder(byteLevel));
  const { ids, tokens } = tokenizer.encode("é");
  expect(tokens).toEqual(["<0xC3>", "<0xA9>"]);
  expect(tokenizer.decode(ids)).toBe("é");
  expect(tokenizer).toMatchObject({ bosId: null, eosId: null });
});

test("sentencepiece tokens have their spaces and byte tokens their text, and the tokenizer adds BOS unless told not to", () => {
  const tokenizer = openTokenizer(folder(sentencePiece, { bos_token: "<s>", eos_token: "</s>" }));
  expect(tokenizer.encode("a a\n").tokens).toEqual(["<s>", " a", " a", "\n"]);
  expect(tokenizer.encode("a", { addSpecial: false }).ids).toEqual([6]);
  expect(tokenizer.tokenText(3)).toBe("<0xC3>");
  expect(tokenizer).toMatchObject({ bosId: 0, eosId: 1 });
});

test("a model without a type but with merges is BPE, as files of 2020 have it", () => {
  const { type: _, ...model } = byteLevel.model;
  expect(openTokenizer(folder({ ...byteLevel, model })).encode(" a").ids).toEqual([6]);
});

test("nothing encodes to nothing and decodes to nothing", () => {
  const tokenizer = openTokenizer(folder(byteLevel));
  expect(tokenizer.encode("", { addSpecial: false }).ids).toEqual([]);
  expect(tokenizer.encode("").ids).toEqual([]);
  expect(tokenizer.decode([])).toBe("");
});

test("an id outside the vocabulary is refused in tokenText and in decode", () => {
  const tokenizer = openTokenizer(folder(byteLevel));
  expectCode(() => tokenizer.tokenText(8), "prompt.unknownToken", "8", "0 to 7");
  expectCode(() => tokenizer.decode([0, -1]), "prompt.unknownToken", "-1");
});

test("a folder may have no tokenizer; opening it then says so", () => {
  const dir = temporaryFolder();
  expect(hasTokenizer(dir)).toBe(false);
  expectCode(() => openTokenizer(dir), "file.notFound", "tokenizer.json");
  expect(hasTokenizer(folder(byteLevel))).toBe(true);
});

test.each([
  ["text that is not JSON", "{", "is not JSON"],
  ["bytes that are not UTF-8", Uint8Array.of(0x22, 0xff, 0x22), "not UTF-8"],
  ["no model", { version: "1.0" }, "model"],
  ["an unknown model", { ...byteLevel, model: { type: "Magic", vocab: {} } }, "type"],
  ["a model of no kind", { ...byteLevel, model: { vocab: { a: 0 } } }, "no type"],
  ["a broken step", { ...byteLevel, normalizer: { type: "Magic" } }, "Magic"],
  ["a merge of tokens that are not there", { ...byteLevel, model: { ...byteLevel.model, merges: ["a z"] } }, "merge 0"],
])("%s is refused as a malformed tokenizer", (_, content, words) => {
  expectCode(() => openTokenizer(folder(content)), "tokenizer.malformed", words);
});

test("an id far beyond the number of tokens is refused before a list of that length is made", () => {
  for (const id of [1e9, 2 ** 32]) {
    const far = { ...byteLevel, model: { ...byteLevel.model, vocab: { ...byteLevel.model.vocab, z: id } } };
    expectCode(() => openTokenizer(folder(far)), "tokenizer.malformed", '"z"', `id ${id}`);
    expectCode(() => openTokenizer(folder({ ...byteLevel, added_tokens: [added(id, "<|far|>")] })), "tokenizer.malformed", "<|far|>", `id ${id}`);
    expectCode(() => openTokenizer(folder(byteLevel, { added_tokens_decoder: { [id]: { content: "<|far|>" } } })), "tokenizer.malformed", "<|far|>");
  }
});

test("a word outside a vocabulary without an unknown token is refused", () => {
  const words = {
    version: "1.0",
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: null,
    decoder: null,
    model: { type: "WordLevel", vocab: { one: 0, two: 1 } },
  };
  const tokenizer = openTokenizer(folder(words));
  expect(tokenizer.encode("one two").ids).toEqual([0, 1]);
  expectCode(() => tokenizer.encode("one three two"), "prompt.unknownToken", "1 pieces", "no token");
});
