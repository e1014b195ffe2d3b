/** Python's re, as CPython 3.11 answers: fixtures/pythonRegex/make.py asked it about patterns written by hand and at random. */
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { gunzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { WorkbenchError } from "../../server/errors.ts";
import { pythonFullmatch, pythonMatch } from "../../server/formats/pythonRegex.ts";
import { expectCode } from "./expectCode.ts";

interface Case {
  readonly pattern: string;
  /** Null where it does not compile; a match is null or its end and its groups. */
  readonly answers: readonly (readonly [text: string, match: readonly [number, readonly (string | null)[]] | null, fullmatch: boolean])[] | null;
}

const cases = gunzipSync(readFileSync(new URL("../../fixtures/pythonRegex/cases.jsonl.gz", import.meta.url)))
  .toString()
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line) as Case);

/** Patterns that Python compiles and we refuse: names of letters, as we have no table of them. */
const refusedOnPurpose = ["\\N{BULLET}x"];

function refusal(pattern: string): WorkbenchError | null {
  try {
    pythonMatch(pattern, "");
    return null;
  } catch (error) {
    if (error instanceof WorkbenchError && error.code === "adapter.unsupported") return error;
    throw error;
  }
}

test("the patterns that are refused are those that Python does not compile", () => {
  const faulty = new Set(cases.flatMap(({ pattern, answers }) => (answers === null ? [pattern] : [])));
  expect(faulty.size).toBeGreaterThan(1000);
  const differing = cases.map(({ pattern }) => pattern).filter((pattern) => (refusal(pattern) !== null) !== faulty.has(pattern));
  expect(differing).toEqual(refusedOnPurpose);
});

test("match and fullmatch answer as in Python, with the same end and the same groups", () => {
  const differing: unknown[] = [];
  let count = 0;
  for (const { pattern, answers } of cases) {
    if (answers === null || refusedOnPurpose.includes(pattern)) continue;
    for (const [text, match, fullmatch] of answers) {
      count++;
      const found = pythonMatch(pattern, text);
      const here = [found && [[...found.text].length, found.groups], pythonFullmatch(pattern, text)];
      if (!isDeepStrictEqual(here, [match, fullmatch])) differing.push({ pattern, text, here, python: [match, fullmatch] });
    }
  }
  expect(differing).toEqual([]);
  expect(count).toBeGreaterThan(20_000);
});

test("named groups are found by name", () => {
  expect(pythonMatch("(?P<a>x)(?P<b>y)?", "xz")).toEqual({
    text: "x",
    groups: ["x", null],
    named: new Map([
      ["a", "x"],
      ["b", null],
    ]),
  });
});

// 2^60 ways and more; what a loop of nothing, a lookahead and a backreference cost is counted as well.
test.each([
  "(a+)+b",
  "(a*)*b",
  "(a|a)*b",
  "(a|aa)+b",
  "((a?)+)+$b",
  "(?=(a+)+b)",
  "(?!(a+)+b)c",
  "(?:(a+)\\1?)+b",
  "(?i)(A+)+b",
  "(?:(?:(?:){65535}){65535}){65535}",
  "(a+?)+?b",
])("%j is given up after a fixed number of steps", (pattern) => {
  const text = "a".repeat(60);
  expectCode(() => pythonFullmatch(pattern, text), "adapter.unsupported", JSON.stringify(pattern), text, "1000000 steps", "list the modules by name");
});

test("ways that are never tried and letters that a backreference compares count too", () => {
  for (const pattern of [`(?:a|${"b|".repeat(2000)}b)*`, "(a{1000})(?:(?=\\1)a)*"])
    expectCode(() => pythonFullmatch(pattern, "a".repeat(3000)), "adapter.unsupported", "1000000 steps");
});

test("what Python decides soon is decided: all modules of a large model by name, a possessive repeat, a long text", () => {
  const modules = Array.from({ length: 1500 }, (_, i) => `model.layers.${i}.self_attn.q_proj`);
  expect(pythonFullmatch(modules.join("|"), modules[1499] ?? "")).toBe(true);
  expect(pythonFullmatch(modules.join("|"), "model.layers.1500.self_attn.q_proj")).toBe(false);
  expect(pythonFullmatch("(?>a+)+b", "a".repeat(60))).toBe(false);
  expect(pythonFullmatch("(?:a|b)*c", `${"ab".repeat(20_000)}c`)).toBe(true);
});

test.each([
  ["flags for bytes", "(?L)a", "the group (?L"],
  ["flags of the whole that come late", "a(?i)", "do not stand first"],
  ["letters by name", "\\N{DIGIT ONE}", "the escape \\N at letter 2"],
  ["deep groups", "(".repeat(101) + ")".repeat(101), "nested more than 100 deep"],
  ["lookbehind of any length", "(?<=a*)b", "a lookbehind whose length is not fixed"],
  ["a very long pattern", "a".repeat(100_001), "has 100001 letters; expected at most 100000"],
  ["a lone backslash", "a\\", "a backslash at the end"],
])("%s: refused in words", (_, pattern, words) => {
  expectCode(() => pythonMatch(pattern, "a"), "adapter.unsupported", "regular expression", words, "expected");
});
