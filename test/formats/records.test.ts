/** Reading records: what comes back, and on which line a fault is said to be. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { maxFields } from "../../server/formats/csv.ts";
import { readRecords, type DataRecord } from "../../server/formats/records.ts";
import { maxRecordBytes } from "../../server/formats/textLines.ts";
import { expectCode } from "./expectCode.ts";
import { temporaryFolder } from "./temporaryFolder.ts";

function fileOf(name: string, content: string | Uint8Array): string {
  const file = join(temporaryFolder(), name);
  writeFileSync(file, content);
  return file;
}
const read = (name: string, content: string | Uint8Array, columns: readonly string[] = []): DataRecord[] => [...readRecords(fileOf(name, content), columns)];
const texts = (records: readonly DataRecord[]) => records.map(({ line, fields }) => [line, fields["text"]]);

/** A CR before LF is a line end's, so it would not come back. */
const anyText = fc.string({ unit: "binary", maxLength: 12 }).map((text) => text.replaceAll("\r", "r"));
const quoted = (field: string) => `"${field.replaceAll('"', '""')}"`;

describe("JSON Lines", () => {
  it("gives every object back with its line", () => {
    const dir = temporaryFolder();
    fc.assert(
      fc.property(
        fc.array(fc.record({ text: anyText, n: fc.integer() }), { minLength: 1 }),
        fc.constantFrom("\n", "\r\n"),
        fc.boolean(),
        (objects, end, endsInNewline) => {
          const file = join(dir, "x.jsonl");
          writeFileSync(file, objects.map((object) => JSON.stringify(object)).join(end) + (endsInNewline ? end : ""));
          const letters = (fields: object) => JSON.stringify(fields).length;
          expect([...readRecords(file, ["text"])]).toEqual(objects.map((fields, i) => ({ line: i + 1, letters: letters(fields), fields })));
        },
      ),
    );
  });

  it("names the line of whatever is wrong, wherever it stands", () => {
    const dir = temporaryFolder();
    const faults: readonly [string, string][] = [
      ['{"text": "a"', "found no JSON"],
      ["{text: 1}", "at column 2"],
      ["", "blank line"],
      ["[1]", "found a list"],
      ["3", "found a number"],
      ["null", "found null"],
      ['{"txt": "a"}', 'found no "text"'],
    ];
    fc.assert(
      fc.property(fc.nat(20), fc.nat(20), fc.constantFrom(...faults), (before, after, [fault, words]) => {
        const good = (count: number) => Array.from({ length: count }, () => '{"text":"a"}');
        const file = join(dir, "x.jsonl");
        writeFileSync(file, [...good(before), fault, ...good(after + 1)].join("\n"));
        expectCode(() => [...readRecords(file, ["text"])], "data.malformed", `${file}, line ${before + 1}: found `, "expected", words);
      }),
    );
  });

  it("lists near names of a missing key", () =>
    expectCode(() => read("x.jsonl", '{"promt":"a","label":1}', ["prompt"]), "data.malformed", "line 1", "near names: promt, label"));

  it("takes a key of every object's prototype for missing", () =>
    expectCode(() => read("x.jsonl", '{"text":"a"}', ["toString"]), "data.malformed", 'found no "toString"'));
});

describe("CSV", () => {
  it("gives quoted fields back with commas, quotes and line ends in them, and the line where each record begins", () => {
    const dir = temporaryFolder();
    fc.assert(
      fc.property(fc.array(fc.tuple(anyText, anyText), { minLength: 1 }), (rows) => {
        const file = join(dir, "x.csv");
        writeFileSync(file, ["a,b", ...rows.map((row) => row.map(quoted).join(","))].join("\n"));
        let line = 2;
        const expected = rows.map(([a, b]) => {
          const record = { line, letters: (a + b).length, fields: { a, b } };
          line += 1 + (a + b).split("\n").length - 1;
          return record;
        });
        expect([...readRecords(file, ["a", "b"])]).toEqual(expected);
      }),
    );
  });

  it("reads unquoted fields as they stand, spaces and empty ones too", () => {
    expect(read("x.csv", "a,b,c\n1, x ,\n,,\n").map(({ fields }) => fields)).toEqual([
      { a: "1", b: " x ", c: "" },
      { a: "", b: "", c: "" },
    ]);
  });

  test.each([
    ["too few fields", "a,b\n1,2\n3\n4,5\n", 3, "found 1 field; expected 2"],
    ["too many fields", "a,b\n1,2,3\n", 2, "found 3 fields; expected 2"],
    ["a blank line in between", "a,b\n1,2\n\n3,4\n", 3, "found 1 field"],
    ["a quote never closed", 'a,b\n1,2\n"3,4\n5,6\n', 3, "never closed"],
    ["a quote inside an unquoted field", 'a,b\n1,2\n3,4" and 5"\n', 3, "found a quote inside field 2"],
    ["text after a closing quote", 'a,b\n1,2\n"3"4,5\n', 3, 'found "4" after the quote that closes field 1'],
    ["a fault after a record of several lines", 'a,b\n"1\n\n1",2\n3\n', 5, "found 1 field"],
    ["a column twice", "a,b,a\n1,2,3\n", 1, 'column "a" twice'],
    ["a missing column, though no row follows", "a,label\n", 1, 'found no "b"; expected that column, near names: a, label'],
  ])("%s is refused with its line", (_, content, line, words) =>
    expectCode(() => read("x.csv", content, ["a", "b"]), "data.malformed", `, line ${line}: `, words),
  );
});

describe("plain text", () => {
  it("is one text a line without blank lines in between, whatever stands after the last", () => {
    expect(texts(read("x.txt", "one\ntwo\r\nthree\n\n \n", ["text"]))).toEqual([
      [1, "one"],
      [2, "two"],
      [3, "three"],
    ]);
  });

  it("is one text a block when there is any blank line in between", () => {
    expect(texts(read("x.txt", "one\ntwo\n\n\nthree\n \nfour\nfive", ["text"]))).toEqual([
      [1, "one\ntwo"],
      [5, "three"],
      [7, "four\nfive"],
    ]);
  });

  it("has no other columns", () => expectCode(() => read("x.txt", "one", ["text", "label"]), "data.unsupported", '"label"', ".jsonl or .csv"));
});

test("a byte order mark is no text", () => {
  expect(read("x.csv", "\uFEFFa\n1\n", ["a"])).toEqual([{ line: 2, letters: 1, fields: { a: "1" } }]);
});

test("bytes that are not UTF-8 are refused with their line, after more than one piece of the file too", () => {
  const line = Buffer.from(`{"text":"${"é".repeat(500)}"}\n`);
  const count = 3000;
  const bytes = Buffer.concat([...Array.from({ length: count }, () => line), Buffer.from([0x22, 0xe9, 0x22])]);
  expectCode(() => read("x.jsonl", bytes, ["text"]), "data.malformed", `line ${count + 1}: found bytes that are not UTF-8`);
  const whole = read("x.jsonl", bytes.subarray(0, count * line.length), ["text"]);
  expect(whole).toHaveLength(count);
  expect(new Set(whole.map(({ fields }) => fields["text"]))).toEqual(new Set(["é".repeat(500)]));
});

test("a line longer than a record may be is refused before it fills memory", () => {
  expectCode(() => read("x.txt", Buffer.alloc(maxRecordBytes + 2 ** 21, "a")), "data.malformed", "line 1", `${maxRecordBytes} bytes`);
});

test("files without a record are told from files that are absent, of another kind, or folders", () => {
  for (const [name, content] of [
    ["x.jsonl", ""],
    ["x.jsonl", "\n\n"],
    ["x.csv", ""],
    ["x.csv", "a,b\n"],
    ["x.txt", " \n"],
  ] as const)
    expectCode(() => read(name, content), "data.empty", name);
  expectCode(() => [...readRecords("/nowhere/x.csv", [])], "file.notFound", "/nowhere/x.csv");
  for (const name of ["x.parquet", "x"]) expectCode(() => read(name, "a"), "data.unsupported", name, "expected .jsonl, .csv or .txt");
  const folder = join(temporaryFolder(), "x.csv");
  mkdirSync(folder);
  expectCode(() => [...readRecords(folder, [])], "file.unreadable", "is a folder", "regular file");
});

test("a table of 100,000 columns and deep JSON are refused, with their line, before anything is made of them", () => {
  expectCode(() => read("x.csv", `${"a,".repeat(100_000)}a\n`), "data.malformed", "line 1", `more than ${maxFields} fields`);
  const widest = Array.from({ length: maxFields }, (_, i) => `c${i}`).join(",");
  expect(Object.keys(read("x.csv", `${widest}\n${widest}\n`)[0]?.fields ?? {})).toHaveLength(maxFields);
  expectCode(() => read("x.jsonl", `{"text":"a"}\n{"text":${"[".repeat(100_000)}${"]".repeat(100_000)}}`), "data.malformed", "line 2", "nested more than 127");
});
