/**
 * Files that nobody should have written: every reader answers with a result or with an error in words, soon and short. FUZZ_COUNT and FUZZ_SEED make
 * more, and others.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { ownFields } from "../../server/adapters/registry.ts";
import { WorkbenchError } from "../../server/errors.ts";
import { parseAdapterConfig } from "../../server/formats/adapterConfig.ts";
import { readHeader } from "../../server/formats/safetensors.ts";
import { matchesTarget, patternValue } from "../../server/formats/targetMatcher.ts";
import { openTokenizer } from "../../server/formats/tokenizer.ts";
import { randomStream, type RandomStream } from "../../server/linalg/random.ts";
import { familyOf } from "../../server/models/registry.ts";

const count = Number(process.env["FUZZ_COUNT"] ?? 2000);
const seed = Number(process.env["FUZZ_SEED"] ?? 1);
const longestMessage = 2048;
/** Of processor time, so that a busy machine does not count. */
const longestSeconds = 1;

const folder = mkdtempSync(join(tmpdir(), "deltascope-fuzz-"));
afterAll(() => rmSync(folder, { recursive: true }));

const oneOf = <T>(random: RandomStream, values: readonly T[]): T | undefined => values[Math.floor(random.uniform() * values.length)];

/** Values that break assumptions: of the wrong kind, huge, negative, deep, long, or named like what every object has. */
const odd = (random: RandomStream): unknown =>
  oneOf<() => unknown>(random, [
    () => null,
    () => -1,
    () => 0,
    () => 0.5,
    () => 2 ** 31,
    () => 1e300,
    () => Number.MAX_SAFE_INTEGER,
    () => true,
    () => "",
    () => "x".repeat(Math.floor(10 ** (6 * random.uniform()))),
    () => "\u0000\u001b[31m\ud800",
    () => [],
    () => [[[[1]]]],
    () => ({}),
    () => ({ constructor: 1, ["__proto__"]: { polluted: true } }),
    () => "((a+)+)+$",
    () => Array.from({ length: 1000 }, (_, i) => i),
  ])?.();

/** A copy in which one to three values, or their names, are others. */
function broken(value: unknown, random: RandomStream): unknown {
  const copy = structuredClone(value);
  for (let change = 0; change < 1 + Math.floor(3 * random.uniform()); change++) {
    let at: unknown = copy;
    for (let depth = 0; depth < 4; depth++) {
      if (typeof at !== "object" || at === null) break;
      const held = at as Record<string, unknown>;
      const key = oneOf(random, Object.keys(held));
      if (key === undefined) break;
      if (random.uniform() < 0.6 || typeof held[key] !== "object") {
        if (random.uniform() < 0.15) Reflect.deleteProperty(held, key);
        else if (random.uniform() < 0.2) held[oneOf(random, ["constructor", "x".repeat(3000), "a\u0000b", `${key}_`]) ?? "constructor"] = odd(random);
        else held[key] = odd(random);
        break;
      }
      at = held[key];
    }
  }
  return copy;
}

/** The text with a few bytes cut, doubled or turned. */
function damaged(text: string, random: RandomStream): string {
  const at = Math.floor(random.uniform() * text.length);
  return (
    oneOf(random, [
      text.slice(0, at),
      text.slice(0, at) + text.slice(at + 1),
      text.slice(0, at) + text.slice(at - 3),
      text.replace(/(\d+)/, "$1.0"),
      text.replace("{", '{"a":1,"a":1,'),
      "[".repeat(10_000) + text,
      `\ufeff${text}`,
      text,
    ]) ?? text
  );
}

const cases: Readonly<Record<string, { readonly value: unknown; readonly read: (text: string) => unknown }>> = {
  "safetensors headers": {
    value: {
      __metadata__: { format: "pt" },
      a: { dtype: "F32", shape: [2, 2], data_offsets: [0, 16] },
      b: { dtype: "BF16", shape: [4], data_offsets: [16, 24] },
    },
    read(text) {
      const header = Buffer.from(text);
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(header.length));
      const file = join(folder, "x.safetensors");
      writeFileSync(file, Buffer.concat([length, header, Buffer.alloc(24)]));
      return readHeader(file);
    },
  },
  "model configs": {
    value: {
      model_type: "llama",
      hidden_size: 8,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      num_hidden_layers: 2,
      intermediate_size: 16,
      vocab_size: 40,
      rms_norm_eps: 1e-6,
      hidden_act: "silu",
      rope_scaling: { rope_type: "yarn", factor: 2, original_max_position_embeddings: 8 },
      sliding_window: 4,
      layer_types: ["full_attention", "full_attention"],
    },
    read(text) {
      const raw = JSON.parse(text) as unknown;
      if (typeof raw !== "object" || raw === null) return null;
      const record = Object.fromEntries(Object.entries(raw));
      return familyOf(String(record["model_type"]), "config.json").parseConfig(record, "config.json");
    },
  },
  "adapter configs": {
    value: {
      peft_type: "LORA",
      r: 4,
      lora_alpha: 8,
      target_modules: ["q_proj", "v_proj"],
      rank_pattern: { q_proj: 2 },
      bias: "none",
      modules_to_save: ["lm_head"],
      init_lora_weights: true,
    },
    read(text) {
      const config = parseAdapterConfig(JSON.parse(text), folder, "adapter_config.json", ownFields);
      const path = `model.layers.1.${"a".repeat(40)}.q_proj`;
      return [matchesTarget(config, path, { isLinear: true, isOutputHead: false }), patternValue(config.rankPattern, path)];
    },
  },
  tokenizers: {
    value: {
      model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"] },
      added_tokens: [{ id: 3, content: "<s>", special: true }],
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false },
      decoder: { type: "ByteLevel" },
    },
    read(text) {
      writeFileSync(join(folder, "tokenizer.json"), text);
      return openTokenizer(folder).encode("ab ba").ids;
    },
  },
};

describe.each(Object.entries(cases))("%s", (name, { value, read }) => {
  test(`of ${count} kinds end in a result or in words`, () => {
    for (let i = 0; i < count; i++) {
      const random = randomStream(seed, name, i);
      let text = JSON.stringify(broken(value, random));
      if (name === "safetensors headers" || name === "tokenizers") if (random.uniform() < 0.4) text = damaged(text, random);
      const started = process.cpuUsage();
      try {
        read(text);
      } catch (error) {
        expect(error, `${seed}/${i}: ${text.slice(0, 300)}\n${error instanceof Error ? (error.stack ?? "") : ""}`).toBeInstanceOf(WorkbenchError);
        expect((error as Error).message.length, `${seed}/${i}: ${text.slice(0, 300)}`).toBeLessThan(longestMessage);
      }
      expect(process.cpuUsage(started).user / 1e6, `seconds of ${seed}/${i}: ${text.slice(0, 300)}`).toBeLessThan(longestSeconds);
      expect(Reflect.get({}, "polluted")).toBeUndefined();
    }
  });
});
