/** Keys of config.json that nothing here reads: those that mean nothing to the forward pass pass, all others are named. */
import { WorkbenchError } from "../errors.ts";
import { namedShort, quoted } from "../quoted.ts";
import type { RawConfig } from "./configFields.ts";

const rotary = [
  ...["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act"],
  ...["max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "rope_theta", "rope_scaling", "rope_parameters", "original_max_position_embeddings"],
  "is_causal",
];
const qwenWindow = ["sliding_window", "use_sliding_window", "max_window_layers", "layer_types"];

/** What the forward pass of each `model_type` depends on. */
const readKeys: Readonly<Record<string, readonly string[]>> = {
  gpt2: [
    ...["vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner", "activation_function", "layer_norm_epsilon", "tie_word_embeddings"],
    ...["scale_attn_weights", "scale_attn_by_inverse_layer_idx", "add_cross_attention", "is_causal"],
    ...["hidden_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers"],
  ],
  llama: [...rotary, "attention_bias", "mlp_bias"],
  mistral: [...rotary, "sliding_window"],
  qwen2: [...rotary, ...qwenWindow],
  qwen3: [...rotary, ...qwenWindow, "attention_bias"],
};

/** Names, training, generation, other heads, and how a library computes: nothing of the forward pass in float32. */
const inertKeys = new Set([
  ...["_name_or_path", "name_or_path", "_commit_hash", "architectures", "model_type", "transformers_version", "unsloth_version", "unsloth_fixed"],
  ...["dtype", "torch_dtype", "use_bfloat16", "torchscript", "tf_legacy_loss", "pretraining_tp", "chunk_size_feed_forward", "gradient_checkpointing"],
  ...[
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_flash_attn_2_enabled",
    "use_flash_attention",
    "use_cache",
    "return_dict",
  ],
  ...["output_attentions", "output_hidden_states", "output_scores", "return_dict_in_generate", "is_encoder_decoder", "is_decoder", "tie_encoder_decoder"],
  ...["id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "classifier_dropout", "pruned_heads", "task_specific_params", "prefix"],
  ...["initializer_range", "attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "reorder_and_upcast_attn"],
  ...["summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout", "summary_last_dropout"],
  ...["bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "cls_token_id", "decoder_start_token_id", "tokenizer_class"],
  ...[
    "max_length",
    "min_length",
    "do_sample",
    "early_stopping",
    "num_beams",
    "num_beam_groups",
    "diversity_penalty",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
  ],
  ...[
    "repetition_penalty",
    "length_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "bad_words_ids",
    "num_return_sequences",
    "max_new_tokens",
  ],
  ...["forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens"],
]);

const isSet = (value: unknown): boolean => value !== null && value !== false && !(typeof value === "object" && Object.keys(value).length === 0);

/**
 * One note for the settings of a config that are left aside, as transformers leaves them aside in this `model_type`; one for code that it brings along.
 * @throws "config.unsupported" on settings for single layers
 */
export function configNotes(raw: RawConfig, modelType: string, where: string): string[] {
  const read = readKeys[modelType];
  if (!read) return [];
  if (isSet(raw["per_layer_config"] ?? null))
    throw new WorkbenchError("config.unsupported", `${where}: per_layer_config is ${quoted(raw["per_layer_config"])}; expected one config for all layers`);
  // GPT-2 of old wrote its length twice; unscaled rope turns whole heads, whatever share it is asked for.
  const isDefault = (key: string): boolean =>
    (key === "n_ctx" && raw[key] === (raw["n_positions"] ?? 1024)) || (key === "partial_rotary_factor" && raw[key] === 1);
  const left = Object.keys(raw).filter((key) => !read.includes(key) && !inertKeys.has(key) && key !== "auto_map" && isSet(raw[key]) && !isDefault(key));
  const settings = [...left.map((key): [string, unknown] => [key, raw[key]]), ...partialRotation(raw)];
  const shown = settings.slice(0, 12).map(([key, value]) => `${namedShort(key)} = ${quoted(value)}`);
  const more = settings.length > shown.length ? ` and ${settings.length - shown.length} more` : "";
  return [
    ...(settings.length === 0 ? [] : [`${where}: not used, as a ${modelType} has no such setting: ${shown.join(", ")}${more}`]),
    ...(isSet(raw["auto_map"] ?? null)
      ? [`${where}: auto_map names code that comes with the model; it is never run, these are the numbers of a plain ${modelType}`]
      : []),
  ];
}

/** Inside the rope settings, where unscaled rope leaves it aside. */
function partialRotation(raw: RawConfig): [string, unknown][] {
  return ["rope_scaling", "rope_parameters"].flatMap((key): [string, unknown][] => {
    const settings = raw[key];
    if (typeof settings !== "object" || settings === null || !("partial_rotary_factor" in settings)) return [];
    const share: unknown = settings.partial_rotary_factor;
    return share === 1 || !isSet(share) ? [] : [[`${key}.partial_rotary_factor`, share]];
  });
}
