/** The Frame that a family's code sees while a segment is traced: base parameters, what adapters put beside or in place of them, taps and edits. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import { WorkbenchError } from "../errors.ts";
import type { Frame, Seen, Segment, SiteSpec } from "../models/family.ts";
import type { Tensors } from "../tensors/engine.ts";
import type { ConfigView } from "./configReads.ts";

/** What one adapter adds at one site, loaded or in training. */
export interface AdapterTerm {
  /** Name inside the segment. */
  readonly site: string;
  readonly adapter: string;
  /** `[batch, pos, dOut]`, or `[batch · pos, dOut]` where the frame works on rows. */
  delta(frame: TermFrame): Tensor;
}

export interface TermFrame {
  /** The site's input, `[batch, pos, dIn]` or `[batch · pos, dIn]`; at an embedding the ids. */
  readonly x: Tensor;
  readonly isLookup: boolean;
  /** What stands so far without the bias: W x, and what the adapters before this one added. As PEFT does, a DoRA rescales the rows of that. */
  standing(): Tensor;
  /** W as the site's `stored` says. */
  readonly weight: Tensor;
  /** x Fᵀ of a factor `[rank, dIn]`, shaped as x. */
  project(x: Tensor, factor: Tensor): Tensor;
  hook(name: string, value: Tensor): Tensor;
}

/** A parameter that an adapter replaces whole: p + strength · (value − p). */
export interface Replacement {
  readonly value: Tensor;
  /** `[batch, 1, 1]` */
  readonly strength: Tensor;
}

/** An intervention: where the mask is 1, the hook takes the value. */
export interface Replaced {
  /** Name inside the segment. */
  readonly hook: string;
  readonly mask: Tensor;
  readonly value: Tensor;
}

export interface FrameParts {
  readonly segment: Segment;
  readonly view: ConfigView;
  readonly batch: number;
  readonly positions: number;
  /** A parameter of the base, in its stored layout; undefined when the segment has none of that name. */
  param(name: string): Tensor | undefined;
  replacements(param: string): readonly Replacement[];
  /** In the order in which the adapters act. */
  terms(site: string): readonly AdapterTerm[];
  /** Terms see `[batch · pos, d]` when true, which spares reshapes; else `[batch, pos, d]`, so that a number a batch row broadcasts. */
  readonly onRows: boolean;
  readonly taps: ReadonlySet<string>;
  /** In their order: of several at one place the last stands. */
  readonly edits: readonly Replaced[];
  /** Of the positions that this run leaves out, one row for all or one each; null at the beginning of a prompt. */
  readonly before?: KeysAndValues | null;
  /** The one position whose output is wanted, `[1]` int32; null when all are. */
  readonly asked?: Tensor | null;
  /** Takes the place of the head's product, for a caller that makes logits of some rows only. Gets the rows `[batch · pos, dIn]`. */
  readonly head?: (site: SiteSpec, rows: Tensor, weight: Tensor, terms: readonly AdapterTerm[], at: (x: Tensor) => TermFrame) => void;
}

/** What attention leaves of each position for those after it: `[batch, pos, kvHeads, dHead]` each. */
export type KeysAndValues = Pick<Seen, "k" | "v">;

export interface TracedSegment {
  readonly out: Tensor;
  /** By their names. */
  readonly taps: Tensors;
  /** Of this run's own positions; null where nothing attends. */
  readonly keys: KeysAndValues | null;
}

/** Runs a segment's code. @throws "hook.neverFired" naming every tap or edit that was not reached */
export function traceSegment(parts: FrameParts, streams: Tensors): TracedSegment {
  const frame = new TracedFrame(parts);
  const out = parts.segment.run(frame, streams);
  return { out, ...frame.finish(out) };
}

class TracedFrame implements Frame {
  readonly config;
  readonly ofLayer;
  readonly batch: number;
  readonly positions: number;
  readonly #parts: FrameParts;
  readonly #tapped: Tensors = {};
  readonly #fired = new Set<string>();
  #keys: KeysAndValues | null = null;

  constructor(parts: FrameParts) {
    this.#parts = parts;
    this.config = parts.view.config;
    this.ofLayer = parts.view.ofLayer;
    this.batch = parts.batch;
    this.positions = parts.positions;
  }

  vector(name: string, rank: number): Tensor {
    const base = this.#param(name);
    // One row a world, broadcast over all axes between batch and the last.
    const perRow = (x: Tensor, rows: number) => tf.reshape(x, [rows, ...Array.from({ length: rank - 2 }, () => 1), x.size / rows]);
    return this.#mixed(
      name,
      base,
      (value) => perRow(value, 1),
      (strength) => tf.reshape(strength, [this.batch, ...Array.from({ length: rank - 1 }, () => 1)]),
    );
  }

  table(name: string, ids: Tensor): Tensor {
    const rows = (table: Tensor) => tf.expandDims(tf.gather(table, ids), 0);
    const base = rows(this.#param(name));
    const mixed = this.#mixed(name, base, rows, (strength) => strength);
    return mixed === base ? tf.tile(base, [this.batch, 1, 1]) : mixed;
  }

  linear(name: string, x: Tensor): Tensor {
    const parts = this.#parts;
    const spec = this.#site(name);
    const terms = parts.terms(name);
    const weight = this.#param(spec.weight);
    // Keys and values of cross-attention are made of another stack's positions.
    const positions = x.shape[1] ?? this.positions;
    const rows = tf.reshape(x, [this.batch * positions, spec.dIn]);
    if (spec.kind === "head" && parts.head) {
      const at = (given: Tensor) => this.#termFrame(spec, given, weight, () => this.#product(given, weight, spec));
      parts.head(spec, rows, weight, terms, at);
      return x;
    }
    const wide = (flat: Tensor) => tf.reshape(flat, [this.batch, positions, spec.dOut]);
    const product = this.#product(rows, weight, spec);
    const isReplaced = parts.replacements(spec.weight).length > 0 || (spec.bias !== null && parts.replacements(spec.bias).length > 0);
    // One product with its bias where nobody asks for W x alone.
    if (terms.length === 0 && !isReplaced) return wide(spec.bias === null ? product : tf.add(product, this.#param(spec.bias)));
    const onRows = parts.onRows && !isReplaced;
    const base = onRows
      ? product
      : this.#mixed(
          spec.weight,
          wide(product),
          (saved) => wide(this.#product(rows, saved, spec)),
          (strength) => strength,
        );
    const bias = spec.bias === null ? null : this.vector(spec.bias, onRows ? 2 : 3);
    let y = bias ? tf.add(base, bias) : base;
    terms.forEach((term, i) => {
      const sum = y;
      const standing = () => (i === 0 ? base : bias ? tf.sub(sum, bias) : sum);
      y = tf.add(y, term.delta(this.#termFrame(spec, onRows ? rows : x, weight, standing)));
    });
    return onRows ? wide(y) : y;
  }

  lookup(name: string, ids: Tensor): Tensor {
    const spec = this.#site(name);
    const table = this.#param(spec.weight);
    const rows = (from: Tensor) => tf.gather(from, ids);
    let y = this.#mixed(spec.weight, rows(table), rows, (strength) => strength);
    for (const term of this.#parts.terms(name)) {
      const sum = y;
      y = tf.add(y, term.delta({ ...this.#termFrame(spec, ids, table, () => sum), isLookup: true }));
    }
    return y;
  }

  hook(name: string, value: Tensor): Tensor {
    this.#fired.add(name);
    // A select, and no arithmetic: where the mask is 0 the value stays bit-equal, and −∞ scores do not become NaN.
    const replace = (x: Tensor, edit: Replaced) => tf.where(tf.greater(tf.add(edit.mask, tf.zerosLike(x)), 0.5), tf.add(edit.value, tf.zerosLike(x)), x);
    const result = this.#parts.edits.filter(({ hook }) => hook === name).reduce(replace, value);
    if (this.#parts.taps.has(name)) this.#tapped[name] = result;
    return result;
  }

  seen(k: Tensor, v: Tensor): Seen {
    this.#keys = { k, v };
    const { before, asked } = this.#parts;
    const left = before?.k.shape[1] ?? 0;
    const after = (earlier: Tensor | undefined, own: Tensor): Tensor => {
      if (!earlier) return own;
      const [rows = 0, ...rest] = earlier.shape;
      return tf.concat([rows === this.batch ? earlier : tf.tile(earlier, [this.batch, ...rest.map(() => 1)]), own], 1);
    };
    const queries = asked ? tf.add(tf.cast(asked, "float32"), left) : tf.range(left, left + this.positions, 1, "float32");
    return { k: after(before?.k, k), v: after(before?.v, v), queries };
  }

  asked(x: Tensor): Tensor {
    const { asked } = this.#parts;
    return asked ? tf.gather(x, asked, 1) : x;
  }

  /** What was tapped and kept; what was asked for and did not come is an error. */
  finish(out: Tensor): Omit<TracedSegment, "out"> {
    const { taps, edits, segment, before, asked } = this.#parts;
    const silent = [...taps, ...edits.map(({ hook }) => hook)].filter((name) => !this.#fired.has(name));
    if (silent.length > 0) throw new WorkbenchError("hook.neverFired", `${segment.id}: hooks never fired: ${silent.join(", ")}`);
    if (before && !this.#keys) throw new WorkbenchError("internal", `${segment.id}: it goes on after earlier positions and never looked at them`);
    if (asked && out.shape[1] !== 1) throw new WorkbenchError("internal", `${segment.id}: one position was asked for, and [${out.shape.join(", ")}] came`);
    return { taps: this.#tapped, keys: this.#keys };
  }

  #param(name: string): Tensor {
    const value = this.#parts.param(name);
    if (!value) throw new WorkbenchError("internal", `${this.#parts.segment.id}: no parameter "${name}"`);
    return value;
  }

  /** base + Σ strength · (saved − base) over the adapters that replace the parameter, each shaped for its use. */
  #mixed(name: string, base: Tensor, use: (saved: Tensor) => Tensor, perRow: (strength: Tensor) => Tensor): Tensor {
    return this.#parts.replacements(name).reduce((sum, { value, strength }) => tf.add(sum, tf.mul(perRow(strength), tf.sub(use(value), base))), base);
  }

  #termFrame(spec: SiteSpec, x: Tensor, weight: Tensor, standing: () => Tensor): TermFrame {
    return {
      x,
      isLookup: false,
      standing,
      weight,
      project: (input, factor) => {
        const [rank = 0, dIn = 0] = factor.shape;
        const flat = tf.matMul(tf.reshape(input, [input.size / dIn, dIn]), factor, false, true);
        return input.rank === 2 ? flat : tf.reshape(flat, [this.batch, input.size / dIn / this.batch, rank]);
      },
      hook: (name, value) => this.hook(name, value),
    };
  }

  /** x Wᵀ of rows `[n, dIn]`: `[n, dOut]` */
  #product(rows: Tensor, weight: Tensor, { stored }: SiteSpec): Tensor {
    return tf.matMul(rows, weight, false, stored === "outIn");
  }

  #site(name: string): SiteSpec {
    const found = this.#parts.segment.sites.find((site) => site.name === name);
    if (!found) throw new WorkbenchError("internal", `${this.#parts.segment.id}: no site "${name}"`);
    return found;
  }
}
