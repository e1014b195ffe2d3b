import { expect, test } from "vitest";
import { parseAdapterConfig } from "../../server/formats/adapterConfig.ts";
import { pythonFullmatch, pythonMatch } from "../../server/formats/pythonRegex.ts";
import { matchesTarget, patternValue } from "../../server/formats/targetMatcher.ts";
import { expectCode } from "./expectCode.ts";
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
  expect(pythonMatch("a", "ab")?.[0]).toBe("a");
  expect(pythonMatch("a$", "a\n")?.[0]).toBe("a");
});

test.each(["(?x) q", "(a)\\1", "(?P<n>a)(?P=n)", "a*+", "(?>a)", "(a)?(?(1)b|c)", "(?i:a)", "a(?i)", "\\N{DIGIT ONE}", "(", "a\\", "*"])(
  "the pattern %j is refused rather than read differently",
  (pattern) => {
    expectCode(() => pythonFullmatch(pattern, "q"), "adapter.unsupported", "regular expression");
  },
);
