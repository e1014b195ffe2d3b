/** GPT-2: learned positions, LayerNorm, fused qkv stored transposed (Conv1D), tied head. */
import * as tf from "@tensorflow/tfjs-core";
import { ConfigFields, mostLayers } from "./configFields.ts";
import type { Family, ModelConfig, ParamSpec, SiteSpec } from "./family.ts";
import { activationFunctions, attention, attentionScales, blockHooks, layerNorm, splitHeads, unembedHooks } from "./layers.ts";
import { WorkbenchError } from "../errors.ts";

export const gpt2: Family = {
  name: "GPT-2",
  modelTypes: ["gpt2"],
  prefixes: ["transformer.", ""],
  ignoredKeys: [/^h\.\d+\.attn\.(bias|masked_bias)$/],

  parseConfig(raw, where) {
    const fields = new ConfigFields(raw, where);
    fields.mustBe("add_cross_attention", false);
    fields.mustBe("is_causal", true);
    const dModel = fields.count(["n_embd", "hidden_size"], 768);
    const nHeads = fields.count(["n_head", "num_attention_heads"], 12);
    const nLayers = fields.count(["n_layer", "num_hidden_layers"], 12, { most: mostLayers });
    if (dModel % nHeads !== 0) throw new WorkbenchError("config.malformed", `${where}: n_embd ${dModel} is not a multiple of n_head ${nHeads}`);
    const dHead = dModel / nHeads;
    return {
      modelType: "gpt2",
      nLayers,
      nHeads,
      nKvHeads: nHeads,
      dModel,
      dHead,
      dMlp: fields.count("n_inner", 4 * dModel),
      dVocab: fields.count("vocab_size", 50_257),
      nCtx: fields.count(["n_positions", "max_position_embeddings", "n_ctx"], 1024),
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

  params(config, stage, layer) {
    const { dModel: d, dMlp, dVocab, nCtx } = config;
    switch (stage) {
      case "embed":
        return [
          { name: "W_E", key: "wte.weight", shape: [dVocab, d] },
          { name: "W_pos", key: "wpe.weight", shape: [nCtx, d] },
        ];
      case "block": {
        const at = (name: string, key: string, shape: number[]): ParamSpec => ({ name, key: `h.${layer}.${key}`, shape });
        return [
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
        ];
      }
      case "unembed":
        return [
          { name: "ln_final.w", key: "ln_f.weight", shape: [d] },
          { name: "ln_final.b", key: "ln_f.bias", shape: [d] },
          { name: "W_U", key: config.tiedHead ? "wte.weight" : "/lm_head.weight", shape: [dVocab, d] },
        ];
    }
  },

  sites(config, stage, layer) {
    const { dModel: d, dMlp, dVocab } = config;
    const conv = (name: string, letter: string, dIn: number, dOut: number, path: string): SiteSpec => {
      const part = name.split(".")[0]!;
      return { name, dIn, dOut, weight: `${part}.W_${letter}`, bias: `${part}.b_${letter}`, stored: "inOut", modulePath: `h.${layer}.${path}` };
    };
    switch (stage) {
      case "embed":
        return [{ name: "embed", dIn: dVocab, dOut: d, weight: "W_E", bias: null, stored: "inOut", modulePath: "wte" }];
      case "block":
        return [
          conv("attn.qkv", "qkv", d, 3 * d, "attn.c_attn"),
          conv("attn.o", "O", d, d, "attn.c_proj"),
          conv("mlp.in", "in", d, dMlp, "mlp.c_fc"),
          conv("mlp.out", "out", dMlp, d, "mlp.c_proj"),
        ];
      case "unembed":
        return [{ name: "unembed", dIn: d, dOut: dVocab, weight: "W_U", bias: null, stored: "outIn", modulePath: "/lm_head" }];
    }
  },

  hooks(_config, stage) {
    switch (stage) {
      case "embed":
        return [
          { name: "hook_embed", axes: ["batch", "pos", "dModel"] },
          { name: "hook_pos_embed", axes: ["batch", "pos", "dModel"] },
        ];
      case "block":
        return blockHooks;
      case "unembed":
        return unembedHooks;
    }
  },

  embed(frame, tokens, positionIds) {
    const embed = frame.hook("hook_embed", frame.lookup("embed", tokens));
    const position = tf.gather(frame.param("W_pos"), positionIds);
    const posEmbed = frame.hook("hook_pos_embed", tf.tile(tf.expandDims(position, 0), [frame.batch, 1, 1]));
    return tf.add(embed, posEmbed);
  },

  block(frame, residIn) {
    const { nHeads, activation } = frame.config;
    const residPre = frame.hook("hook_resid_pre", residIn);
    const [q, k, v] = tf.split(frame.linear("attn.qkv", layerNorm(frame, "ln1", residPre)), 3, 2);
    const head = (name: string, x: tf.Tensor) => frame.hook(`attn.hook_${name}`, splitHeads(frame, x, nHeads));
    const z = attention(frame, head("q", q!), head("k", k!), head("v", v!));
    const attnOut = frame.hook("hook_attn_out", frame.linear("attn.o", z));
    const residMid = frame.hook("hook_resid_mid", tf.add(residPre, attnOut));
    const pre = frame.hook("mlp.hook_pre", frame.linear("mlp.in", layerNorm(frame, "ln2", residMid)));
    const post = frame.hook("mlp.hook_post", activationFunctions[activation](pre));
    const mlpOut = frame.hook("hook_mlp_out", frame.linear("mlp.out", post));
    return frame.hook("hook_resid_post", tf.add(residMid, mlpOut));
  },

  unembed(frame, resid) {
    return frame.linear("unembed", layerNorm(frame, "ln_final", resid));
  },
};
