import { expect, test } from "vitest";
import { parseAdapterConfig } from "../../server/formats/adapterConfig.ts";
import { pythonFullmatch, pythonMatch } from "../../server/formats/pythonRegex.ts";
import { matchesTarget, patternValue } from "../../server/formats/targetMatcher.ts";
import { expectCode } from "./expectCode.ts";
import patterns from "../../fixtures/patterns/matches.json" with { type: "json" };
import golden from "./golden/targets.json" with { type: "json" };

const kind = { isLinear: true, isOutputHead: false };

test.each(golden.targets.map((row) => [JSON.stringify(row.config), row] as const))("%s targets what PEFT targets", (_, row) => {
  const config = parseAdapterConfig({ peft_type: "LORA", ...row.config }, "dir", "adapter_config.json");
  expect(golden.paths.filter((path) => matchesTarget(config, path, kind))).toEqual(row.matched);
});

test.each(golden.patterns.map((row) => [JSON.stringify(row.keys), row] as const))("of the pattern keys %s the one that PEFT takes wins", (_, row) => {
  const pattern = new Map(row.keys.map((key, i) => [key, i + 1]));
  const winners = Object.fromEntries(
    golden.paths.flatMap((path) => {
      const value = patternValue(pattern, path);
      return value === undefined ? [] : [[path, row.keys[value - 1]]];
    }),
  );
  expect(winners).toEqual(row.winners);
});

test("all-linear, in any case, means linear maps but the output head", () => {
  const config = parseAdapterConfig({ peft_type: "LORA", target_modules: "ALL-linear" }, "dir", "w");
  expect(matchesTarget(config, "h.0.q", kind)).toBe(true);
  expect(matchesTarget(config, "lm_head", { isLinear: true, isOutputHead: true })).toBe(false);
  expect(matchesTarget(config, "wte", { isLinear: false, isOutputHead: false })).toBe(false);
});

test("target_modules null cannot be matched and says so", () => {
  expectCode(() => matchesTarget(parseAdapterConfig({ peft_type: "LORA" }, "dir", "w"), "q", kind), "adapter.unsupported", "target_modules is null");
});

// Each row is what Python 3.11 answers to re.fullmatch.
test.each([
  ["a|ab", "ab", true],
  ["[]x]+", "]x", true],
  ["[^]x]", "]", false],
  ["(?#note)q", "q", true],
  ["(?P<n>q)", "q", true],
  ["(?s).", "\n", true],
  [".", "\r", true],
  [".", "\n", false],
  ["q$", "q", true],
  ["q$", "q\n", false],
  ["(?m)^b$", "b", true],
  ["x{,2}", "xx", true],
  ["x{,2}", "xxx", false],
  ["x{,2}", "x{,2}", false],
  ["\\.\\-\\_", ".-_", true],
  ["(?<=a)b", "b", false],
  ["[\\b]", "\b", true],
])("fullmatch of %j on %j is %s, as in Python", (pattern, text, expected) => {
  expect(pythonFullmatch(pattern, text)).toBe(expected);
});

test("match is anchored at the start only, and $ also stands before a last newline", () => {
  expect(pythonMatch("b", "ab")).toBeNull();
  expect(pythonMatch("a", "ab")?.text).toBe("a");
  expect(pythonMatch("a$", "a\n")?.text).toBe("a");
});

test.each(["(?x) q", "a*+", "(?>a)", "(a)?(?(1)b|c)", "(?i:a)", "a(?i)", "\\N{DIGIT ONE}", "(", "a\\", "*"])(
  "the pattern %j is refused rather than read differently",
  (pattern) => {
    expectCode(() => pythonFullmatch(pattern, "q"), "adapter.unsupported", "regular expression");
  },
);

test.each(patterns.cases.map((row) => [row.pattern, row] as const))("%j answers re.fullmatch and re.match as Python does", (pattern, { answers }) => {
  const ours = answers.map(({ text }) => {
    const found = pythonMatch(pattern, text);
    return { text, full: pythonFullmatch(pattern, text), match: found?.text ?? null, named: Object.fromEntries(found?.named ?? []) };
  });
  expect(ours).toEqual(answers);
});

test.each(patterns.refusedByPython)("%j, which Python refuses, is refused", (pattern) => {
  expectCode(() => pythonMatch(pattern, "a"), "adapter.unsupported", "regular expression");
});

test.each(["((([a-z0-9_.]+)+)+)+!", "(a+)+$", "(a|a)*b", "(.*)*x", "(?:a?){40}a{40}", "(a*)*\\1b", "(?=(a+)+b)a", "(a|aa)+$"])(
  "the pattern %j, which backtracks without end, is refused after a count of steps that no clock decides",
  (pattern) => {
    expectCode(() => pythonFullmatch(pattern, `${"a".repeat(60)}?`), "adapter.unsupported", "100000 steps");
  },
);

test("a long path and a long pattern are refused in words, not by the stack", () => {
  expect(pythonFullmatch(".*\\.q", `${"a".repeat(50_000)}.q`)).toBe(true);
  expectCode(() => pythonFullmatch("(?:ab)*", "ab".repeat(50_000)), "adapter.unsupported", "steps within each other");
  expectCode(() => pythonFullmatch("(".repeat(5000) + ")".repeat(5000), ""), "adapter.unsupported", "nested more than 100 deep");
});
