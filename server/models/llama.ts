/** Llama and its relatives (Mistral, Qwen2, Qwen3): RMSNorm, rotary positions, grouped key-value heads, gated MLP. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import { WorkbenchError } from "../errors.ts";
import { activationFunctions } from "./activations.ts";
import { quoted } from "../quoted.ts";
import type { Tensors } from "../tensors/engine.ts";
import { ConfigFields, mostLayers } from "./configFields.ts";
import type { Family, Frame, HookSpec, ModelConfig, ParamSpec, SiteSpec } from "./family.ts";
import { attention, attentionScales, blockHooks, headSite, present, rms, rmsNorm, rotate, splitHeads, unembedHooks } from "./layers.ts";
import { decoderPlan, type SegmentBody } from "./plan.ts";
import { parseRope, rotaryStreams } from "./rope.ts";

/** Where the relatives differ, as far as the forward pass can tell. */
const relatives = {
  llama: {
    name: "Llama",
    qkNorm: false,
    qkvBias: (f: ConfigFields) => f.flag("attention_bias", false),
    oBias: (f: ConfigFields) => f.flag("attention_bias", false),
  },
  mistral: { name: "Mistral", qkNorm: false, qkvBias: () => false, oBias: () => false },
  qwen2: { name: "Qwen2", qkNorm: false, qkvBias: () => true, oBias: () => false },
  qwen3: {
    name: "Qwen3",
    qkNorm: true,
    qkvBias: (f: ConfigFields) => f.flag("attention_bias", false),
    oBias: (f: ConfigFields) => f.flag("attention_bias", false),
  },
} as const;
type Relative = keyof typeof relatives;

function family(modelType: Relative): Family {
  const relative = relatives[modelType];
  return {
    name: relative.name,
    modelTypes: [modelType],
    prefixes: ["model.", ""],
    ignoredKeys: [/rotary_emb\.inv_freq$/],
    parseConfig: (raw, where) => parseConfig(modelType, raw, where),
    plan: (config) =>
      decoderPlan(
        config.nLayers,
        { embed: [], block: ["cos", "sin"] },
        { embed: embedPart(config), block: (layer) => blockPart(config, layer), unembed: unembedPart(config) },
      ),
    tables: ({ rope }, { positions, lengths }) => (rope ? rotaryStreams(rope, positions["decoder"] ?? 0, lengths) : {}),
  };
}

/** What the config classes of transformers give where a key is absent. */
const defaults = {
  llama: { vocab: 32_000, mlp: 11_008, kvHeads: null, positions: 2048, window: null },
  mistral: { vocab: 32_000, mlp: 14_336, kvHeads: 8, positions: 131_072, window: 4096 },
  qwen2: { vocab: 151_936, mlp: 22_016, kvHeads: 32, positions: 32_768, window: 4096 },
  qwen3: { vocab: 151_936, mlp: 22_016, kvHeads: 32, positions: 32_768, window: 4096 },
} as const;

function parseConfig(modelType: Relative, raw: Readonly<Record<string, unknown>>, where: string): ModelConfig {
  const fields = new ConfigFields(raw, where);
  const relative = relatives[modelType];
  const absent = defaults[modelType];
  fields.mustBe("is_causal", true);
  const dModel = fields.count("hidden_size", 4096);
  const nHeads = fields.count("num_attention_heads", 32);
  // Null asks for one key-value head a head; absent is the class's own number.
  const nKvHeads = fields.count("num_key_value_heads", absent.kvHeads ?? nHeads, { whenNull: nHeads });
  const nLayers = fields.count("num_hidden_layers", 32, { most: mostLayers });
  if (nHeads % nKvHeads !== 0)
    throw new WorkbenchError("config.malformed", `${where}: num_attention_heads ${nHeads} is not a multiple of num_key_value_heads ${nKvHeads}`);
  const ownHead = Math.floor(dModel / nHeads);
  const dHead = fields.count("head_dim", modelType === "qwen3" ? 128 : ownHead, { most: 65_536, whenNull: ownHead });
  if (dHead % 2 !== 0) throw new WorkbenchError("config.malformed", `${where}: head_dim is ${dHead}; rotary positions need an even number`);
  const maxPositions = fields.count("max_position_embeddings", absent.positions);
  const rope = parseRope(raw, dHead, maxPositions, where);
  return {
    modelType,
    nLayers,
    nHeads,
    nKvHeads,
    dModel,
    dHead,
    dMlp: fields.count("intermediate_size", absent.mlp),
    dVocab: fields.count("vocab_size", absent.vocab),
    // Dynamic rope is made to run past the trained length, up to its factor.
    nCtx: rope.type === "dynamic" ? Math.floor(maxPositions * Number(rope.scaling["factor"])) : maxPositions,
    normEps: fields.positive("rms_norm_eps", 1e-6),
    activation: fields.activation("hidden_act", "silu"),
    tiedHead: fields.flag("tie_word_embeddings", false),
    attnScale: attentionScales(nLayers, dHead),
    slidingWindow: slidingWindows(modelType, fields, nLayers),
    rope,
    bias: { qkv: relative.qkvBias(fields), o: relative.oBias(fields), mlp: modelType === "llama" && fields.flag("mlp_bias", false) },
    qkNorm: relative.qkNorm,
  };
}

/** Mistral: every layer unless `sliding_window` is null. Qwen: only with `use_sliding_window`, from `max_window_layers` up, or as `layer_types` says. */
function slidingWindows(modelType: Relative, fields: ConfigFields, nLayers: number): (number | null)[] {
  const types = layerTypes(fields, nLayers);
  const absent = defaults[modelType].window;
  const everywhere = (window: number | null) => Array.from({ length: nLayers }, () => window);
  if (absent === null) return everywhere(null);
  if (modelType === "mistral" && types !== null)
    throw new WorkbenchError(
      "config.unsupported",
      `${fields.where}: layer_types on a mistral; transformers reads such a model as a Ministral, which is not supported; expected no layer_types`,
    );
  const isUsed = modelType === "mistral" || fields.flag("use_sliding_window", false);
  const from = modelType === "mistral" ? 0 : fields.count("max_window_layers", 28, { least: 0 });
  if (!isUsed || fields.value("sliding_window") === null) return everywhere(null);
  const window = fields.count("sliding_window", absent);
  return everywhere(window).map((_, layer) => ((types === null ? layer >= from : types[layer] === "sliding_attention") ? window : null));
}

function layerTypes(fields: ConfigFields, nLayers: number): readonly string[] | null {
  const types = fields.value("layer_types") ?? null;
  if (types === null) return null;
  const known = ["full_attention", "sliding_attention"];
  if (!Array.isArray(types) || types.length !== nLayers || !types.every((type): type is string => known.includes(String(type))))
    throw new WorkbenchError("config.unsupported", `${fields.where}: layer_types is ${quoted(types)}; expected ${nLayers} of ${known.join(", ")}`);
  return types;
}

function embedPart({ dModel: d, dVocab }: ModelConfig): SegmentBody {
  return {
    params: [{ name: "W_E", key: "embed_tokens.weight", shape: [dVocab, d] }],
    sites: [{ name: "embed", kind: "embedding", dIn: dVocab, dOut: d, weight: "W_E", bias: null, stored: "inOut", modulePath: "embed_tokens" }],
    hooks: [{ name: "hook_embed", axes: ["batch", "pos", "dModel"] }],
    run: embed,
  };
}

function blockPart(config: ModelConfig, layer: number): SegmentBody {
  const { dModel: d, dHead, qkNorm } = config;
  const at = (name: string, key: string, shape: number[]): ParamSpec => ({ name, key: `layers.${layer}.${key}`, shape });
  const sites = blockSites(config, layer);
  const matrices = sites.flatMap((site) => {
    const weight: ParamSpec = { name: site.weight, key: `${site.modulePath}.weight`, shape: [site.dOut, site.dIn] };
    return site.bias === null ? [weight] : [weight, { name: site.bias, key: `${site.modulePath}.bias`, shape: [site.dOut] }];
  });
  const norms = [at("ln1.w", "input_layernorm.weight", [d]), at("ln2.w", "post_attention_layernorm.weight", [d])];
  const qkNorms = qkNorm ? [at("attn.q_norm.w", "self_attn.q_norm.weight", [dHead]), at("attn.k_norm.w", "self_attn.k_norm.weight", [dHead])] : [];
  return { params: [...norms, ...matrices, ...qkNorms], sites, hooks: [...blockHooks, ...llamaHooks(config)], run: block, resumes: true };
}

function unembedPart({ dModel: d, dVocab, tiedHead }: ModelConfig): SegmentBody {
  return {
    params: [
      { name: "ln_final.w", key: "norm.weight", shape: [d] },
      { name: "W_U", key: tiedHead ? "embed_tokens.weight" : "/lm_head.weight", shape: [dVocab, d] },
    ],
    sites: [headSite(d, dVocab)],
    hooks: unembedHooks,
    run: unembed,
  };
}

function blockSites(config: ModelConfig, layer: number): SiteSpec[] {
  const { dModel: d, dMlp, nHeads, nKvHeads, dHead, bias } = config;
  const site = (name: string, letter: string, dIn: number, dOut: number, hasBias: boolean, path: string): SiteSpec => {
    const part = name.slice(0, name.indexOf("."));
    return {
      name,
      kind: "linear",
      dIn,
      dOut,
      weight: `${part}.W_${letter}`,
      bias: hasBias ? `${part}.b_${letter}` : null,
      stored: "outIn",
      modulePath: `layers.${layer}.${path}`,
    };
  };
  return [
    site("attn.q", "Q", d, nHeads * dHead, bias.qkv, "self_attn.q_proj"),
    site("attn.k", "K", d, nKvHeads * dHead, bias.qkv, "self_attn.k_proj"),
    site("attn.v", "V", d, nKvHeads * dHead, bias.qkv, "self_attn.v_proj"),
    site("attn.o", "O", nHeads * dHead, d, bias.o, "self_attn.o_proj"),
    site("mlp.gate", "gate", d, dMlp, bias.mlp, "mlp.gate_proj"),
    site("mlp.in", "in", d, dMlp, bias.mlp, "mlp.up_proj"),
    site("mlp.out", "out", dMlp, d, bias.mlp, "mlp.down_proj"),
  ];
}

function llamaHooks(config: ModelConfig): readonly HookSpec[] {
  const hooks: HookSpec[] = [
    { name: "attn.hook_rot_q", axes: ["batch", "pos", "head", "dHead"] },
    { name: "attn.hook_rot_k", axes: ["batch", "pos", "kvHead", "dHead"] },
    { name: "mlp.hook_pre_linear", axes: ["batch", "pos", "dMlp"] },
  ];
  if (config.qkNorm) {
    hooks.push(
      { name: "attn.hook_q_normed", axes: ["batch", "head", "pos", "dHead"] },
      { name: "attn.hook_k_normed", axes: ["batch", "kvHead", "pos", "dHead"] },
    );
  }
  return hooks;
}

const embed = (frame: Frame, { tokens }: Tensors): Tensor => frame.hook("hook_embed", frame.lookup("embed", present(tokens)));
const unembed = (frame: Frame, { resid }: Tensors): Tensor => frame.linear("unembed", rmsNorm(frame, "ln_final", present(resid)));

function block(frame: Frame, streams: Tensors): Tensor {
  const { nHeads, nKvHeads, activation } = frame.config;
  const residPre = frame.hook("hook_resid_pre", present(streams["resid"]));
  const normalized = rmsNorm(frame, "ln1", residPre);
  const q = queryOrKey(frame, streams, "q", normalized, nHeads);
  const k = queryOrKey(frame, streams, "k", normalized, nKvHeads);
  const v = frame.hook("attn.hook_v", splitHeads(frame, frame.linear("attn.v", normalized), nKvHeads));
  const attnOut = frame.hook("hook_attn_out", frame.linear("attn.o", attention(frame, q, k, v)));
  const residMid = frame.hook("hook_resid_mid", tf.add(frame.asked(residPre), attnOut));
  const mlpIn = rmsNorm(frame, "ln2", residMid);
  const gate = activationFunctions[activation](frame.hook("mlp.hook_pre", frame.linear("mlp.gate", mlpIn)));
  const up = frame.hook("mlp.hook_pre_linear", frame.linear("mlp.in", mlpIn));
  const mlpOut = frame.hook("hook_mlp_out", frame.linear("mlp.out", frame.hook("mlp.hook_post", tf.mul(gate, up))));
  return frame.hook("hook_resid_post", tf.add(residMid, mlpOut));
}

/** Projection, its hook, the q/k norm where the family has one, then the rotation and its hook. */
function queryOrKey(frame: Frame, streams: Tensors, which: "q" | "k", normalized: Tensor, heads: number): Tensor {
  let x = frame.hook(`attn.hook_${which}`, splitHeads(frame, frame.linear(`attn.${which}`, normalized), heads));
  if (frame.config.qkNorm) {
    const normed = tf.mul(tf.div(x, rms(x, frame.config.normEps)), frame.vector(`attn.${which}_norm.w`, x.rank));
    // TransformerLens takes this hook heads first.
    x = tf.transpose(frame.hook(`attn.hook_${which}_normed`, tf.transpose(normed, [0, 2, 1, 3])), [0, 2, 1, 3]);
  }
  return frame.hook(`attn.hook_rot_${which}`, rotate(frame, streams, x));
}

export const llama = family("llama");
export const mistral = family("mistral");
export const qwen2 = family("qwen2");
export const qwen3 = family("qwen3");
