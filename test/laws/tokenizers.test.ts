/** Ids of hard texts and of answers by every kind of tokenizer, against the tokenizers library. */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { answerToken } from "../../server/formats/answerToken.ts";
import { openTokenizer } from "../../server/formats/tokenizer.ts";
import { temporaryFolder } from "../formats/temporaryFolder.ts";
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

interface Configured {
  readonly kind: string;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly texts: Ids;
}
const configured = JSON.parse(readFileSync(join(referenceDir, "tokenizers", "settings.json"), "utf8")) as readonly Configured[];

function folderWith(kind: string, settings: object): string {
  const folder = temporaryFolder();
  cpSync(join(referenceDir, "tokenizers", kind), folder, { recursive: true });
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(settings));
  return folder;
}

describe("tokenizer_config.json", () => {
  it.each(configured)("$settings changes $kind as transformers' AutoTokenizer does", ({ kind, settings, texts }) => {
    const tokenizer = openTokenizer(folderWith(kind, settings));
    for (const [text, ids] of Object.entries(texts)) expect(tokenizer.encode(text).ids, text).toEqual(ids);
  });

  it("that gives a token an id which it cannot have is refused", () => {
    const settings = { added_tokens_decoder: { 9000: { content: "<extra>" } } };
    expect(() => openTokenizer(folderWith("opt", settings))).toThrow(/"<extra>" the id 9000; expected \d+/);
  });
});
