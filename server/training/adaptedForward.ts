/** The family's forward pass with the adapters as they are being trained: the same frame as an open adapter's, with terms whose tensors are the run's own. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import type { SiteState } from "../adapters/method.ts";
import { WorkbenchError } from "../errors.ts";
import type { Segment, StreamName } from "../models/family.ts";
import { modelSites } from "../models/modelSites.ts";
import { fullName } from "../models/siteNames.ts";
import { didYouMean } from "../nearNames.ts";
import type { ConfigReads } from "../runs/configReads.ts";
import { traceSegment, type AdapterTerm, type FrameParts } from "../runs/frame.ts";
import type { Tensors, Weight } from "../tensors/engine.ts";
import { fullKey, siteKey, type Adaptation } from "./adaptation.ts";

export interface ForwardShape {
  readonly batch: number;
  readonly positions: number;
}

export interface ForwardTensors {
  /** Tokens `[batch, positions]` int32, and what follows from their lengths. */
  readonly streams: Readonly<Record<StreamName, Tensor>>;
  /** Trained tensors by key; in evaluation too they are inputs. */
  readonly trained: Tensors;
  /** Base and frozen tensors, as `forwardWeights` names them. */
  readonly weights: Tensors;
  /** One-hot `[batch, tasks]`; absent when there is one task. */
  readonly tasks?: Tensor;
  /** By site: 0 where an input is dropped, 1/(1 − p) elsewhere, `[rows, dIn]`. */
  readonly dropout?: Tensors;
  /** By site: what the adapter's term of each batch row is multiplied by, `[batch, 1]`; at 0 the row is the base's there. 1 where none is given. */
  readonly gates?: Tensors;
}

export interface ForwardOptions {
  readonly reads: ConfigReads;
  /** Full names of hooks. */
  readonly taps?: ReadonlySet<string>;
  readonly edits?: ReadonlyMap<string, { readonly mask: Tensor; readonly value: Tensor }>;
}

const baseName = (segment: string, param: string): string => `${segment}.${param}`;
const frozenName = (site: string, tensor: string): string => `frozen:${siteKey(site, tensor)}`;

/** Everything that stays: the base's parameters that are not trained, and the methods' frozen tensors. */
export function forwardWeights({ model, sites, full }: Adaptation): Record<string, Weight> {
  const weights: Record<string, Weight> = {};
  for (const { id } of full ? [] : model.plan) for (const [name, weight] of Object.entries(model.weights(id))) weights[baseName(id, name)] = weight;
  for (const { site, frozen } of sites) for (const [name, weight] of Object.entries(frozen)) weights[frozenName(site.name, name)] = weight;
  return weights;
}

/** W of an adapted site, as it is stored. */
export function siteWeight({ model }: Adaptation, site: string, weights: Tensors): Tensor {
  const found = modelSites(model.family, model.config).find(({ fullName: name }) => name === site)!;
  return weights[baseName(found.segment, found.weight)]!;
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
  /** What an adapter at the unembedding adds to the logits of some rows, as many of each batch row, in their order; null when there is none. */
  readonly unembedDelta: ((rows: Tensor) => Tensor) | null;
  /** Inputs of every adapted site, `[rows, dIn]`. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  /** The tapped hooks, by full name, in the order of the forward pass. */
  readonly hooks: ReadonlyMap<string, Tensor>;
}

/** @throws "site.unknown" on a gate where no adapter trains */
export function checkGates({ sites }: Adaptation, gated: readonly string[]): void {
  const adapted = new Set(sites.map(({ site }) => site.name));
  const gate = gated.find((name) => !adapted.has(name));
  if (gate !== undefined) throw new WorkbenchError("site.unknown", `no adapter trains at "${gate}", so it has no gate; ${didYouMean(gate, adapted)}`);
}

/** @throws "hook.unknown" on a tap or an edit that nothing of this forward pass would heed */
function checkHooks({ model }: Adaptation, { taps = new Set(), edits = new Map() }: ForwardOptions): void {
  const hooks = model.plan.flatMap((segment) => segment.hooks.map(({ name }) => fullName(segment, name)));
  const hook = [...taps, ...edits.keys()].find((name) => !hooks.includes(name));
  if (hook !== undefined) throw new WorkbenchError("hook.unknown", `hook "${hook}" is unknown; ${didYouMean(hook, hooks)}`);
}

/** @throws "hook.unknown", "site.unknown" */
export function adaptedForward(adaptation: Adaptation, shape: ForwardShape, tensors: ForwardTensors, options: ForwardOptions): Hidden {
  checkHooks(adaptation, options);
  checkGates(adaptation, Object.keys(tensors.gates ?? {}));
  const { model } = adaptation;
  const inputs = new Map<string, Tensor>();
  const hooks = new Map<string, Tensor>();
  const streams: Tensors = { ...tensors.streams };
  const unembedded: Pick<Hidden, "hidden" | "unembedding" | "unembedDelta">[] = [];
  for (const [index, segment] of model.plan.entries()) {
    const parts: FrameParts = {
      segment,
      view: options.reads.view(index),
      batch: shape.batch,
      positions: shape.positions,
      param: baseParams(adaptation, segment, tensors),
      replacements: () => [],
      terms: trainingTerms(adaptation, segment, shape.batch, tensors, inputs),
      onRows: true,
      taps: new Set(segment.hooks.map(({ name }) => name).filter((name) => options.taps?.has(fullName(segment, name)))),
      edits: segment.hooks.flatMap(({ name }) => {
        const edit = options.edits?.get(fullName(segment, name));
        return edit ? [{ hook: name, ...edit }] : [];
      }),
      // Logits are made by whoever needs them, for the rows that need them.
      head(site, rows, weight, terms, at) {
        const [term] = terms;
        if (term) inputs.set(fullName(segment, site.name), rows);
        unembedded.push({ hidden: rows, unembedding: weight, unembedDelta: term ? (x) => term.delta(at(x)) : null });
      },
    };
    const { out, taps } = traceSegment(parts, streams);
    streams[segment.writes] = out;
    for (const [name, value] of Object.entries(taps)) hooks.set(fullName(segment, name), value);
  }
  const [last] = unembedded;
  if (!last) throw new WorkbenchError("internal", `${model.family.name}: the unembedding never ran`);
  return { ...last, inputs, hooks };
}

/** The parameters of a segment: the base's, or the copies of them that are trained. */
function baseParams({ full }: Adaptation, { id, params }: Segment, { trained, weights }: ForwardTensors): (name: string) => Tensor | undefined {
  if (!full) return (name) => weights[baseName(id, name)];
  const keys = new Map(params.map(({ name, key }) => [name, fullKey(key)]));
  return (name) => trained[keys.get(name) ?? ""];
}

/** What the adapter in training adds at the sites of a segment, on rows `[batch · pos, d]`; notes each site's inputs. */
function trainingTerms(
  { sites, method, options }: Adaptation,
  segment: Segment,
  batch: number,
  tensors: ForwardTensors,
  inputs: Map<string, Tensor>,
): (site: string) => readonly AdapterTerm[] {
  return (local) => {
    const name = fullName(segment, local);
    const state = sites.find(({ site }) => site.name === name);
    if (!state || !method) return [];
    const [trained, frozen] = [siteTensors(state, tensors.trained), frozenTensors(state, tensors.weights)];
    const [mask, gate] = [tensors.dropout?.[name], tensors.gates?.[name]];
    return [
      {
        site: local,
        adapter: "",
        delta(frame) {
          const { x: xClean, weight } = frame;
          inputs.set(name, xClean);
          const [rows = 0] = xClean.shape;
          /** `[batch, n]` → `[rows, n]` */
          const onRows = (each: Tensor) => tf.reshape(tf.tile(tf.expandDims(each, 1), [1, rows / batch, 1]), [rows, each.size / batch]);
          const x = mask ? tf.mul(xClean, mask) : xClean;
          const tasks = tensors.tasks ? onRows(tensors.tasks) : null;
          const delta = method.delta({ site: state.site, options, x, xClean, base: frame.standing(), weight, trained, frozen, tasks });
          return gate ? gated(delta, onRows(gate)) : delta;
        },
      },
    ];
  };
}

/** gate · delta, gate `[rows, 1]`; exactly 0 where the gate is, be the term infinite. */
function gated(delta: Tensor, gate: Tensor): Tensor {
  const none = tf.zerosLike(delta);
  const wide = tf.add(gate, none);
  return tf.where(tf.notEqual(wide, 0), tf.mul(delta, wide), none);
}
