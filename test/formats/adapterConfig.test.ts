import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseAdapterConfig, readAdapterConfig } from "../../server/formats/adapterConfig.ts";
import { expectCode } from "./expectCode.ts";
import { temporaryFolder } from "./temporaryFolder.ts";

const parse = (fields: object) => parseAdapterConfig({ peft_type: "LORA", target_modules: ["q"], ...fields }, "dir", "adapter_config.json");

test("fields are read under this project's names, with PEFT's defaults for what old files lack", () => {
  const dir = temporaryFolder();
  writeFileSync(
    join(dir, "adapter_config.json"),
    JSON.stringify({
      peft_type: "LORA",
      r: 4,
      lora_alpha: 1.5,
      use_rslora: true,
      rank_pattern: { b: 2, a: 3 },
      bias: "lora_only",
      layers_pattern: "h",
      layers_to_transform: 1,
      target_modules: ["q"],
      modules_to_save: ["head"],
      base_model_name_or_path: "gpt2",
      lora_dropout: 0.1,
    }),
  );
  const config = readAdapterConfig(dir);
  expect(config).toMatchObject({
    dir,
    r: 4,
    loraAlpha: 1.5,
    useRslora: true,
    useDora: false,
    bias: "lora_only",
    layersPattern: ["h"],
    layersToTransform: 1,
    targetModules: ["q"],
    excludeModules: [],
    modulesToSave: ["head"],
    baseModelNameOrPath: "gpt2",
    initLoraWeights: true,
    notes: [],
  });
  expect([...config.rankPattern]).toEqual([
    ["b", 2],
    ["a", 3],
  ]);
});

test("another method is refused with the methods that are known, whatever else its config holds", () => {
  expectCode(() => parse({ peft_type: "LOHA", r: "many" }), "adapter.unknownMethod", '"LOHA"', "near names: LORA");
  expect(parseAdapterConfig({ peft_type: "LOHA" }, "dir", "w", { LORA: [], LOHA: [] }).peftType).toBe("LOHA");
});

test.each([
  [
    "layer_replication",
    [
      [0, 4],
      [2, 5],
    ],
  ],
  ["target_parameters", ["experts.down_proj"]],
  ["use_qalora", true],
  ["use_bdlora", { nblocks: 2 }],
  ["arrow_config", { top_k: 2 }],
  ["alora_invocation_tokens", [5]],
  ["velora_config", { num_groups: 4 }],
  ["kasa_config", { beta: 1 }],
  ["monteclora_config", { num_samples: 2 }],
  ["megatron_config", { tp: 2 }],
  ["ensure_weight_tying", true],
  ["field_of_tomorrow", 1],
])("%s changes the forward pass and is refused by name, unless it is unset", (field, value) => {
  expectCode(() => parse({ [field]: value }), "adapter.unsupported", `"${field}"`, "adapter_config.json");
  for (const unset of [null, false, {}, []]) expect(parse({ [field]: unset }).r).toBe(8);
});

test("a start that changed the base by what neither base nor file holds is refused; one that the base gives is not, in any spelling", () => {
  for (const init of ["loftq", "corda", "CorDA", "lora_ga", "LoftQ"]) expectCode(() => parse({ init_lora_weights: init }), "adapter.unsupported", init);
  for (const init of ["pissa", "pissa_niter_16", "olora", "OLoRA", "eva", "gaussian", "orthogonal", true, false])
    expect(parse({ init_lora_weights: init }).r).toBe(8);
  expectCode(() => parse({ init_lora_weights: "pissa", use_dora: true }), "adapter.unsupported", "use_dora");
});

test("a description that PEFT does not know is told and not used; a setting is refused", () => {
  expect(parse({ unsloth_version: "2026.1" }).notes.join()).toContain("unsloth_version");
  expectCode(() => parse({ merge_weights: true }), "adapter.unsupported", "merge_weights");
  expectCode(() => parse({ some_version: 3 }), "adapter.unsupported", "some_version");
});

test("wrong types and combinations that PEFT refuses are malformed", () => {
  expectCode(() => parse({ r: 0 }), "adapter.malformed", "r");
  expectCode(() => parse({ bias: "some" }), "adapter.malformed", "bias");
  expectCode(() => parse({ rank_pattern: { a: "2" } }), "adapter.malformed", "rank_pattern");
  expectCode(() => parse({ target_modules: ".*q", layers_to_transform: [1] }), "adapter.malformed", "layers_to_transform");
  expectCode(() => parse({ layers_pattern: "h" }), "adapter.malformed", "layers_pattern");
  expectCode(() => parse({ lora_bias: true, use_dora: true }), "adapter.malformed", "lora_bias");
  expectCode(() => parseAdapterConfig(["LORA"], "dir", "w"), "adapter.malformed", "w");
});

test("the heads that PEFT saves unasked for a classification task are in modulesToSave", () => {
  expect(parse({ task_type: "SEQ_CLS", modules_to_save: ["score", "norm"] }).modulesToSave).toEqual(["score", "norm", "classifier"]);
});
