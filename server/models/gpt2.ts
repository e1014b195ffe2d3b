/** GPT-2: learned positions, LayerNorm, fused qkv stored transposed (Conv1D), tied head. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import { WorkbenchError } from "../errors.ts";
import type { Tensors } from "../tensors/engine.ts";
import { activationFunctions } from "./activations.ts";
import { ConfigFields, mostLayers } from "./configFields.ts";
import type { Family, Frame, ModelConfig, ParamSpec, SiteSpec } from "./family.ts";
import { attention, attentionScales, blockHooks, headSite, layerNorm, positionIds, present, splitHeads, unembedHooks } from "./layers.ts";
import { decoderPlan, type SegmentBody } from "./plan.ts";

export const gpt2: Family = {
  name: "GPT-2",
  modelTypes: ["gpt2"],
  prefixes: ["transformer.", ""],
  ignoredKeys: [/^h\.\d+\.attn\.(bias|masked_bias)$/],

  parseConfig(raw, where) {
    const fields = new ConfigFields(raw, where);
    fields.mustBe("add_cross_attention", false);
    fields.mustBe("is_causal", true);
    // transformers' own names, aliases there, win over GPT-2's.
    const dModel = fields.count(["hidden_size", "n_embd"], 768);
    const nHeads = fields.count(["num_attention_heads", "n_head"], 12);
    const nLayers = fields.count(["num_hidden_layers", "n_layer"], 12, { most: mostLayers });
    if (dModel % nHeads !== 0) throw new WorkbenchError("config.malformed", `${where}: n_embd ${dModel} is not a multiple of n_head ${nHeads}`);
    const dHead = dModel / nHeads;
    return {
      modelType: "gpt2",
      nLayers,
      nHeads,
      nKvHeads: nHeads,
      dModel,
      dHead,
      dMlp: fields.count("n_inner", 4 * dModel, { whenNull: 4 * dModel }),
      dVocab: fields.count("vocab_size", 50_257),
      nCtx: fields.count(["max_position_embeddings", "n_positions"], 1024),
      normEps: fields.positive("layer_norm_epsilon", 1e-5),
      activation: fields.activation("activation_function", "gelu_new"),
      tiedHead: fields.flag("tie_word_embeddings", true),
      attnScale: attentionScales(nLayers, dHead, {
        scaled: fields.flag("scale_attn_weights", true),
        byInverseLayer: fields.flag("scale_attn_by_inverse_layer_idx", false),
      }),
      slidingWindow: Array.from({ length: nLayers }, () => null),
      rope: null,
      bias: { qkv: true, o: true, mlp: true },
      qkNorm: false,
    } satisfies ModelConfig;
  },

  plan: (config) =>
    decoderPlan(
      config.nLayers,
      { embed: ["positionIds"], block: [] },
      {
        embed: { ...embedParts(config), run: embed },
        block: (layer) => ({ ...blockParts(config, layer), run: block, resumes: true }),
        unembed: unembedPart(config),
      },
    ),

  tables: (_config, { positions }) => ({ positionIds: positionIds(positions["decoder"] ?? 0) }),
};

function embedParts({ dModel: d, dVocab, nCtx }: ModelConfig): Omit<SegmentBody, "run"> {
  return {
    params: [
      { name: "W_E", key: "wte.weight", shape: [dVocab, d] },
      { name: "W_pos", key: "wpe.weight", shape: [nCtx, d] },
    ],
    sites: [{ name: "embed", kind: "embedding", dIn: dVocab, dOut: d, weight: "W_E", bias: null, stored: "inOut", modulePath: "wte" }],
    hooks: [
      { name: "hook_embed", axes: ["batch", "pos", "dModel"] },
      { name: "hook_pos_embed", axes: ["batch", "pos", "dModel"] },
    ],
  };
}

function blockParts({ dModel: d, dMlp }: ModelConfig, layer: number): Omit<SegmentBody, "run"> {
  const at = (name: string, key: string, shape: number[]): ParamSpec => ({ name, key: `h.${layer}.${key}`, shape });
  const conv = (part: "attn" | "mlp", name: string, letter: string, dIn: number, dOut: number, path: string): SiteSpec => ({
    name: `${part}.${name}`,
    kind: "linear",
    dIn,
    dOut,
    weight: `${part}.W_${letter}`,
    bias: `${part}.b_${letter}`,
    stored: "inOut",
    modulePath: `h.${layer}.${path}`,
  });
  return {
    params: [
      at("ln1.w", "ln_1.weight", [d]),
      at("ln1.b", "ln_1.bias", [d]),
      at("attn.W_qkv", "attn.c_attn.weight", [d, 3 * d]),
      at("attn.b_qkv", "attn.c_attn.bias", [3 * d]),
      at("attn.W_O", "attn.c_proj.weight", [d, d]),
      at("attn.b_O", "attn.c_proj.bias", [d]),
      at("ln2.w", "ln_2.weight", [d]),
      at("ln2.b", "ln_2.bias", [d]),
      at("mlp.W_in", "mlp.c_fc.weight", [d, dMlp]),
      at("mlp.b_in", "mlp.c_fc.bias", [dMlp]),
      at("mlp.W_out", "mlp.c_proj.weight", [dMlp, d]),
      at("mlp.b_out", "mlp.c_proj.bias", [d]),
    ],
    sites: [
      conv("attn", "qkv", "qkv", d, 3 * d, "attn.c_attn"),
      conv("attn", "o", "O", d, d, "attn.c_proj"),
      conv("mlp", "in", "in", d, dMlp, "mlp.c_fc"),
      conv("mlp", "out", "out", dMlp, d, "mlp.c_proj"),
    ],
    hooks: blockHooks,
  };
}

function unembedPart({ dModel: d, dVocab, tiedHead }: ModelConfig): SegmentBody {
  return {
    params: [
      { name: "ln_final.w", key: "ln_f.weight", shape: [d] },
      { name: "ln_final.b", key: "ln_f.bias", shape: [d] },
      { name: "W_U", key: tiedHead ? "wte.weight" : "/lm_head.weight", shape: [dVocab, d] },
    ],
    sites: [headSite(d, dVocab)],
    hooks: unembedHooks,
    run: unembed,
  };
}

function embed(frame: Frame, { tokens, positionIds }: Tensors): Tensor {
  const embedded = frame.hook("hook_embed", frame.lookup("embed", present(tokens)));
  return tf.add(embedded, frame.hook("hook_pos_embed", frame.table("W_pos", present(positionIds))));
}

function block(frame: Frame, { resid }: Tensors): Tensor {
  const { nHeads, activation } = frame.config;
  const residPre = frame.hook("hook_resid_pre", present(resid));
  const [q, k, v] = tf.split(frame.linear("attn.qkv", layerNorm(frame, "ln1", residPre)), 3, 2);
  const head = (name: string, x: Tensor | undefined) => frame.hook(`attn.hook_${name}`, splitHeads(frame, present(x), nHeads));
  const z = attention(frame, head("q", q), head("k", k), head("v", v));
  const attnOut = frame.hook("hook_attn_out", frame.linear("attn.o", z));
  const residMid = frame.hook("hook_resid_mid", tf.add(frame.asked(residPre), attnOut));
  const pre = frame.hook("mlp.hook_pre", frame.linear("mlp.in", layerNorm(frame, "ln2", residMid)));
  const post = frame.hook("mlp.hook_post", activationFunctions[activation](pre));
  const mlpOut = frame.hook("hook_mlp_out", frame.linear("mlp.out", post));
  return frame.hook("hook_resid_post", tf.add(residMid, mlpOut));
}

const unembed = (frame: Frame, { resid }: Tensors): Tensor => frame.linear("unembed", layerNorm(frame, "ln_final", present(resid)));
