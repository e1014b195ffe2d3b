/** The family's forward pass with the adapters as they are being trained: the Frame whose tensors are the run's own. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import type { SiteState } from "../adapters/method.ts";
import { WorkbenchError } from "../errors.ts";
import type { Frame, ModelConfig, SiteSpec, Stage } from "../models/family.ts";
import { stages } from "../models/family.ts";
import { fullName, layersOf, modelSites } from "../models/modelSites.ts";
import type { Tensors, Weight } from "../tensors/engine.ts";
import { fullKey, siteKey, type Adaptation } from "./adaptation.ts";

export interface ForwardShape {
  readonly batch: number;
  readonly positions: number;
}

export interface ForwardTensors {
  /** `[batch, positions]` int32 */
  readonly tokens: Tensor;
  /** Trained tensors by key; in evaluation too they are inputs. */
  readonly trained: Tensors;
  /** Base and frozen tensors, as `forwardWeights` names them. */
  readonly weights: Tensors;
  /** One-hot `[batch, tasks]`; absent when there is one task. */
  readonly tasks?: Tensor;
  /** `[positions, dHead]` each; absent without rope. */
  readonly cos?: Tensor;
  readonly sin?: Tensor;
  /** By site: 0 where an input is dropped, 1/(1 − p) elsewhere, `[rows, dIn]`. */
  readonly dropout?: Tensors;
}

const baseName = (stage: Stage, layer: number, param: string): string => `${stage}.${layer}.${param}`;
const frozenName = (site: string, tensor: string): string => `frozen:${siteKey(site, tensor)}`;

/** Everything that stays: the base's parameters that are not trained, and the methods' frozen tensors. */
export function forwardWeights({ model, sites, full }: Adaptation): Record<string, Weight> {
  const weights: Record<string, Weight> = {};
  for (const stage of stages) {
    for (const layer of layersOf(model.config, stage)) {
      if (full) continue;
      for (const [name, weight] of Object.entries(model.weights(stage, layer))) weights[baseName(stage, layer, name)] = weight;
    }
  }
  for (const { site, frozen } of sites) for (const [name, weight] of Object.entries(frozen)) weights[frozenName(site.name, name)] = weight;
  return weights;
}

/** W of an adapted site, as it is stored. */
export function siteWeight({ model }: Adaptation, site: string, weights: Tensors): Tensor {
  const found = modelSites(model.family, model.config).find(({ fullName: name }) => name === site)!;
  return weights[baseName(found.stage, found.layer, found.weight)]!;
}

/** The frozen tensors of a site, by the method's names. */
export function frozenTensors(state: SiteState, weights: Tensors): Tensors {
  return Object.fromEntries(Object.keys(state.frozen).map((key) => [key, weights[frozenName(state.site.name, key)]!]));
}

/** The trained tensors of a site, by the method's names. */
export function siteTensors(state: SiteState, trained: Tensors): Tensors {
  return Object.fromEntries(Object.keys(state.trained).map((key) => [key, trained[siteKey(state.site.name, key)]!]));
}

export interface Hidden {
  /** After the final norm, `[rows, dModel]`. */
  readonly hidden: Tensor;
  /** W_U `[vocabulary, dModel]` */
  readonly unembedding: Tensor;
  /** What an adapter at the unembedding adds to the logits of some rows; null when there is none. */
  readonly unembedDelta: ((rows: Tensor) => Tensor) | null;
  /** Inputs of every adapted site, `[rows, dIn]`. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  /** Every hook of the blocks, by full name, in the order of the forward pass. */
  readonly hooks: ReadonlyMap<string, Tensor>;
}

type Unembedded = Omit<Hidden, "inputs" | "hooks">;

/** @param isOn sites whose adapter acts */
export function adaptedForward(adaptation: Adaptation, shape: ForwardShape, tensors: ForwardTensors, isOn: (site: string) => boolean = () => true): Hidden {
  const { model } = adaptation;
  const { family, config } = model;
  const inputs = new Map<string, Tensor>();
  const hooks = new Map<string, Tensor>();
  const frame = (stage: Stage, layer: number) => new AdaptedFrame(adaptation, stage, layer, shape, tensors, isOn, { inputs, hooks });
  let resid = family.embed(frame("embed", 0), tensors.tokens, tf.range(0, shape.positions, 1, "int32"));
  for (const layer of layersOf(config, "block")) resid = family.block(frame("block", layer), resid);
  const last = frame("unembed", 0);
  family.unembed(last, resid);
  return { ...last.unembedded(), inputs, hooks };
}

class AdaptedFrame implements Frame {
  readonly config: ModelConfig;
  readonly layer: number;
  readonly batch: number;
  readonly positions: number;
  readonly #adaptation: Adaptation;
  readonly #stage: Stage;
  readonly #tensors: ForwardTensors;
  readonly #isOn: (site: string) => boolean;
  readonly #seen: { readonly inputs: Map<string, Tensor>; readonly hooks: Map<string, Tensor> };
  readonly #specs: ReadonlyMap<string, SiteSpec>;
  readonly #keys: ReadonlyMap<string, string>;
  #unembedded: Unembedded | null = null;

  constructor(
    adaptation: Adaptation,
    stage: Stage,
    layer: number,
    shape: ForwardShape,
    tensors: ForwardTensors,
    isOn: (site: string) => boolean,
    seen: { readonly inputs: Map<string, Tensor>; readonly hooks: Map<string, Tensor> },
  ) {
    const { family, config } = adaptation.model;
    this.config = config;
    this.layer = layer;
    this.batch = shape.batch;
    this.positions = shape.positions;
    this.#adaptation = adaptation;
    this.#stage = stage;
    this.#tensors = tensors;
    this.#isOn = isOn;
    this.#seen = seen;
    this.#specs = new Map(family.sites(config, stage, layer).map((spec) => [spec.name, spec]));
    this.#keys = new Map(family.params(config, stage, layer).map(({ name, key }) => [name, key]));
  }

  param(name: string): Tensor {
    const { full } = this.#adaptation;
    const tensor = full ? this.#tensors.trained[fullKey(this.#keys.get(name)!)] : this.#tensors.weights[baseName(this.#stage, this.layer, name)];
    if (!tensor) throw new WorkbenchError("internal", `${this.#stage} ${this.layer}: no parameter "${name}"`);
    return tensor;
  }

  linear(name: string, x: Tensor): Tensor {
    const spec = this.#specs.get(name)!;
    const flat = tf.reshape(x, [this.batch * this.positions, spec.dIn]);
    const weight = this.param(spec.weight);
    if (this.#stage === "unembed") {
      // Logits are made by whoever needs them, for the rows that need them.
      this.#unembedded = { hidden: flat, unembedding: weight, unembedDelta: this.#delta(spec, weight) };
      return x;
    }
    const base = tf.matMul(flat, weight, false, spec.stored === "outIn");
    let y: Tensor = spec.bias === null ? base : tf.add(base, this.param(spec.bias));
    const delta = this.#delta(spec, weight);
    if (delta) y = tf.add(y, delta(flat, base));
    return tf.reshape(y, [this.batch, this.positions, spec.dOut]);
  }

  #delta(spec: SiteSpec, weight: Tensor): ((x: Tensor, base?: Tensor) => Tensor) | null {
    const name = fullName(this.#stage, this.layer, spec.name);
    const { sites, method, options } = this.#adaptation;
    const state = sites.find(({ site }) => site.name === name);
    if (!state || !method || !this.#isOn(name)) return null;
    const { site } = state;
    const trained = siteTensors(state, this.#tensors.trained);
    const frozen = frozenTensors(state, this.#tensors.weights);
    return (xClean, given) => {
      this.#seen.inputs.set(name, xClean);
      const base = given ?? tf.matMul(xClean, weight, false, spec.stored === "outIn");
      const mask = this.#tensors.dropout?.[name];
      return method.delta({ site, options, x: mask ? tf.mul(xClean, mask) : xClean, xClean, base, weight, trained, frozen, tasks: this.#taskRows() });
    };
  }

  /** `[batch, tasks]` → `[rows, tasks]` */
  #taskRows(): Tensor | null {
    const { tasks } = this.#tensors;
    if (!tasks) return null;
    const count = tasks.shape[1]!;
    return tf.reshape(tf.tile(tf.expandDims(tasks, 1), [1, this.positions, 1]), [this.batch * this.positions, count]);
  }

  lookup(name: string, ids: Tensor): Tensor {
    return tf.gather(this.param(this.#specs.get(name)!.weight), ids);
  }

  hook(name: string, value: Tensor): Tensor {
    this.#seen.hooks.set(fullName(this.#stage, this.layer, name), value);
    return value;
  }

  rotary(): { cos: Tensor; sin: Tensor } {
    const { cos, sin } = this.#tensors;
    if (!cos || !sin) throw new WorkbenchError("internal", "no rotary tables were given");
    return { cos, sin };
  }

  unembedded(): Unembedded {
    if (!this.#unembedded) throw new WorkbenchError("internal", `${this.#adaptation.model.family.name}: the unembedding never ran`);
    return this.#unembedded;
  }
}
