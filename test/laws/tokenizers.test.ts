/** Ids of hard texts and of answers by every kind of tokenizer, against the tokenizers library. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { answerToken } from "../../server/formats/answerToken.ts";
import { openTokenizer } from "../../server/formats/tokenizer.ts";
import { referenceDir } from "./goldens.ts";

type Ids = Readonly<Record<string, readonly number[]>>;
const golden = JSON.parse(readFileSync(join(referenceDir, "tokenizers", "golden.json"), "utf8")) as Readonly<
  Record<string, { readonly texts: Ids; readonly answers: Readonly<Record<string, number>> }>
>;

describe.each(Object.entries(golden))("%s", (kind, { texts, answers }) => {
  const tokenizer = openTokenizer(join(referenceDir, "tokenizers", kind));

  it.each(Object.entries(texts))("has the ids of the tokenizers library for %j", (text, ids) => {
    expect(tokenizer.encode(text).ids).toEqual(ids);
  });

  it.each(Object.entries(answers))("reads the answer %j as the one token that is meant", (text, id) => {
    expect(answerToken(tokenizer, text, "answer")).toBe(id);
  });

  it("takes a word of 160,000 letters", () => {
    expect(tokenizer.encode("of".repeat(80_000)).ids.length).toBeGreaterThan(0);
  });
});
