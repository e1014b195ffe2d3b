/** The forward pass of training with gates and edits: what the runner measures with the same on the adapter opened from its files. */
import * as tf from "@tensorflow/tfjs-core";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { gaussians, randomStream } from "../../server/linalg/random.ts";
import { logSumExp } from "../../server/runs/metrics.ts";
import { ConfigReads } from "../../server/runs/configReads.ts";
import { openSubject } from "../../server/runs/subject.ts";
import { baseSetting, type AdapterSetting, type BatchEdit } from "../../server/runs/worlds.ts";
import { inputsOf } from "../../server/models/plan.ts";
import type { Tensors } from "../../server/tensors/engine.ts";
import { float32, int32, type FloatTensor, type HostTensor } from "../../server/tensors/hostTensor.ts";
import { trainedTensors, type Adaptation } from "../../server/training/adaptation.ts";
import { adaptedForward, forwardWeights } from "../../server/training/adaptedForward.ts";
import type { Batch } from "../../server/data/example.ts";
import { saveAdaptation } from "../../server/training/saveAdaptation.ts";
import { relativeError } from "../laws/goldens.ts";
import { harness, perturb, randomBatch, temporaryDir, type Harness } from "../laws/methods/harness.ts";
import { lawEngine } from "../lawEngine.ts";

/** Float32 sums of a few layers in another order, through a loss of about 4. */
const tolerance = 1e-5;
/** An effect that no rounding makes. */
const clear = 1e-3;

interface Changes {
  /** By site, a number a row. */
  readonly gates?: Readonly<Record<string, readonly number[]>>;
  readonly edit?: BatchEdit;
}

let programs = 0;

/** −log p(target) summed over each row's places with a loss, from the logits `[rows, positions, dVocab]`. */
function losses({ rows, positions, targets, lossWeights }: Batch, logits: Float32Array): Float32Array {
  const dVocab = logits.length / (rows * positions);
  return Float32Array.from({ length: rows }, (_, row) => {
    let sum = 0;
    for (let place = row * positions; place < (row + 1) * positions; place++) {
      const here = logits.subarray(place * dVocab, (place + 1) * dVocab);
      sum += (lossWeights[place] ?? 0) * (logSumExp(here) - (here[targets[place] ?? 0] ?? NaN));
    }
    return sum;
  });
}

/** The loss of each row in the forward pass of training. */
async function trainingLosses({ adaptation, programs: { engine } }: Harness, batch: Batch, { gates = {}, edit }: Changes): Promise<Float32Array> {
  const { model } = adaptation;
  const { rows, positions } = batch;
  const stacks = Object.fromEntries(Object.values(inputsOf(model.family)).map((stack) => [stack, positions]));
  const given: Record<string, Readonly<Record<string, HostTensor>>> = {
    stream: { tokens: int32(batch.tokens, [rows, positions]), ...model.family.tables(model.config, { positions: stacks, lengths: [positions] }) },
    trained: Object.fromEntries(trainedTensors(adaptation).map(({ key, tensor }) => [key, tensor])),
    gate: Object.fromEntries(Object.entries(gates).map(([site, values]) => [site, float32(Float32Array.from(values), [rows, 1])])),
    edit: edit ? { mask: edit.mask, value: edit.value } : {},
  };
  const inputs = Object.fromEntries(
    Object.entries(given).flatMap(([kind, tensors]) => Object.entries(tensors).map(([name, tensor]) => [`${kind}:${name}`, tensor] as const)),
  );
  const weights = forwardWeights(adaptation);
  const layers = model.plan.map(({ layer }) => layer);
  const forward = (tensors: Tensors, frozen: Tensors): Tensors => {
    const part = (kind: keyof typeof given): Tensors =>
      Object.fromEntries(Object.entries(tensors).flatMap(([name, tensor]) => (name.startsWith(`${kind}:`) ? [[name.slice(kind.length + 1), tensor]] : [])));
    const { mask, value } = part("edit");
    const { hidden, unembedding } = adaptedForward(
      adaptation,
      { batch: rows, positions },
      { streams: part("stream"), trained: part("trained"), weights: frozen, gates: part("gate") },
      { reads: new ConfigReads(model.config, layers), edits: new Map(edit && mask && value ? [[edit.hook, { mask, value }]] : []) },
    );
    return { logits: tf.matMul(hidden, unembedding, false, true) };
  };
  const program = await engine.compile(`gates and edits ${programs++}`, forward, {
    inputs: Object.fromEntries(Object.entries(inputs).map(([name, { shape, dtype }]) => [name, { shape, dtype }])),
    weights: Object.fromEntries(Object.entries(weights).map(([name, { shape }]) => [name, shape])),
  });
  const { logits } = await program.run(inputs, weights);
  if (logits?.dtype !== "float32") throw new Error("no logits");
  return losses(batch, logits.data);
}

/** The loss of each row in the runner, with the adapter opened from the files that training writes. */
async function runnerLosses(adaptation: Adaptation, batch: Batch, settings: readonly AdapterSetting[], edit?: BatchEdit): Promise<Float32Array> {
  const folder = join(temporaryDir(), "adapter");
  saveAdaptation(folder, adaptation);
  const subject = await openSubject({ model: adaptation.model.path, adapters: [{ path: folder, name: "a", strength: 1 }] }, { engine: lawEngine });
  const tokens = Array.from({ length: batch.rows }, (_, row) => [...batch.tokens.subarray(row * batch.positions, (row + 1) * batch.positions)]);
  const run = await subject.runner?.forward({ tokens, settings, edits: edit ? [edit] : [], logits: "all" });
  return losses(batch, run?.logits?.data ?? new Float32Array());
}

/** A place that is not the start, and a batch of three rows. */
async function begun(family: string, method: string, targetModules: string[]): Promise<{ h: Harness; batch: Batch }> {
  const h = await harness(method, { family, targetModules });
  perturb(h.adaptation, 0.1);
  return { h, batch: randomBatch(h.model) };
}

describe.each([
  ["gpt2", "lora", ["c_attn", "c_fc"]],
  ["llama", "rslora", ["q_proj", "down_proj"]],
  ["gpt2", "dora", ["c_attn", "c_fc"]],
])("on %s, %s in training", (family, method, targets) => {
  it("loses with a site gated off what it loses without that site, row by row, and with a gate of 1 what it loses with it", async () => {
    const { h, batch } = await begun(family, method, targets);
    const site = h.adaptation.sites[1]?.site.name ?? "";
    const on = { strengths: { a: 1 } };
    const found = await trainingLosses(h, batch, { gates: { [site]: [0, 1, 0] } });
    const whole = await runnerLosses(h.adaptation, batch, [on]);
    const without = await runnerLosses({ ...h.adaptation, sites: h.adaptation.sites.filter((state) => state.site.name !== site) }, batch, [on]);
    expect(
      relativeError(
        found,
        Float32Array.from(whole, (loss, row) => (row === 1 ? loss : (without[row] ?? NaN))),
      ),
    ).toBeLessThan(tolerance);
    for (const row of [0, 2]) expect(Math.abs((without[row] ?? NaN) - (whole[row] ?? NaN))).toBeGreaterThan(clear);
    const off = { ...on, components: [{ adapter: "a", site, component: null, value: 0 }] };
    expect(relativeError(found, await runnerLosses(h.adaptation, batch, [off, on, off])), "gated in the runner").toBeLessThan(tolerance);
    const programLoss = await trainingLosses(h, batch, {});
    expect(relativeError(programLoss, whole)).toBeLessThan(tolerance);
  });

  it("loses with every site gated off what the base loses", async () => {
    const { h, batch } = await begun(family, method, targets);
    const gates = Object.fromEntries(h.adaptation.sites.map(({ site }) => [site.name, [0, 0, 0]]));
    expect(relativeError(await trainingLosses(h, batch, { gates }), await runnerLosses(h.adaptation, batch, [baseSetting]))).toBeLessThan(tolerance);
  });

  it.each([
    ["blocks.1.hook_mlp_out", (d: number) => [3, 8, d]],
    ["blocks.0.hook_resid_pre", (d: number) => [1, 8, d]],
    ["blocks.1.hook_resid_post", (d: number) => [3, 8, d]],
  ])("an edit at %s at one place of one row changes the loss as it does in the runner, and no other row's", async (hook, shapeOf) => {
    const { h, batch } = await begun(family, method, targets);
    const shape = shapeOf(h.model.config.dModel);
    const mask = float32(new Float32Array(3 * 8), [3, 8, 1]);
    mask.data[8 + 2] = 1;
    const value: FloatTensor = float32(
      gaussians(
        shape.reduce((size, dim) => size * dim, 1),
        1,
        randomStream(4, hook),
      ),
      shape,
    );
    const edit: BatchEdit = { hook, mask, value };
    const found = await trainingLosses(h, batch, { edit });
    expect(relativeError(found, await runnerLosses(h.adaptation, batch, [{ strengths: { a: 1 } }], edit))).toBeLessThan(tolerance);
    const before = await trainingLosses(h, batch, {});
    expect(Math.abs((found[1] ?? NaN) - (before[1] ?? NaN))).toBeGreaterThan(clear);
    for (const row of [0, 2]) expect(Math.abs((found[row] ?? NaN) - (before[row] ?? NaN))).toBeLessThan(tolerance);
  });
});

it("an edit at a hook, or a gate at a site, that the forward pass has not is refused by its name", async () => {
  const { h, batch } = await begun("gpt2", "lora", ["c_attn"]);
  const edit: BatchEdit = { hook: "blocks.1.hook_mlp_oot", mask: float32(new Float32Array(24), [3, 8, 1]), value: float32(new Float32Array(8), [1, 8, 1]) };
  await expect(trainingLosses(h, batch, { edit })).rejects.toThrow(/"blocks\.1\.hook_mlp_oot" is unknown.*hook_mlp_out/);
  await expect(trainingLosses(h, batch, { gates: { "blocks.1.mlp.in": [1, 1, 1] } })).rejects.toThrow(/no adapter trains at "blocks\.1\.mlp\.in"/);
});

it("a component of LoRA gated off in the runner has the loss of the training forward without that singular direction", async () => {
  const { h, batch } = await begun("gpt2", "lora", ["c_attn"]);
  const state = h.adaptation.sites[1];
  const { loraA, loraB } = state?.trained ?? {};
  if (!state || !loraA || !loraB) throw new Error("no factors");
  // Factors whose product is σ₀ e₀e₀ᵀ + σ₁ e₁e₁ᵀ: its components can be read off.
  const rank = loraA.shape[0] ?? 0;
  const [dIn, sigma] = [state.site.dIn, [0.5, 0.25]];
  loraA.data.fill(0);
  loraB.data.fill(0);
  const set = (values: readonly number[]): void =>
    values.forEach((value, k) => {
      loraA.data[k * dIn + k] = 1;
      loraB.data[k * rank + k] = value;
    });
  set(sigma);
  const gated = await runnerLosses(h.adaptation, batch, [
    { strengths: { a: 1 }, components: [{ adapter: "a", site: state.site.name, component: 0, value: 0 }] },
  ]);
  const whole = await trainingLosses(h, batch, {});
  set([0, 0.25]);
  const without = await trainingLosses(h, batch, {});
  expect(relativeError(without, gated)).toBeLessThan(tolerance);
  expect(relativeError(whole, gated)).toBeGreaterThan(tolerance);
});
