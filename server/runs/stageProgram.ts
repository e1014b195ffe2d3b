/** One stage of the forward pass as a program: base parameters, adapters, taps and interventions, all as named inputs. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import type { LoadedAdapter, SavedParam } from "../adapters/loadAdapter.ts";
import type { SiteAdapter } from "../adapters/method.ts";
import { WorkbenchError } from "../errors.ts";
import { blockVariant, type Frame, type SiteSpec, type Stage } from "../models/family.ts";
import type { LoadedModel } from "../models/loadModel.ts";
import { fullName } from "../models/modelSites.ts";
import type { HalfDtype, ProgramFunction, Signature, Tensors, TensorSpec, Weight } from "../tensors/engine.ts";
import { adapterHookName } from "./hookNames.ts";

/** An intervention inside a stage: where mask is 1 the hook's value becomes `value`. */
export interface StageEdit {
  /** Name inside the stage. */
  readonly hook: string;
  /** `[batch, …, 1]`: the hook's axes with the last one 1. */
  readonly maskShape: readonly number[];
  /** The hook's shape, with batch or 1 rows. */
  readonly valueShape: readonly number[];
}

export interface StagePlan {
  readonly model: LoadedModel;
  readonly stage: Stage;
  readonly layer: number;
  readonly batch: number;
  readonly positions: number;
  /** Adapters that act on some row; the others cost nothing. */
  readonly adapters: readonly LoadedAdapter[];
  /** Names inside the stage. */
  readonly taps: readonly string[];
  readonly edits: readonly StageEdit[];
}

export interface StageProgram {
  readonly key: string;
  readonly fn: ProgramFunction;
  readonly signature: Signature;
  readonly weights: Readonly<Record<string, Weight>>;
}

interface ActiveSite {
  readonly adapter: LoadedAdapter;
  readonly site: SiteAdapter;
}

export const gateInput = (adapter: string, site: string) => `gate:${adapter}:${site}`;
export const strengthInput = (adapter: string) => `strength:${adapter}`;
export const maskInput = (hook: string) => `mask:${hook}`;
export const valueInput = (hook: string) => `value:${hook}`;
export const tapOutput = (hook: string) => `tap:${hook}`;

/** The adapters' sites inside one stage, by the site's local name. */
export function activeSites(plan: Pick<StagePlan, "model" | "stage" | "layer" | "adapters">): Map<string, ActiveSite[]> {
  const sites = plan.model.family.sites(plan.model.config, plan.stage, plan.layer);
  return new Map(
    sites.map((spec) => [
      spec.name,
      plan.adapters.flatMap((adapter) => {
        const site = adapter.sites.get(fullName(plan.stage, plan.layer, spec.name));
        return site ? [{ adapter, site }] : [];
      }),
    ]),
  );
}

export function savedParams(plan: Pick<StagePlan, "stage" | "layer" | "adapters">): { adapter: LoadedAdapter; saved: SavedParam }[] {
  return plan.adapters.flatMap((adapter) =>
    adapter.saved.filter((saved) => saved.stage === plan.stage && saved.layer === plan.layer).map((saved) => ({ adapter, saved })),
  );
}

/** Everything an engine needs to build (or find) and run the stage. */
export function stageProgram(plan: StagePlan): StageProgram {
  const { model, stage, layer, batch, positions } = plan;
  const { config, family } = model;
  const sites = activeSites(plan);
  const saved = savedParams(plan);
  const inputs: Record<string, TensorSpec> =
    stage === "embed"
      ? { tokens: { shape: [batch, positions], dtype: "int32" }, positionIds: { shape: [positions], dtype: "int32" } }
      : { resid: { shape: [batch, positions, config.dModel], dtype: "float32" } };
  if (stage === "block" && config.rope) {
    inputs["cos"] = { shape: [positions, config.dHead], dtype: "float32" };
    inputs["sin"] = { shape: [positions, config.dHead], dtype: "float32" };
  }
  const weights: Record<string, Weight> = {};
  for (const [name, weight] of Object.entries(model.weights(stage, layer))) weights[`W:${name}`] = weight;
  const touching = new Set<string>(saved.map(({ adapter }) => adapter.name));
  for (const [siteName, actives] of sites) {
    for (const { adapter, site } of actives) {
      touching.add(adapter.name);
      inputs[gateInput(adapter.name, siteName)] = { shape: [batch, 1, site.rank], dtype: "float32" };
      for (const [name, weight] of Object.entries(site.weights())) weights[`A:${adapter.name}:${siteName}:${name}`] = weight;
      if (plan.taps.includes(adapterHookName(siteName, adapter.name, "hook_a"))) weights[`A:${adapter.name}:${siteName}:loraA`] = site.loraA;
    }
  }
  for (const name of touching) inputs[strengthInput(name)] = { shape: [batch, 1, 1], dtype: "float32" };
  for (const { adapter, saved: param } of saved) weights[`S:${adapter.name}:${param.param}`] = param.weight;
  for (const edit of plan.edits) {
    inputs[maskInput(edit.hook)] = { shape: edit.maskShape, dtype: "float32" };
    inputs[valueInput(edit.hook)] = { shape: edit.valueShape, dtype: "float32" };
  }

  const described = [...sites].flatMap(([siteName, actives]) =>
    actives.map(({ adapter, site }) => `${siteName}=${adapter.name}:${adapter.method.title}:${site.rank}`),
  );
  const key = [
    family.name,
    stage,
    `${config.nHeads}/${config.nKvHeads}/${config.dHead}/${config.activation}/${config.normEps}/${config.qkNorm}`,
    stage === "block" ? blockVariant(config, layer) : "",
    `adapters ${described.join(" ")}`,
    `saved ${saved.map(({ adapter, saved: param }) => `${adapter.name}:${param.param}`).join(" ")}`,
    `taps ${plan.taps.join(" ")}`,
    `edits ${plan.edits.map((edit) => edit.hook).join(" ")}`,
  ].join(" | ");
  return {
    key,
    signature: { inputs, weights: Object.fromEntries(Object.entries(weights).map(([name, weight]) => [name, weight.shape])), halves: halvesOf(weights) },
    weights,
    fn: (inputTensors, weightTensors) => {
      const frame = new TracedFrame(plan, sites, saved, inputTensors, weightTensors);
      const out = runStage(plan, frame, inputTensors);
      return { out, ...frame.finish() };
    },
  };
}

function halvesOf(weights: Readonly<Record<string, Weight>>): Record<string, HalfDtype> {
  return Object.fromEntries(Object.entries(weights).flatMap(([name, { half }]) => (half ? [[name, half.dtype]] : [])));
}

function runStage(plan: StagePlan, frame: TracedFrame, inputs: Tensors): Tensor {
  const { family } = plan.model;
  switch (plan.stage) {
    case "embed":
      return family.embed(frame, inputs["tokens"]!, inputs["positionIds"]!);
    case "block":
      return family.block(frame, inputs["resid"]!);
    case "unembed":
      return family.unembed(frame, inputs["resid"]!);
  }
}

/** The Frame that a family's code sees: every parameter, site and hook resolved against one plan. */
class TracedFrame implements Frame {
  readonly config;
  readonly layer: number;
  readonly batch: number;
  readonly positions: number;
  private readonly plan: StagePlan;
  private readonly sites: ReadonlyMap<string, readonly ActiveSite[]>;
  private readonly saved: readonly { adapter: LoadedAdapter; saved: SavedParam }[];
  private readonly inputs: Tensors;
  private readonly weights: Tensors;
  private readonly tapped: Tensors = {};
  private readonly fired = new Set<string>();

  constructor(
    plan: StagePlan,
    sites: ReadonlyMap<string, readonly ActiveSite[]>,
    saved: readonly { adapter: LoadedAdapter; saved: SavedParam }[],
    inputs: Tensors,
    weights: Tensors,
  ) {
    this.plan = plan;
    this.config = plan.model.config;
    this.layer = plan.layer;
    this.batch = plan.batch;
    this.positions = plan.positions;
    this.sites = sites;
    this.saved = saved;
    this.inputs = inputs;
    this.weights = weights;
  }

  param(name: string): Tensor {
    let value = this.weights[`W:${name}`];
    if (!value) throw new WorkbenchError("internal", `${this.plan.stage} ${this.layer}: no parameter "${name}"`);
    const base = value;
    for (const { adapter, saved } of this.saved) {
      if (saved.param !== name) continue;
      // One row a world: b + strength · (b_saved − b), broadcast over positions.
      value = tf.add(value, tf.mul(this.inputs[strengthInput(adapter.name)]!, tf.sub(this.weights[`S:${adapter.name}:${name}`]!, base)));
    }
    return value;
  }

  linear(siteName: string, x: Tensor): Tensor {
    const spec = this.spec(siteName);
    const actives = this.sites.get(siteName) ?? [];
    const weight = this.weights[`W:${spec.weight}`]!;
    // One product with its bias where nobody asks for W x alone.
    if (actives.length === 0 && this.saved.length === 0) return this.product(x, weight, spec, spec.bias === null ? null : this.param(spec.bias));
    const base = this.savedMix(spec, this.product(x, weight, spec), x);
    let y = spec.bias === null ? base : tf.add(base, this.param(spec.bias));
    for (const { adapter, site } of actives) {
      const hook = (name: "hook_in" | "hook_a" | "hook_sv" | "hook_delta", value: Tensor) => this.hook(adapterHookName(siteName, adapter.name, name), value);
      const own = this.adapterWeights(adapter, siteName);
      const input = hook("hook_in", x);
      if (own["loraA"]) hook("hook_a", this.product(input, own["loraA"], { dIn: site.dIn, dOut: site.rank, stored: "outIn" }));
      const coefficients = hook("hook_sv", this.product(input, own["read"]!, { dIn: site.dIn, dOut: site.rank, stored: "outIn" }));
      const gated = tf.mul(coefficients, this.inputs[gateInput(adapter.name, siteName)]!);
      const delta = adapter.method.delta({ x: input, base, gated, strength: this.inputs[strengthInput(adapter.name)]!, weights: own });
      y = tf.add(y, hook("hook_delta", delta));
    }
    return y;
  }

  lookup(siteName: string, ids: Tensor): Tensor {
    const spec = this.spec(siteName);
    const rows = (table: Tensor) => tf.gather(table, ids);
    let y = rows(this.weights[`W:${spec.weight}`]!);
    const base = y;
    for (const { adapter, saved } of this.saved) {
      if (saved.param === spec.weight)
        y = tf.add(y, tf.mul(this.inputs[strengthInput(adapter.name)]!, tf.sub(rows(this.weights[`S:${adapter.name}:${spec.weight}`]!), base)));
    }
    for (const { adapter } of this.sites.get(siteName) ?? []) {
      const own = this.adapterWeights(adapter, siteName);
      const coefficients = tf.transpose(tf.gather(own["read"]!, ids, 1), [1, 2, 0]); // [rank, batch, pos] → [batch, pos, rank]
      const gated = tf.mul(coefficients, this.inputs[gateInput(adapter.name, siteName)]!);
      y = tf.add(y, adapter.method.delta({ x: y, base, gated, strength: this.inputs[strengthInput(adapter.name)]!, weights: own }));
    }
    return y;
  }

  hook(name: string, value: Tensor): Tensor {
    this.fired.add(name);
    let result = value;
    if (this.plan.edits.some((edit) => edit.hook === name)) {
      const mask = this.inputs[maskInput(name)]!;
      // x + m (v − x), not (1−m) x + m v: where m is 0 the value stays bit-equal. A select keeps −∞ scores from becoming NaN.
      result = tf.where(tf.greater(tf.add(mask, tf.zerosLike(value)), 0.5), tf.add(this.inputs[valueInput(name)]!, tf.zerosLike(value)), value);
    }
    if (this.plan.taps.includes(name)) this.tapped[tapOutput(name)] = result;
    return result;
  }

  rotary(): { cos: Tensor; sin: Tensor } {
    return { cos: this.inputs["cos"]!, sin: this.inputs["sin"]! };
  }

  /** @throws "hook.neverFired" naming every tap or edit that the forward pass never reached */
  finish(): Tensors {
    const asked = [...this.plan.taps, ...this.plan.edits.map((edit) => edit.hook)];
    const silent = asked.filter((name) => !this.fired.has(name));
    if (silent.length > 0) throw new WorkbenchError("hook.neverFired", `${this.plan.stage} ${this.layer}: hooks never fired: ${silent.join(", ")}`);
    return this.tapped;
  }

  private spec(siteName: string): SiteSpec {
    const { model, stage, layer } = this.plan;
    return model.family.sites(model.config, stage, layer).find((site) => site.name === siteName)!;
  }

  private adapterWeights(adapter: LoadedAdapter, siteName: string): Tensors {
    const prefix = `A:${adapter.name}:${siteName}:`;
    return Object.fromEntries(Object.entries(this.weights).flatMap(([name, tensor]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), tensor]] : [])));
  }

  /** x Wᵀ + b over the last axis, as one two-dimensional product. */
  private product(x: Tensor, weight: Tensor, spec: Pick<SiteSpec, "dIn" | "dOut" | "stored">, bias: Tensor | null = null): Tensor {
    const rows = this.batch * this.positions;
    const flat = tf.matMul(tf.reshape(x, [rows, spec.dIn]), weight, false, spec.stored === "outIn");
    return tf.reshape(bias ? tf.add(flat, bias) : flat, [this.batch, this.positions, spec.dOut]);
  }

  /** W x where an adapter saved a whole W: W x + strength · (W_saved x − W x). */
  private savedMix(spec: SiteSpec, base: Tensor, x: Tensor): Tensor {
    let mixed = base;
    for (const { adapter, saved } of this.saved) {
      if (saved.param !== spec.weight) continue;
      const whole = this.product(x, this.weights[`S:${adapter.name}:${spec.weight}`]!, spec);
      mixed = tf.add(mixed, tf.mul(this.inputs[strengthInput(adapter.name)]!, tf.sub(whole, base)));
    }
    return mixed;
  }
}
