/** Every family against transformers, on tiny random checkpoints; and against TransformerLens, hook by hook. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openSubject, sharedEngine } from "../../server/runs/subject.ts";
import { baseSetting } from "../../server/runs/worlds.ts";
import type { EngineName } from "../../server/tensors/engine.ts";
import { readGolden, referenceDir, relativeError } from "./goldens.ts";
import { lawEngine } from "../lawEngine.ts";

/** Float32 rounding over a few layers; what the project promises. */
const logitTolerance = 1e-4;
const engines: readonly EngineName[] = [lawEngine, "wasm"];
const names = readdirSync(join(referenceDir, "families"));

describe.each(engines)("on %s", (engine) => {
  afterAll(async () => (await sharedEngine({ engine })).dispose());
  it.each(names)("%s has the logits of transformers", async (name) => {
    const subject = await openSubject({ model: join(referenceDir, "families", name), adapters: [] }, { engine });
    const golden = readGolden("families", name, "golden.safetensors");
    for (const part of ["a", "b"]) {
      const { logits } = await subject.runner!.forward({ tokens: golden.ids(`ids_${part}`), settings: [baseSetting], logits: "all" });
      expect(logits!.shape).toEqual(golden.shape(`logits_${part}`));
      expect(relativeError(logits!.data, golden.floats(`logits_${part}`))).toBeLessThan(logitTolerance);
    }
  });
});

/** The names that TransformerLens users look for, written out, so that one renamed or gone is missed here. */
const everyBlock = [
  ...["hook_resid_pre", "ln1.hook_scale", "ln1.hook_normalized", "attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_attn_scores", "attn.hook_pattern"],
  ...[
    "attn.hook_z",
    "hook_attn_out",
    "hook_resid_mid",
    "ln2.hook_scale",
    "ln2.hook_normalized",
    "mlp.hook_pre",
    "mlp.hook_post",
    "hook_mlp_out",
    "hook_resid_post",
  ],
];
const rotated = [...everyBlock, "attn.hook_rot_q", "attn.hook_rot_k", "mlp.hook_pre_linear"];
const outside = ["hook_embed", "ln_final.hook_scale", "ln_final.hook_normalized"];
const transformerLensHooks = {
  gpt2: { outside: [...outside, "hook_pos_embed"], block: everyBlock },
  llama: { outside, block: rotated },
  mistral: { outside, block: rotated },
  qwen2: { outside, block: rotated },
  qwen3: { outside, block: [...rotated, "attn.hook_q_normed", "attn.hook_k_normed"] },
};

describe("hooks", () => {
  it.each(Object.entries(transformerLensHooks))(
    "%s has every name of TransformerLens that it promises, in every layer, and no other",
    async (name, promised) => {
      const subject = await openSubject({ model: join(referenceDir, "families", name), adapters: [] }, { engine: lawEngine });
      const layers = Array.from({ length: subject.model?.config.nLayers ?? 0 }, (_, layer) => promised.block.map((hook) => `blocks.${layer}.${hook}`));
      const expected = [...promised.outside, ...layers.flat()];
      expect([...(subject.runner?.hooks.keys() ?? [])].toSorted()).toEqual(expected.toSorted());
      expect(readGolden("hooks", `${name}.safetensors`).names).toEqual(expect.arrayContaining(expected));
    },
  );

  it.each(["gpt2", "llama", "mistral", "qwen2", "qwen3"])("%s has TransformerLens's value at every name both have", async (name) => {
    const subject = await openSubject({ model: join(referenceDir, "families", name), adapters: [] }, { engine: lawEngine });
    const golden = readGolden("hooks", `${name}.safetensors`);
    const shared = golden.names.filter((hook) => subject.runner!.hooks.has(hook));
    const { taps } = await subject.runner!.forward({ tokens: golden.ids("ids"), settings: [baseSetting], taps: shared, logits: "all" });
    const wrong = shared.flatMap((hook) => {
      const error = relativeError(taps[hook]!.data, hook.endsWith("attn_scores") ? masked(golden.floats(hook)) : golden.floats(hook));
      return error < logitTolerance ? [] : [`${hook}: ${error}, ours [${taps[hook]!.shape.join()}], theirs [${golden.shape(hook).join()}]`];
    });
    expect(wrong).toEqual([]);
    expect(shared.length).toBeGreaterThan(20);
  });

  it.each(names)("every promised hook of %s fires with its promised shape, and the parts of the residual sum to it", async (name) => {
    const subject = await openSubject({ model: join(referenceDir, "families", name), adapters: [] }, { engine: lawEngine });
    const runner = subject.runner!;
    const { taps } = await runner.forward({ tokens: [[3, 4, 5, 6, 7]], settings: [baseSetting], taps: [...runner.hooks.keys()], logits: "all" });
    expect(Object.keys(taps).sort()).toEqual([...runner.hooks.keys()].sort());
    for (let layer = 0; layer < runner.model.config.nLayers; layer++) {
      const at = (hook: string) => taps[`blocks.${layer}.${hook}`]!.data;
      const sum = at("hook_resid_pre").map((value, i) => value + at("hook_attn_out")[i]! + at("hook_mlp_out")[i]!);
      expect(relativeError(sum, at("hook_resid_post"))).toBeLessThan(logitTolerance);
    }
  });
});

/** Masked scores are the smallest float32 there, −∞ here; softmax makes both 0. */
function masked(scores: Float32Array): Float32Array {
  return scores.map((value) => (value < -1e30 ? -Infinity : value));
}
