/** Datasets: where the loss lies, what is held out, and what is refused. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { openTokenizer, type Tokenizer } from "../../server/formats/tokenizer.ts";
import { loadDataset } from "../../server/data/dataset.ts";
import type { Dataset, Example } from "../../server/data/example.ts";
import { previewOf } from "../../server/data/preview.ts";
import { heldOutIndices } from "../../server/data/split.ts";
import { dataParams } from "../../server/data/dataParams.ts";
import { expectCode } from "../formats/expectCode.ts";
import { temporaryFolder } from "../formats/temporaryFolder.ts";

const demo = openTokenizer("fixtures/demo/base");
const eos = demo.eosId!;
const limits = { nCtx: 64, seed: 3 };

const special = (id: number, content: string) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true });
const placed = (name: string) => ({ SpecialToken: { id: name, type_id: 0 } });

/** Tokens a b c, "ab" and "▁"; the tokenizer puts <s> in front of a text, and </s> after it when it `ends` texts. */
function pairTokenizer(ends: boolean): Tokenizer {
  const dir = temporaryFolder();
  const single = [placed("<s>"), { Sequence: { id: "A", type_id: 0 } }, ...(ends ? [placed("</s>")] : [])];
  const names = Object.fromEntries(["<s>", "</s>"].map((name, id) => [name, { id: name, ids: [id], tokens: [name] }]));
  writeFileSync(
    join(dir, "tokenizer.json"),
    JSON.stringify({
      version: "1.0",
      added_tokens: [special(0, "<s>"), special(1, "</s>")],
      normalizer: { type: "Replace", pattern: { String: " " }, content: "▁" },
      pre_tokenizer: null,
      post_processor: { type: "TemplateProcessing", single, pair: [], special_tokens: names },
      decoder: { type: "Replace", pattern: { String: "▁" }, content: " " },
      model: { type: "BPE", vocab: { "<s>": 0, "</s>": 1, a: 2, b: 3, c: 4, ab: 5, "▁": 6 }, merges: ["a b"] },
    }),
  );
  writeFileSync(join(dir, "tokenizer_config.json"), JSON.stringify({ bos_token: "<s>", eos_token: "</s>" }));
  return openTokenizer(dir);
}

function fileOf(name: string, rows: readonly (object | string)[]): string {
  const file = join(temporaryFolder(), name);
  writeFileSync(file, rows.map((row) => (typeof row === "string" ? row : JSON.stringify(row))).join("\n"));
  return file;
}
const load = (path: string, given: object = {}, tokenizer: Tokenizer = demo, within: object = {}): Dataset =>
  loadDataset(dataParams.parse({ path, validationFraction: 0, ...given }), tokenizer, { ...limits, ...within });
const one = (row: object, given: object, tokenizer: Tokenizer = demo): Example => load(fileOf("x.jsonl", [row]), given, tokenizer).train[0]!;
const textOf = (id: number) => demo.tokenText(id);
const withLoss = ({ tokens, lossWeights }: Example) => [...tokens].filter((_, i) => lossWeights[i] !== 0);
const known = "The capital of Arvenia is";

describe("a text", () => {
  it("is predicted after its first token, up to an end token that is added", () => {
    const { tokens, lossWeights, label, task } = one({ text: `${known} Krest.` }, {});
    expect([...tokens]).toEqual([...demo.encode(`${known} Krest.`).ids, eos]);
    expect([...lossWeights]).toEqual([0, ...Array.from({ length: tokens.length - 1 }, () => 1)]);
    expect([label, task]).toEqual([null, 0]);
  });

  it("gets one end token from a tokenizer that ends texts itself", () => {
    expect([...one({ text: "ab" }, {}, pairTokenizer(true)).tokens]).toEqual([0, 5, 1]);
    expect([...one({ text: "ab" }, {}, pairTokenizer(false)).tokens]).toEqual([0, 5, 1]);
  });
});

describe("a completion", () => {
  it("is all that the loss counts, with the end token, whatever the texts", () => {
    const dir = temporaryFolder();
    const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 30 }).filter((each) => each.trim() !== "");
    fc.assert(
      fc.property(text, text, (prompt, completion) => {
        const path = join(dir, "x.jsonl");
        writeFileSync(path, JSON.stringify({ prompt, completion }));
        const example = load(path, { task: "completion", maxLength: 1024 }, demo, { nCtx: 1024 }).train[0]!;
        const before = [...example.tokens].filter((_, i) => example.lossWeights[i] === 0);
        expect(before).toEqual(demo.encode(prompt).ids);
        const after = withLoss(example);
        expect(after.at(-1)).toBe(eos);
        expect(demo.decode(after.slice(0, -1))).toBe(completion);
      }),
      { numRuns: 60 },
    );
  });

  it("is encoded with its prompt where that keeps the prompt's tokens, and apart where a token would span the two", () => {
    const ids = (prompt: string, completion: string) => one({ prompt, completion }, { task: "completion" }, pairTokenizer(false));
    expect([...ids("a", "c").tokens]).toEqual([0, 2, 4, 1]);
    expect([...ids("ab", "ab").tokens]).toEqual([0, 5, 5, 1]);
    const split = ids("ca", "bc"); // together "c ab c"
    expect([...split.tokens]).toEqual([0, 4, 2, 3, 4, 1]);
    expect([...split.lossWeights]).toEqual([0, 0, 0, 1, 1, 1]);
  });

  it("begins after the prompt also with a tokenizer that ends texts itself", () => {
    const example = one({ prompt: "c", completion: "ab" }, { task: "completion" }, pairTokenizer(true));
    expect([...example.tokens]).toEqual([0, 4, 5, 1]);
    expect([...example.lossWeights]).toEqual([0, 0, 1, 1]);
  });

  it("that lies beyond the longest length is refused, with the line; one that lies beyond in part is cut", () => {
    const path = fileOf("x.jsonl", [
      { prompt: "a", completion: " b" },
      { prompt: known, completion: " Krest." },
    ]);
    const promptTokens = demo.encode(known).ids.length;
    expectCode(
      () => load(path, { task: "completion", maxLength: promptTokens }),
      "data.malformed",
      `${path}, line 2: `,
      `within the first ${promptTokens} tokens`,
    );
    const { train, cut } = load(path, { task: "completion", maxLength: promptTokens + 1 });
    expect([train[1]!.tokens.length, withLoss(train[1]!).map(textOf), cut]).toEqual([promptTokens + 1, [" Krest"], 1]);
  });
});

describe("a classification", () => {
  const rows = [
    { text: "a", label: 10 },
    { text: "b", label: 9 },
    { text: "c", label: 10 },
    { text: "d", label: 2 },
  ];

  it("numbers its labels in order, as numbers when they are, and predicts no token", () => {
    const { train, labels } = load(fileOf("x.jsonl", rows), { task: "classification" });
    expect(labels).toEqual(["2", "9", "10"]);
    expect(train.map(({ label }) => label)).toEqual([2, 1, 2, 0]);
    expect(train.flatMap(withLoss)).toEqual([]);
    expect(train.map(({ tokens }) => [...tokens])).toEqual(rows.map(({ text }) => demo.encode(text).ids));
    expect(load(fileOf("x.csv", ["text,label", "a,b10", "b,b9", "c,10"]), { task: "classification" }).labels).toEqual(["10", "b10", "b9"]);
  });

  it("needs two labels", () =>
    expectCode(
      () => load(fileOf("x.csv", ["text,label", "a,yes", "b,yes"]), { task: "classification" }),
      "data.malformed",
      'one label, "yes"',
      "expected two or more",
    ));

  it("refuses a held-out label that training has not, with its line", () => {
    const validationPath = fileOf("held.csv", ["text,label", "a,9", '"b\nb",10', "c,11"]);
    expectCode(
      () => load(fileOf("x.jsonl", rows), { task: "classification", validationPath }),
      "data.malformed",
      `${validationPath}, line 5: found the label "11"`,
      "near names: 10",
    );
  });
});

describe("tasks", () => {
  it("are the names in their column, sorted; one without it", () => {
    const path = fileOf("x.csv", ["which,text", "b,one", "a,two", "b,three"]);
    const dataset = load(path, { columns: { task: "which" } });
    expect([dataset.tasks, dataset.train.map(({ task }) => task)]).toEqual([
      ["a", "b"],
      [1, 0, 1],
    ]);
    expect(load(path)).toMatchObject({ tasks: ["all"], train: [{ task: 0 }, { task: 0 }, { task: 0 }] });
    const validationPath = fileOf("held.csv", ["which,text", "c,one"]);
    expectCode(() => load(path, { columns: { task: "which" }, validationPath }), "data.malformed", `${validationPath}, line 2: found the task "c"`);
  });
});

describe("columns", () => {
  it("are found by the names they were given", () => {
    const row = { frage: known, antwort: " Krest" };
    expect(withLoss(one(row, { task: "completion", columns: { prompt: "frage", completion: "antwort" } })).map(textOf)).toEqual([" Krest", "<|endoftext|>"]);
    expectCode(
      () => one(row, { task: "completion", columns: { prompt: "frage", completion: "antwrt" } }),
      "data.malformed",
      "line 1",
      'no "antwrt"',
      "near names: antwort",
    );
  });

  it("of a plain text are its text, whatever name the text has elsewhere", () => {
    expect(load(fileOf("x.txt", ["one", "two"]), { columns: { text: "body" } }).train).toHaveLength(2);
    expectCode(() => load(fileOf("x.txt", ["one"]), { task: "completion" }), "data.unsupported", '"prompt"');
  });

  test.each([
    ["a number", 3, "found a number"],
    ["a list of texts", ["a"], "found a list"],
    ["null", null, "found null"],
    ["an empty text", "", 'found an empty "text"'],
    ["spaces alone", " \n ", 'found an empty "text"'],
  ])("hold a text: %s is refused with its line", (_, text, words) =>
    expectCode(() => load(fileOf("x.jsonl", [{ text: "a" }, { text }])), "data.malformed", "line 2: ", words, "expected a text"),
  );

  test.each([
    [null, "found null"],
    [{}, "found an object"],
    [" ", "found an empty"],
  ])("hold a label: %j is refused with its line", (label, words) =>
    expectCode(
      () =>
        load(
          fileOf("x.jsonl", [
            { text: "a", label: true },
            { text: "a", label },
          ]),
          { task: "classification" },
        ),
      "data.malformed",
      "line 2: ",
      words,
    ),
  );
});

test("a token beyond the rows of the model's embedding is named with its line", () => {
  const path = fileOf("x.txt", ["a", known]);
  const most = Math.max(...demo.encode(known).ids);
  expectCode(() => load(path, {}, demo, { dVocab: most }), "prompt.unknownToken", `${path}, line 1: found token ${eos}`, `below ${most}`);
  expect(load(path, {}, demo, { dVocab: eos + 1 }).train).toHaveLength(2);
});

test("examples are cut to what the model has positions for, and counted", () => {
  const { train, cut } = load(fileOf("x.txt", [known, "a"]), { maxLength: 128 }, demo, { nCtx: 3 });
  expect([train.map(({ tokens }) => tokens.length), cut]).toEqual([[3, 2], 1]);
});

describe("the held-out examples", () => {
  const groups = fc.array(fc.constantFrom("a", "b", "c", "d"), { minLength: 1, maxLength: 80 });
  const fraction = fc.double({ min: 0.01, max: 0.9, noNaN: true });

  it("are the share that was asked for, keep each group's share to one example, and leave every group one to train on", () => {
    fc.assert(
      fc.property(groups, fraction, fc.nat(), (all, share, seed) => {
        const heldOut = heldOutIndices(all, share, seed);
        expect(new Set(heldOut).size).toBe(heldOut.length);
        const sizes = [...new Set(all)].map((group) => ({
          size: all.filter((each) => each === group).length,
          held: heldOut.filter((i) => all[i] === group).length,
        }));
        const possible = sizes.reduce((sum, { size }) => sum + size - 1, 0);
        expect(heldOut.length).toBe(Math.min(possible, Math.max(1, Math.round(share * all.length))));
        for (const { size, held } of sizes) {
          expect(held).toBeLessThan(size);
          // Below its share only where one example has to stay; above it by more than one only in the place of such a group.
          expect(held).toBeGreaterThanOrEqual(Math.min(size - 1, Math.floor(share * size)));
        }
      }),
    );
  });

  it("are the same for the same seed, and others for another", () => {
    const all = Array.from({ length: 60 }, (_, i) => (i % 2 === 0 ? "a" : "b"));
    expect(heldOutIndices(all, 0.2, 5)).toEqual(heldOutIndices(all, 0.2, 5));
    expect(heldOutIndices(all, 0.2, 5)).not.toEqual(heldOutIndices(all, 0.2, 6));
  });

  it("and the training examples are the file's, each once, in its order", () => {
    const path = fileOf(
      "x.txt",
      Array.from({ length: 40 }, (_, i) => `text ${i}`),
    );
    const { train, validation } = load(path, { validationFraction: 0.25 });
    const numbers = (examples: readonly Example[]) => examples.map(({ tokens }) => Number(/\d+/.exec(demo.decode([...tokens]))![0]));
    expect([train.length, validation.length]).toEqual([30, 10]);
    expect([...numbers(train), ...numbers(validation)].sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, i) => i));
    for (const side of [train, validation]) expect(numbers(side)).toEqual(numbers(side).toSorted((a, b) => a - b));
  });

  it("are none only when none are asked for", () => {
    const path = fileOf("x.txt", ["one text"]);
    expectCode(() => load(path, { validationFraction: 0.1 }), "data.empty", path, "one example", "validationFraction 0");
    expect(load(path).validation).toEqual([]);
    expectCode(
      () => load(fileOf("x.csv", ["text,label", "a,1", "b,2"]), { task: "classification", validationFraction: 0.5 }),
      "data.empty",
      "no label or task with two examples",
    );
  });
});

describe("a preview", () => {
  it("counts what one epoch reads and what its loss counts, and shows the first examples", () => {
    const rows = [known, `${known} Krest`, "a", "b", "c"].map((prompt, i) => ({ prompt, completion: " Krest.", task: i % 2 === 0 ? "x" : "y" }));
    const { lengths: spread, first, ...counts } = previewOf(load(fileOf("x.jsonl", rows), { task: "completion", columns: { task: "task" } }), demo);
    const lengths = rows.map(({ prompt }) => demo.encode(prompt).ids.length + 3).sort((a, b) => a - b);
    expect(counts).toEqual({
      isWhole: true,
      examples: 5,
      validation: 0,
      tokens: lengths.reduce((a, b) => a + b),
      lossTokens: 15,
      cut: 0,
      labels: [],
      labelCounts: [],
      tasks: ["x", "y"],
      taskCounts: [3, 2],
    });
    expect(spread).toEqual({ least: lengths[0], lower: lengths[1], median: lengths[2], upper: lengths[3], most: lengths[4] });
    expect(first).toHaveLength(3);
    expect(first[0]).toEqual({
      tokens: [...demo.encode(known).tokens, " Krest", ".", "<|endoftext|>"],
      lossWeights: [...demo.encode(known).ids.map(() => 0), 1, 1, 1],
      label: null,
      task: "x",
    });
  });

  it("of a classification counts labels", () => {
    const file = fileOf("x.csv", ["text,label", "a,yes", "b,no", "c,yes", "d,no", "e,yes"]);
    const preview = previewOf(load(file, { task: "classification", validationFraction: 0.2 }), demo);
    expect(preview).toMatchObject({ examples: 4, validation: 1, lossTokens: 4, labels: ["no", "yes"], labelCounts: [2, 2], tasks: ["all"], taskCounts: [4] });
    for (const { tokens, label, task } of preview.first) expect([label, task]).toEqual([["b", "d"].includes(tokens.join("")) ? "no" : "yes", null]);
  });
});
