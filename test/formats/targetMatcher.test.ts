import { expect, test } from "vitest";
import { parseAdapterConfig } from "../../server/formats/adapterConfig.ts";
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

test("a pattern that would backtrack without end is refused by name, wherever a config holds it", () => {
  const path = `model.${"a".repeat(60)}`;
  for (const fields of [
    { target_modules: ".*(a+)+b" },
    { target_modules: ["q"], exclude_modules: ".*(a+)+b" },
    { target_modules: "q", modules_to_save: [".*(a+)+b"] },
  ])
    expectCode(
      () => matchesTarget(parseAdapterConfig({ peft_type: "LORA", ...fields }, "dir", "w"), path, kind),
      "adapter.unsupported",
      "(a+)+b",
      "1000000 steps",
    );
  expectCode(() => patternValue(new Map([["(a+)+b", 2]]), path), "adapter.unsupported", "(a+)+b", "1000000 steps");
});
