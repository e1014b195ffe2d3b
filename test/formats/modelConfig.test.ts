import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readJson } from "../../server/formats/json.ts";
import {
  boolean,
  number,
  oneOf,
  optionalNumbers,
  optionalPositiveInteger,
  positiveInteger,
  readModelConfig,
  record,
  string,
} from "../../server/formats/modelConfig.ts";
import { expectCode } from "./expectCode.ts";
import { temporaryFolder } from "./temporaryFolder.ts";

function withConfig(content: string | Uint8Array): string {
  const dir = temporaryFolder();
  writeFileSync(join(dir, "config.json"), content);
  return dir;
}

test("a config is read with its model type and every field as it stands", () => {
  const dir = withConfig('{"model_type": "gpt2", "n_layer": 2, "rope_scaling": null}');
  expect(readModelConfig(dir)).toEqual({ dir, modelType: "gpt2", raw: { model_type: "gpt2", n_layer: 2, rope_scaling: null } });
});

test("a syntax error says the line and the column", () => {
  expectCode(() => readModelConfig(withConfig('{\n  "a": 1,\n  b: 2\n}')), "config.malformed", "line 3, column 3");
  expectCode(() => readModelConfig(withConfig('{\n "a": ')), "config.malformed", "line 2, column 7");
});

test.each(["Infinity", "-Infinity", "NaN"])("%s, as Python writes it, is refused by its name", (constant) => {
  expectCode(
    () => readModelConfig(withConfig(`{"model_type": "gpt2", "rope_theta": ${constant}}`)),
    "config.malformed",
    `holds ${constant}`,
    "a finite number",
  );
});

test("what is not UTF-8, not an object, too long or not there is refused", () => {
  expectCode(() => readModelConfig(withConfig(Uint8Array.of(0x7b, 0xff, 0x7d))), "config.malformed", "not UTF-8");
  expectCode(() => readModelConfig(withConfig("[1]")), "config.malformed", "expected a JSON object");
  expectCode(() => readJson(join(withConfig("[1,2,3,4]"), "config.json"), { maxBytes: 8 }), "config.malformed", "9 bytes", "at most 8");
  expectCode(() => readModelConfig(temporaryFolder()), "file.notFound", "config.json");
});

test("accessors give the value, and say where, what was found and what was expected", () => {
  const raw = { n_layer: 2, zero: 0, eps: 1e-5, tie: true, act: "gelu_new", rope: { base: 1 }, factors: [1, 2], none: null };
  expect(positiveInteger(raw, "n_layer", "c")).toBe(2);
  expect(number(raw, "eps", "c")).toBe(1e-5);
  expect(boolean(raw, "tie", "c")).toBe(true);
  expect(string(raw, "act", "c")).toBe("gelu_new");
  expect(record(raw, "rope", "c")).toEqual({ base: 1 });
  expect(optionalNumbers(raw, "factors", "c")).toEqual([1, 2]);
  expect(optionalPositiveInteger(raw, "none", "c")).toBeUndefined();
  expect(optionalPositiveInteger(raw, "constructor", "c")).toBeUndefined();
  expectCode(() => positiveInteger(raw, "zero", "here"), "config.malformed", "here", '"zero" is 0', "whole number ≥ 1");
  expectCode(() => positiveInteger(raw, "n_layers", "here"), "config.malformed", "absent", "near names: n_layer");
  expectCode(() => number(raw, "none", "here"), "config.malformed", "null", "a number");
  expectCode(() => optionalNumbers(raw, "act", "here"), "config.malformed", '"gelu_new"', "list of numbers");
});

test("a name outside a closed set is unsupported, with near names", () => {
  expect(oneOf({ act: "silu" }, "act", "c", ["silu", "gelu"])).toBe("silu");
  expect(oneOf({}, "act", "c", ["silu", "gelu"], "gelu")).toBe("gelu");
  expectCode(() => oneOf({ act: "gelv" }, "act", "c", ["silu", "gelu"]), "config.unsupported", '"gelv"', "near names: gelu");
});
