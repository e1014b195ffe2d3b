/** The frame that segments are traced in: replaced parameters, settings in the program's key, hooks that never fire, names that objects have already. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { writeSafetensors } from "../../server/formats/safetensors.ts";
import type { ModelConfig, Segment } from "../../server/models/family.ts";
import { loadModel, type LoadedModel } from "../../server/models/loadModel.ts";
import { modulePath } from "../../server/models/modelSites.ts";
import { Runner } from "../../server/runs/runner.ts";
import { openSubject, sharedEngine } from "../../server/runs/subject.ts";
import { baseSetting } from "../../server/runs/worlds.ts";
import { createEngine } from "../../server/tensors/providers.ts";
import { sizeOf } from "../../server/tensors/hostTensor.ts";
import { gaussians, randomStream } from "../../server/linalg/random.ts";
import { referenceDir, relativeError } from "./goldens.ts";
import { lawEngine } from "../lawEngine.ts";

/** Float32 rounding over a few layers, in another order of addition. */
const tolerance = 1e-5;
const family = (name: string) => join(referenceDir, "families", name);

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), "deltascope-frames-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** The same model with other values of some parameters. */
function withValues(model: LoadedModel, changed: ReadonlyMap<string, Float32Array>): LoadedModel {
  const weights = (id: string) => {
    const { params } = model.plan.find((segment) => segment.id === id)!;
    return Object.fromEntries(
      params.map(({ name, key }) => {
        const [weight, data] = [model.weights(id)[name]!, changed.get(key)];
        return [name, data ? { key: `${weight.key}:changed`, shape: weight.shape, data: () => data } : weight];
      }),
    );
  };
  return { ...model, weights };
}

describe.each([
  ["gpt2", ["wpe", "ln_1", "ln_f"]],
  ["qwen3", ["q_norm", "k_norm"]],
  ["qwen3", ["q_norm", "input_layernorm", "norm"]],
  ["llama", ["embed_tokens", "lm_head"]],
  ["qwen2", ["q_proj", "down_proj"]],
])("%s with saved %s", (base, modules) => {
  it.each([2, 4, 5])("gives each row of a batch its own parameters, as a base with them has, on %i tokens", async (length) => {
    const model = loadModel(family(base));
    const specs = model.plan.flatMap(({ params }) => params).filter(({ key }) => modules.includes(key.replace(/^\//, "").split(".").at(-2)!));
    const changed = new Map(specs.map(({ key, shape }) => [key, gaussians(sizeOf(shape), 0.5, randomStream(3, key))]));
    const dir = folder();
    writeFileSync(join(dir, "adapter_config.json"), JSON.stringify({ peft_type: "LORA", r: 2, lora_alpha: 2, target_modules: [], modules_to_save: modules }));
    writeSafetensors(
      join(dir, "adapter_model.safetensors"),
      specs.map(({ key, shape }) => ({ name: `base_model.model.${modulePath(model.family, key)}`, shape, data: changed.get(key)! })),
    );
    const subject = await openSubject({ model: family(base), adapters: [{ path: dir, name: "a", strength: 1 }] }, { engine: lawEngine });
    const row = [5, 9, 3, 44, 21].slice(0, length);
    const settings = [subject.setting, baseSetting, { strengths: { a: 0.25 } }, subject.setting];
    const { logits } = await subject.runner!.forward({ tokens: settings.map(() => row), settings, logits: "all" });
    const size = logits!.data.length / settings.length;
    const alone = async (of: LoadedModel) => {
      const runner = new Runner(of, [], await sharedEngine({ engine: lawEngine }));
      return (await runner.forward({ tokens: [row], settings: [baseSetting], logits: "all" })).logits!.data;
    };
    const between = new Map(
      specs.map(({ name, key }) => {
        const before = model.plan.map(({ id }) => model.weights(id)).find((weights, i) => model.plan[i]!.params.some((p) => p.key === key) && weights[name])!;
        return [key, before[name]!.data().map((value, i) => value + 0.25 * (changed.get(key)![i]! - value))];
      }),
    );
    const expected = [await alone(withValues(model, changed)), await alone(model), await alone(withValues(model, between))];
    [expected[0]!, expected[1]!, expected[2]!, expected[0]!].forEach((wanted, i) =>
      expect(relativeError(logits!.data.slice(i * size, (i + 1) * size), wanted), `row ${i}`).toBeLessThan(tolerance),
    );
    expect(relativeError(expected[0]!, expected[1]!)).toBeGreaterThan(0.01);
  });
});

/** Half as many heads, each twice as wide: every weight keeps its shape, but those of norms of q and k. */
const halfAsManyHeads = (config: ModelConfig): ModelConfig => ({
  ...config,
  nHeads: config.nHeads / 2,
  nKvHeads: config.nKvHeads / 2,
  dHead: config.dHead * 2,
  rope: config.rope && { ...config.rope, dHead: config.dHead * 2 },
  qkNorm: false,
});

describe.each(["gpt2", "gpt2-scaled-gelu", "llama", "mistral-window", "qwen3"])("two models with the shapes of %s", (name) => {
  const changes: readonly (readonly [string, (config: ModelConfig) => ModelConfig])[] = [
    ["epsilon of the norms", (config) => ({ ...config, normEps: 1 })],
    ["activation", (config) => ({ ...config, activation: config.activation === "relu" ? "gelu" : "relu" })],
    [
      "scale of the last layer's scores",
      (config) => ({ ...config, attnScale: config.attnScale.map((scale, i, all) => (i === all.length - 1 ? 3 * scale : scale)) }),
    ],
    ["window of the first layer", (config) => ({ ...config, slidingWindow: config.slidingWindow.map((window, i) => (i === 0 ? 2 : window)) })],
    ["number of heads, at the same width", halfAsManyHeads],
    ["scales of two layers exchanged", (config) => ({ ...config, attnScale: config.attnScale.map((_, i) => 0.1 + 0.7 * i) })],
  ];
  it.each(changes)("in one engine share no program where they differ in %s", async (_, change) => {
    const model = loadModel(family(name));
    const other: LoadedModel = { ...model, config: change(model.config) };
    const shared = await sharedEngine({ engine: lawEngine });
    const run = async (of: LoadedModel, engine = shared) =>
      (await new Runner(of, [], engine).forward({ tokens: [[5, 9, 3, 44, 21, 60]], settings: [baseSetting], logits: "all" })).logits!.data;
    const before = await run(model);
    const own = await createEngine(lawEngine, {});
    const expected = await run(other, own);
    await own.dispose();
    expect(await run(other)).toEqual(expected);
    expect(await run(model)).toEqual(before);
    expect(relativeError(expected, before)).toBeGreaterThan(1e-4);
  });

  it("share every program where they differ in nothing that the code reads", async () => {
    const model = loadModel(family(name));
    const engine = await createEngine(lawEngine, {});
    onTestFinished(() => engine.dispose());
    const run = (config: ModelConfig) => new Runner({ ...model, config }, [], engine).forward({ tokens: [[5, 9, 3]], settings: [baseSetting], logits: "all" });
    await run({ ...model.config, attnScale: model.config.attnScale.map(() => 0.5), slidingWindow: model.config.slidingWindow.map(() => null) });
    const programs = engine.memory().programs;
    await run({ ...model.config, attnScale: model.config.attnScale.map(() => 0.5), slidingWindow: model.config.slidingWindow.map(() => null), nCtx: 7 });
    expect(engine.memory().programs).toBe(programs);
    expect(programs).toBe(3); // embedding, one block for all layers, head
  });
});

it("a hook that a family promises and never passes is an error that names it, for taps and for edits", async () => {
  const model = loadModel(family("gpt2"));
  const forgetful: LoadedModel = {
    ...model,
    plan: model.plan.map((segment): Segment => ({
      ...segment,
      run: (frame, streams) =>
        segment.run(
          new Proxy(frame, { get: (of, key) => (key === "hook" ? (n: string, v: never) => (n === "hook_mlp_out" ? v : of.hook(n, v)) : bound(of, key)) }),
          streams,
        ),
    })),
  };
  const runner = new Runner(forgetful, [], await sharedEngine({ engine: lawEngine }));
  const tokens = [[5, 9, 3]];
  const at = "blocks.1.hook_mlp_out";
  await expect(runner.forward({ tokens, settings: [baseSetting], taps: [at], logits: "all" })).rejects.toThrow(/blocks\.1: hooks never fired: hook_mlp_out/);
  const zeros = (shape: number[]) => ({ dtype: "float32" as const, shape, data: new Float32Array(sizeOf(shape)) });
  const edit = { hook: at, mask: zeros([1, 3, 1]), value: zeros([1, 3, model.config.dModel]) };
  await expect(runner.forward({ tokens, settings: [baseSetting], edits: [edit], logits: "all" })).rejects.toThrow(/blocks\.1: hooks never fired: hook_mlp_out/);
});

function bound(of: object, key: string | symbol): unknown {
  const value: unknown = Reflect.get(of, key);
  return typeof value === "function" ? (value.bind(of) as unknown) : value;
}

it.each(["constructor", "__proto__", "toString", "hasOwnProperty"])('an adapter may be called "%s": off where a world does not name it', async (name) => {
  const path = join(referenceDir, "adapters", "gpt2-all");
  const subject = await openSubject({ model: family("gpt2"), adapters: [{ path, name, strength: 1 }] }, { engine: lawEngine });
  const plain = await openSubject({ model: family("gpt2"), adapters: [{ path, name: "a", strength: 1 }] }, { engine: lawEngine });
  const row = [5, 9, 3, 44];
  const both = async (of: typeof subject) =>
    await of.runner!.forward({
      tokens: [row, row],
      settings: [of.setting, baseSetting],
      taps: [`blocks.1.attn.o.lora.${of.adapters[0]!.name}.hook_sv`],
      logits: "all",
    });
  const [found, expected] = [await both(subject), await both(plain)];
  expect(found.logits!.data).toEqual(expected.logits!.data);
  expect(Object.values(found.taps)[0]!.data).toEqual(Object.values(expected.taps)[0]!.data);
  const base = await subject.runner!.forward({ tokens: [row], settings: [baseSetting], logits: "all" });
  expect(relativeError(found.logits!.data.slice(base.logits!.data.length), base.logits!.data)).toBeLessThan(tolerance);
});
