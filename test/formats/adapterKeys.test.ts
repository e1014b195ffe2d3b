import { expect, test } from "vitest";
import { parseAdapterConfig } from "../../server/formats/adapterConfig.ts";
import { parseAdapterKey, parseAdapterKeys } from "../../server/formats/adapterKeys.ts";
import { matchesTarget, patternValue } from "../../server/formats/targetMatcher.ts";
import { expectCode } from "./expectCode.ts";
import peftKeys from "./golden/peftKeys.json" with { type: "json" };

const entry = (name: string, shape: number[] = [1]) => ({
  name,
  shape,
  dtype: "F32" as const,
  file: "adapter_model.safetensors",
  begin: 0,
  end: 4,
  identity: "",
  id: "",
});
const all = { modulesToSave: ["classifier", "norm"], bias: "all" as const };

test.each([
  ["base_model.model.h.0.q.lora_A.weight", "loraA", "h.0.q", undefined, undefined],
  ["base_model.model.h.0.q.lora_B.default.weight", "loraB", "h.0.q", undefined, "default"],
  ["h.0.q.lora_A.weight", "loraA", "h.0.q", undefined, undefined],
  ["base_model.model.model.layers.1.q_proj.lora_B.bias", "loraBBias", "model.layers.1.q_proj", undefined, undefined],
  ["base_model.model.q.lora_B.my_adapter.bias", "loraBBias", "q", undefined, "my_adapter"],
  ["base_model.model.wte.lora_embedding_A", "embeddingA", "wte", undefined, undefined],
  ["base_model.model.wte.lora_embedding_B.default", "embeddingB", "wte", undefined, "default"],
  ["base_model.model.q.lora_magnitude_vector", "magnitude", "q", undefined, undefined],
  ["base_model.model.q.lora_magnitude_vector.weight", "magnitude", "q", undefined, undefined],
  ["base_model.model.q.lora_magnitude_vector.default", "magnitude", "q", undefined, "default"],
  ["base_model.model.q.lora_magnitude_vector.default.weight", "magnitude", "q", undefined, "default"],
  ["base_model.model.q.base_layer.bias", "bias", "q", "bias", undefined],
  ["base_model.model.ln_1.bias", "bias", "ln_1", "bias", undefined],
  ["base_model.model.wte.base_layer.weight", "saved", "wte", "weight", undefined],
  ["base_model.model.lm_head.weight", "saved", "lm_head", "weight", undefined],
  ["base_model.model.norm.weight", "saved", "norm", "weight", undefined],
  ["base_model.model.classifier.dense.bias", "saved", "classifier.dense", "bias", undefined],
  ["base_model.model.classifier.modules_to_save.default.dense.weight", "saved", "classifier.dense", "weight", "default"],
  ["base_model.model.norm.modules_to_save.default.weight", "saved", "norm", "weight", "default"],
])("%s is %s of %s", (name, role, modulePath, param, adapterName) => {
  const key = parseAdapterKey(entry(name), all);
  expect({ ...key, entry: undefined, isOwnCopy: undefined }).toEqual({
    role,
    modulePath,
    ...(param && { param }),
    ...(adapterName && { adapterName }),
    entry: undefined,
  });
});

test.each([
  "base_model.model.q.lora_E",
  "base_model.model.q.lora_diag.weight",
  "base_model.model.q.weight",
  "base_model.model.q.lora_A.bias",
  "q.original_module.weight",
  "lora_A.weight",
  "odd",
])("%s has no place and is refused by name", (name) => {
  expectCode(() => parseAdapterKey(entry(name), all), "adapter.unknownTensor", `"${name}"`);
});

test("a bias is only known when the config trains biases", () => {
  expectCode(() => parseAdapterKey(entry("base_model.model.q.bias"), { modulesToSave: [], bias: "none" }), "adapter.unknownTensor");
});

test("unknown names can be collected, and one place filled twice is an error", () => {
  const unknown: string[] = [];
  const keys = parseAdapterKeys([entry("q.lora_A.weight"), entry("odd")], all, ({ name }) => unknown.push(name));
  expect(keys).toHaveLength(1);
  expect(unknown).toEqual(["odd"]);
  expectCode(() => parseAdapterKeys([entry("q.lora_A.one.weight"), entry("q.lora_A.two.weight")], all), "adapter.malformed", "one adapter");
});

test.each(peftKeys.map((row) => [row.title, row] as const))("every tensor that PEFT saves has a place, on the modules that PEFT adapted: %s", (_, row) => {
  const config = parseAdapterConfig(row.config, "dir", "adapter_config.json");
  const keys = parseAdapterKeys(
    Object.entries(row.tensors).map(([name, shape]) => entry(name, shape)),
    config,
  );
  const adapted = new Set(keys.filter(({ role }) => role === "loraA" || role === "embeddingA").map(({ modulePath }) => modulePath));
  expect([...adapted].toSorted()).toEqual(row.adapted);
  const isOutputHead = (path: string) => path === "lm_head" || path === "score";
  const targeted = row.linear.filter((path) => matchesTarget(config, path, { isLinear: true, isOutputHead: isOutputHead(path) }));
  expect(targeted.toSorted()).toEqual(row.adapted.filter((path) => path !== "transformer.wte"));
  for (const {
    role,
    modulePath,
    entry: { shape },
  } of keys) {
    if (role === "loraA") expect(shape[0]).toBe(patternValue(config.rankPattern, modulePath) ?? config.r);
  }
});
