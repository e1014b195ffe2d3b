/** HF-format checkpoints with random weights at real sizes, made once under a given folder. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeSafetensors } from "../formats/safetensorsWriter.ts";
import type { ModelConfig } from "../models/family.ts";
import { modulePath } from "../models/modelSites.ts";
import { familyOf } from "../models/registry.ts";
import { sizeOf } from "../tensors/hostTensor.ts";

const checkpointConfigs = {
  "gpt2-124m": {
    model_type: "gpt2",
    architectures: ["GPT2LMHeadModel"],
    n_layer: 12,
    n_head: 12,
    n_embd: 768,
    n_positions: 1024,
    vocab_size: 50257,
    layer_norm_epsilon: 1e-5,
    activation_function: "gelu_new",
  },
  "gpt2-4-layers": {
    model_type: "gpt2",
    architectures: ["GPT2LMHeadModel"],
    n_layer: 4,
    n_head: 12,
    n_embd: 768,
    n_positions: 1024,
    vocab_size: 8192,
    layer_norm_epsilon: 1e-5,
    activation_function: "gelu_new",
  },
  "llama-small": {
    model_type: "llama",
    architectures: ["LlamaForCausalLM"],
    num_hidden_layers: 8,
    num_attention_heads: 8,
    num_key_value_heads: 2,
    hidden_size: 512,
    intermediate_size: 1408,
    vocab_size: 32000,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    hidden_act: "silu",
    tie_word_embeddings: false,
  },
  "llama-1b-bf16": {
    model_type: "llama",
    architectures: ["LlamaForCausalLM"],
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    hidden_size: 2048,
    intermediate_size: 8192,
    head_dim: 64,
    vocab_size: 128256,
    max_position_embeddings: 8192,
    rms_norm_eps: 1e-5,
    rope_theta: 500000,
    hidden_act: "silu",
    tie_word_embeddings: true,
    torch_dtype: "bfloat16",
  },
} as const;
export type CheckpointName = keyof typeof checkpointConfigs;

/** @returns the folder */
export function makeCheckpoint(root: string, name: CheckpointName): string {
  const dir = join(root, name);
  if (existsSync(join(dir, "model.safetensors"))) return dir;
  mkdirSync(dir, { recursive: true });
  const raw = checkpointConfigs[name];
  writeFileSync(join(dir, "config.json"), JSON.stringify(raw, null, 2));
  const family = familyOf(raw.model_type, name);
  const config: ModelConfig = family.parseConfig(raw, name);
  const dtype = name.endsWith("bf16") ? "BF16" : "F32";
  const seen = new Set<string>();
  const specs = family.plan(config).flatMap(({ params }) => params);
  const tensors = specs.flatMap((spec) => {
    const key = modulePath(family, spec.key);
    if (seen.has(key)) return [];
    seen.add(key);
    return [{ name: key, dtype, shape: spec.shape, data: lazily(spec.name, sizeOf(spec.shape), seen.size) } as const];
  });
  writeSafetensors(join(dir, "model.safetensors"), tensors, { format: "pt" });
  return dir;
}

const lazily = (name: string, size: number, seed: number) => () => randomWeights(name, size, seed);

/** Norm weights near 1, biases 0, matrices uniform with standard deviation 0.02. */
function randomWeights(name: string, size: number, seed: number): Float32Array {
  const values = new Float32Array(size);
  if (/(ln\w*|norm)\.w$/.test(name)) return values.fill(1);
  if (/\.b/.test(name)) return values;
  let state = seed * 2654435761;
  const width = 0.02 * Math.sqrt(12);
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    values[i] = (state / 2 ** 32 - 0.5) * width;
  }
  return values;
}
