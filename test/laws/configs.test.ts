/** What config.json says key by key, absent, null and zero among the values, against transformers' config classes. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { WorkbenchError } from "../../server/errors.ts";
import type { ModelConfig } from "../../server/models/family.ts";
import { familyOf } from "../../server/models/registry.ts";
import { inverseFrequencies } from "../../server/models/rope.ts";

type Json = Readonly<Record<string, unknown>>;
interface Line {
  readonly family: string;
  readonly base?: Json;
  readonly values?: Json;
  readonly change?: Json;
  readonly moved?: Json;
}
const file = fileURLToPath(new URL("../../fixtures/reference/configs/configs.json", import.meta.url));
const lines = JSON.parse(readFileSync(file, "utf8")) as readonly Line[];
const parse = (raw: Json): ModelConfig => familyOf(String(raw["model_type"]), "config.json").parseConfig(raw, "config.json");

const divides = (part: unknown, whole: unknown): boolean => Number(whole) % Number(part) === 0;

/** Refused here although the class takes them: no such model can be computed. */
const isNoModel = (values: Json): boolean =>
  Object.entries(values).some(
    ([key, value]) => (value === 0 && key !== "normEps") || (key === "positions" && value === null) || (key === "activation" && value === ""),
  ) ||
  !divides(values["nHeads"], values["dModel"]) ||
  !divides(values["nKvHeads"], values["nHeads"]) ||
  (Array.isArray(values["slidingWindow"]) && values["slidingWindow"].includes(0));
/** Taken here although the class refuses it: the checkpoint's own shapes say the same. */
const isSettledByShapes = (change: Json): boolean =>
  ["num_key_value_heads", "head_dim"].some((key) => change[key] === null) ||
  ["attention_dropout", "use_cache", "initializer_range", "reorder_and_upcast_attn", "layer_types"].some((key) => change[key] === null);

function ours(config: ModelConfig): Json {
  const { dModel, nHeads, nKvHeads, nLayers, dHead, dMlp, dVocab, normEps, activation, tiedHead, attnScale, slidingWindow, bias, rope } = config;
  const at = (length: number) => {
    if (!rope) return null;
    const { frequencies, attentionFactor } = inverseFrequencies(rope, length);
    return [[...frequencies], attentionFactor];
  };
  return {
    ...{ dModel, nHeads, nKvHeads, nLayers, dHead, dMlp, dVocab, normEps, activation, tiedHead, attnScale, slidingWindow },
    ...{ positions: rope ? rope.maxPositions : config.nCtx, qkvBias: bias.qkv, oBias: bias.o, mlpBias: bias.mlp },
    ...(rope ? { rope: [at(8), at(80)] } : {}),
  };
}

/** Numbers in the reference are float32 and rounded. */
function matches(found: unknown, expected: unknown): boolean {
  if (typeof found === "number" && typeof expected === "number") return Math.abs(found - expected) <= 1e-6 * Math.abs(expected) + 2e-9;
  if (Array.isArray(found) && Array.isArray(expected)) return found.length === expected.length && found.every((value, i) => matches(value, expected[i]));
  return found === expected;
}

/** What differs from the reference, in words; null when nothing does. */
function difference(raw: Json, expected: Json, change: Json): string | null {
  let config: ModelConfig;
  try {
    config = parse(raw);
  } catch (error) {
    if (!(error instanceof WorkbenchError)) return `threw ${String(error)}`;
    return "error" in expected || isNoModel(expected) ? null : `refused: ${error.message}`;
  }
  if ("error" in expected) return isSettledByShapes(change) ? null : `taken, where transformers says ${String(expected["error"])}`;
  const found = ours(config);
  const wrong = Object.entries(expected).filter(([key, value]) => !matches(found[key], value));
  return wrong.length === 0 ? null : wrong.map(([key, value]) => `${key} is ${JSON.stringify(found[key])}; expected ${JSON.stringify(value)}`).join("; ");
}

describe.each(lines.filter(({ base }) => base !== undefined))("$family", ({ family, base = {}, values = {} }) => {
  it("is read as its class reads it, whichever key is absent, null, zero or set", () => {
    const changes = lines.filter((line) => line.family === family && line.change !== undefined);
    expect(changes.length).toBeGreaterThan(50);
    expect(difference(base, values, {})).toBeNull();
    const wrong = changes.flatMap(({ change = {}, moved = {} }) => {
      const raw = Object.fromEntries(Object.entries({ ...base, ...change }).filter(([, value]) => value !== "<absent>"));
      const said = difference(raw, "error" in moved ? moved : { ...values, ...moved }, change);
      return said === null ? [] : [`${JSON.stringify(change)}: ${said}`];
    });
    expect(wrong).toEqual([]);
  });

  it.each([
    [{ is_causal: false }, /is_causal is false/],
    [{ is_causal: null }, /is_causal is null/],
    [{ vocab_size: 1e400 }, /vocab_size/],
    [{ vocab_size: 2.5 }, /vocab_size/],
    [{ [family === "gpt2" ? "n_layer" : "num_hidden_layers"]: 2 ** 31 }, /whole number from 1 to 4096/],
    [{ [family === "gpt2" ? "layer_norm_epsilon" : "rms_norm_eps"]: Infinity }, /a positive number/],
  ])("refuses %j by name", (change, words) => {
    expect(() => parse({ ...base, ...change })).toThrow(words);
  });

  it.skipIf(family === "gpt2").each([
    [{ head_dim: 2e9 }, /head_dim is 2000000000/],
    [{ rope_theta: Infinity }, /rope_theta/],
    [{ rope_scaling: { rope_type: "linear", factor: 0 } }, /"factor" is 0/],
    [{ rope_scaling: { rope_type: "dynamic", factor: -1 } }, /"factor" is -1/],
    [{ rope_scaling: { rope_type: "yarn", factor: Infinity, original_max_position_embeddings: 16 } }, /"factor"/],
    [{ rope_scaling: { rope_type: "longrope", long_factor: [1, 2, 3, 4] } }, /short_factor/],
  ])("refuses %j by name", (change, words) => {
    expect(() => parse({ ...base, ...change })).toThrow(words);
  });
});
