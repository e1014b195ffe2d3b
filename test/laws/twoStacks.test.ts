/** A family of two stacks through planner, runner, taps, edits and adapters, against a forward pass written out in tfjs. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import { afterAll, describe, expect, it } from "vitest";
import { loadAdapter } from "../../server/adapters/loadAdapter.ts";
import { writeSafetensors } from "../../server/formats/safetensors.ts";
import { loadModel } from "../../server/models/loadModel.ts";
import { modulePath } from "../../server/models/modelSites.ts";
import { families } from "../../server/models/registry.ts";
import { Runner } from "../../server/runs/runner.ts";
import { sharedEngine } from "../../server/runs/subject.ts";
import { naiveSweep, planSweep, sweep, type SweepRequest, type SweepTile } from "../../server/runs/sweep.ts";
import { baseSetting, type World } from "../../server/runs/worlds.ts";
import { int32, sizeOf } from "../../server/tensors/hostTensor.ts";
import { gaussians, randomStream } from "../../server/linalg/random.ts";
import { startAdaptation } from "../../server/training/adaptation.ts";
import { toyEncoderDecoder } from "../fixtures/toyEncoderDecoder.ts";
import { relativeError } from "./goldens.ts";
import { lawEngine } from "../lawEngine.ts";

/** Float32 rounding over a few layers. */
const tolerance = 1e-5;
const raw = { model_type: "toy-encoder-decoder", num_layers: 2, num_heads: 2, d_model: 12, vocab_size: 19 };
const dir = mkdtempSync(join(tmpdir(), "deltascope-twoStacks-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

writeFileSync(join(dir, "config.json"), JSON.stringify(raw));
const specs = toyEncoderDecoder.plan(toyEncoderDecoder.parseConfig(raw, "toy")).flatMap(({ params }) => params);
const values = new Map(specs.map(({ key, shape }) => [key, gaussians(sizeOf(shape), shape.length === 1 ? 0.7 : 0.5, randomStream(1, key))]));
writeSafetensors(
  join(dir, "model.safetensors"),
  specs.map(({ key, shape }) => ({ name: modulePath(toyEncoderDecoder, key), shape, data: values.get(key)! })),
);
const model = loadModel(dir, { ...families, [raw.model_type]: toyEncoderDecoder });

/** A LoRA of rank 2 on the queries of both stacks, on keys made of the encoder's output, and on one MLP. */
const targets = ["encoder.layers.0.attn.q_proj", "decoder.layers.1.attn.q_proj", "decoder.layers.0.cross.k_proj", "decoder.layers.1.mlp.in_proj"];
const adapterDir = join(dir, "adapter.d");
const factor = (path: string, which: string) => gaussians(2 * raw.d_model, 0.4, randomStream(2, path, which));
await import("node:fs/promises").then(({ mkdir }) => mkdir(adapterDir));
writeFileSync(
  join(adapterDir, "adapter_config.json"),
  JSON.stringify({ peft_type: "LORA", r: 2, lora_alpha: 4, target_modules: targets.map((path) => `model.${path}`) }),
);
writeSafetensors(
  join(adapterDir, "adapter_model.safetensors"),
  targets.flatMap((path) => [
    { name: `base_model.model.model.${path}.lora_A.weight`, shape: [2, raw.d_model], data: factor(path, "A") },
    { name: `base_model.model.model.${path}.lora_B.weight`, shape: [raw.d_model, 2], data: factor(path, "B") },
  ]),
);
const adapter = loadAdapter(adapterDir, "a", model);
const engine = await sharedEngine({ engine: lawEngine });
const runner = new Runner(model, [adapter], engine);

const encoderTokens = [4, 8, 15, 16, 2, 11, 7];
const tokens = [1, 5, 9, 3];
const inputs = { encoderTokens: int32(encoderTokens, [1, encoderTokens.length]) };

/** The whole model, one prompt, no batch, W + s·B·A where the adapter is on: every layer written out. */
async function naive(isOn: boolean): Promise<Map<string, Float32Array>> {
  await import("@tensorflow/tfjs-backend-cpu");
  await tf.setBackend("cpu");
  const { num_layers: layers, num_heads: heads, d_model: d } = raw;
  const found = new Map<string, Float32Array>();
  tf.tidy(() => {
    const seen = (name: string, x: Tensor) => (found.set(name, Float32Array.from(x.dataSync())), x);
    const weight = (path: string, shape: [number, number] = [d, d]) => {
      const w = tf.tensor2d(values.get(path === "/lm_head" ? "/lm_head.weight" : `${path}.weight`)!, shape);
      if (!isOn || !targets.includes(path)) return w;
      return tf.add(w, tf.mul(tf.matMul(tf.tensor2d(factor(path, "B"), [d, 2]), tf.tensor2d(factor(path, "A"), [2, d])), 2));
    };
    const norm = (x: Tensor, path: string) =>
      tf.mul(tf.div(x, tf.sqrt(tf.add(tf.mean(tf.square(x), -1, true), 1e-5))), tf.tensor1d(values.get(`${path}.weight`)!));
    const linear = (x: Tensor, path: string) => tf.matMul(x, weight(path), false, true);
    const attend = (x: Tensor, source: Tensor, path: string, name: string, causal: boolean) => {
      const z = Array.from({ length: heads }, (_, h) => {
        const part = (y: Tensor, letter: string) => tf.slice(linear(y, `${path}.${letter}_proj`), [0, (h * d) / heads], [-1, d / heads]);
        let scores = tf.div(tf.matMul(part(x, "q"), part(source, "k"), false, true), Math.sqrt(d / heads));
        if (causal) scores = tf.add(scores, tf.tensor2d(tokens.map((_, i) => tokens.map((_, j) => (j > i ? -Infinity : 0)))));
        return [tf.softmax(scores), part(source, "v")] as const;
      });
      seen(`${name}.hook_pattern`, tf.stack(z.map(([pattern]) => pattern)));
      return linear(
        tf.concat(
          z.map(([pattern, v]) => tf.matMul(pattern, v)),
          1,
        ),
        `${path}.o_proj`,
      );
    };
    const run = (stack: "encoder" | "decoder", ids: number[], encoded: Tensor | null) => {
      let x: Tensor = seen(`${stack}.hook_embed`, tf.gather(weight(`${stack}.embed_tokens`, [raw.vocab_size, d]), ids));
      for (let layer = 0; layer < layers; layer++) {
        const [path, name] = [`${stack}.layers.${layer}`, `${stack}.${layer}`];
        seen(`${name}.hook_resid_pre`, x);
        const y = norm(x, `${path}.attn_norm`);
        x = tf.add(x, attend(y, y, `${path}.attn`, `${name}.attn`, encoded !== null));
        if (encoded) x = tf.add(x, attend(norm(x, `${path}.cross_norm`), encoded, `${path}.cross`, `${name}.cross`, false));
        const post = seen(`${name}.mlp.hook_post`, tf.relu(linear(norm(x, `${path}.mlp_norm`), `${path}.mlp.in_proj`)));
        x = seen(`${name}.hook_resid_post`, tf.add(x, linear(post, `${path}.mlp.out_proj`)));
      }
      return x;
    };
    seen("logits", tf.matMul(norm(run("decoder", tokens, run("encoder", encoderTokens, null)), "norm"), weight("/lm_head", [raw.vocab_size, d]), false, true));
  });
  return found;
}

describe.each([
  ["the base", false],
  ["the adapter on", true],
])("with %s", (_, isOn) => {
  it("every hook of both stacks, and the logits, are those of the forward pass written out", async () => {
    const expected = await naive(isOn);
    const taps = [...expected.keys()].filter((name) => name !== "logits");
    const found = await runner.forward({ tokens: [tokens], inputs, settings: [isOn ? { strengths: { a: 1 } } : baseSetting], taps, logits: "all" });
    expect(taps).toEqual(expect.arrayContaining(["encoder.0.hook_resid_pre", "encoder.1.attn.hook_pattern", "decoder.1.cross.hook_pattern"]));
    for (const name of taps) expect(relativeError(found.taps[name]!.data, expected.get(name)!), name).toBeLessThan(tolerance);
    expect(relativeError(found.logits!.data, expected.get("logits")!)).toBeLessThan(tolerance);
    expect(found.taps["decoder.1.cross.hook_pattern"]!.shape).toEqual([1, 2, tokens.length, encoderTokens.length]);
  });
});

it("every promised hook fires with its promised shape, those at adapter sites of both stacks too", async () => {
  const names = [...runner.hooks.keys()];
  const { taps } = await runner.forward({ tokens: [tokens], inputs, settings: [baseSetting], taps: names, logits: "none" });
  expect(Object.keys(taps).sort()).toEqual(names.toSorted());
  expect(taps["decoder.0.cross.k.lora.a.hook_sv"]!.shape).toEqual([1, encoderTokens.length, 2]);
  expect(runner.tapBytes(["decoder.0.cross.k.lora.a.hook_sv"], 1, { encoder: 7, decoder: 4 })).toBe(4 * 7 * 2);
});

it("a sweep over edits of both stacks and over components equals one forward pass a world, and restarts behind the encoder where it can", async () => {
  const setting = { strengths: { a: 1 } };
  const other = { encoderTokens: int32([3, 1, 15, 6, 2, 0, 7], [1, encoderTokens.length]) };
  const hooks = ["encoder.0.hook_resid_pre", "encoder.1.mlp.hook_post", "decoder.0.hook_resid_pre", "decoder.1.cross.hook_z", "decoder.1.hook_resid_post"];
  const { taps } = await runner.forward({ tokens: [[2, 5, 1, 3]], inputs: other, settings: [setting], taps: hooks, logits: "none" });
  const worlds: World[] = [
    ...hooks.flatMap((hook) => [0, 2].map((position) => ({ setting, edits: [{ hook, position, head: hook.endsWith("_z") ? 1 : null, source: "from" }] }))),
    ...[...adapter.sites.keys()].map((site) => ({ setting: { ...setting, components: [{ adapter: "a", site, component: 1, value: 0 }] }, edits: [] })),
    { setting: baseSetting, edits: [] },
  ];
  const request: SweepRequest = { runner, tokens, inputs, setting, worlds, sources: { from: taps }, position: tokens.length - 1 };
  const rows = async (tiles: AsyncGenerator<SweepTile>) => {
    const all = new Float32Array(worlds.length * raw.vocab_size).fill(NaN);
    for await (const { worlds: members, logits } of tiles)
      members.forEach((world, row) => all.set(logits.data.subarray(row * raw.vocab_size, (row + 1) * raw.vocab_size), world * raw.vocab_size));
    return all;
  };
  const [fast, slow] = [await rows(sweep(request)), await rows(naiveSweep(request))];
  expect(relativeError(fast, slow)).toBeLessThan(tolerance);
  worlds.forEach((_, i) => expect(relativeError(slow.slice(i * 19, (i + 1) * 19), slow.slice(0, 19)), `world ${i}`).toBeGreaterThan(i === 0 ? -1 : 1e-4));
  const starts = new Map(planSweep(request).tiles.flatMap(({ start, members }) => members.map((world) => [world, model.plan[start]!.id] as const)));
  const segmentOf = (name: string) => /^\w+\.\d+/.exec(name)![0];
  expect([...worlds.keys()].map((world) => starts.get(world))).toEqual([
    ...hooks.flatMap((hook) => [segmentOf(hook), segmentOf(hook)]),
    ...[...adapter.sites.keys()].map(segmentOf),
    "encoder.0",
  ]);
});

it("what the model reads beside its tokens is asked for by name", async () => {
  await expect(runner.forward({ tokens: [tokens], settings: [baseSetting], logits: "all" })).rejects.toThrow(/encoderTokens/);
  const request = {
    method: "lora",
    options: {},
    sites: { targetModules: "all-linear", excludeModules: [], layers: null },
    labels: [],
    tasks: [],
    seed: 0,
    runKey: "t",
  };
  expect(() => startAdaptation(model, request)).toThrow(/encoderTokens/);
});
