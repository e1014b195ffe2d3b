/** One segment of the forward pass as a program: base parameters, adapters, taps and interventions, all as named inputs. */
import type { LoadedAdapter } from "../adapters/loadAdapter.ts";
import { WorkbenchError } from "../errors.ts";
import type { Segment, StreamName } from "../models/family.ts";
import type { LoadedModel } from "../models/loadModel.ts";
import type { Engine, Tensors } from "../tensors/engine.ts";
import { int32, type FloatTensor, type HostTensor } from "../tensors/hostTensor.ts";
import { Binding } from "./binding.ts";
import { ConfigReads, programOf } from "./configReads.ts";
import { traceSegment } from "./frame.ts";
import { hookShape, type HookPlace } from "./hookNames.ts";
import { loadedTerms } from "./loadedTerms.ts";
import type { AdapterSetting, BatchEdit } from "./worlds.ts";

export interface PlacedEdit {
  readonly edit: BatchEdit;
  readonly place: HookPlace;
}

export interface SegmentRun {
  readonly model: LoadedModel;
  readonly segment: Segment;
  readonly batch: number;
  /** Of its own stack, and of the one that it crosses to. */
  readonly positions: Readonly<Record<string, number>>;
  readonly streams: Readonly<Record<StreamName, HostTensor | undefined>>;
  /** Adapters that act on some row; the others cost nothing. */
  readonly adapters: readonly LoadedAdapter[];
  /** One a batch row. */
  readonly settings: readonly AdapterSetting[];
  /** All in this segment. */
  readonly taps: readonly HookPlace[];
  readonly edits: readonly PlacedEdit[];
  /** Of the positions before these, which ran earlier; null at the beginning of a prompt. */
  readonly before?: HostKeys | null;
  /** The one of these positions whose output is wanted; null when all are. */
  readonly asked?: number | null;
  /** Whether a later run goes on after these positions. */
  readonly keepsKeys?: boolean;
}

/** What attention leaves of each position for those after it: `[batch, pos, kvHeads, dHead]` each. */
export interface HostKeys {
  readonly k: FloatTensor;
  readonly v: FloatTensor;
}

export interface SegmentResult {
  /** What the segment writes. */
  readonly out: FloatTensor;
  /** By their full names. */
  readonly taps: ReadonlyMap<string, FloatTensor>;
  /** Null where none were kept. */
  readonly keys: HostKeys | null;
}

/** @throws "hook.badShape", "hook.neverFired", "site.unknown" */
export async function runSegment(engine: Engine, run: SegmentRun): Promise<SegmentResult> {
  const { model, segment, batch, positions, streams, settings, taps } = run;
  const binding = new Binding();
  const read = segment.reads.map((name) => {
    const value = streams[name];
    if (!value) throw new WorkbenchError("internal", `${segment.id} reads "${name}", which no segment before it wrote`);
    return [name, binding.input(name, value)] as const;
  });
  const params = new Map(Object.entries(model.weights(segment.id)).map(([name, weight]) => [name, binding.weight(`W:${name}`, weight)]));
  const tapped = new Set(taps.map(({ local }) => local));
  const loaded = loadedTerms(binding, segment, run.adapters, settings, tapped);
  // A hook may be edited more than once: at two tokens, say.
  const edits = run.edits.map(({ edit, place }, i) => {
    checkEdit(edit, hookShape(place, batch, positions));
    const name = `${place.local}${run.edits.slice(0, i).some((earlier) => earlier.place === place) ? ` ${i}` : ""}`;
    return { hook: place.local, mask: binding.input(`mask:${name}`, edit.mask), value: binding.input(`value:${name}`, edit.value) };
  });
  const { before: earlier, asked: place, keepsKeys = false } = run;
  const before = earlier ? { k: binding.input("before:k", earlier.k), v: binding.input("before:v", earlier.v) } : null;
  const asked = typeof place === "number" ? binding.input("asked", int32([place], [1])) : null;
  const reads = new ConfigReads(model.config, [segment.layer]);
  const program = await programOf(engine, {
    code: [segment.run],
    about: [
      siteWords(segment),
      loaded.about,
      `taps ${[...tapped].join(" ")}`,
      `edits ${edits.map(({ hook }) => hook).join(" ")}`,
      keepsKeys ? "keys" : "",
    ].join(" | "),
    reads,
    signature: binding.signature(),
    fn(inputs, weights) {
      const given = { inputs, weights };
      const {
        out,
        taps: values,
        keys,
      } = traceSegment(
        {
          segment,
          view: reads.view(0),
          batch,
          positions: positions[segment.stack] ?? 0,
          param: (name) => params.get(name)?.(given),
          terms: loaded.terms(given),
          replacements: loaded.replacements(given),
          onRows: false,
          taps: tapped,
          edits: edits.map(({ hook, mask, value }) => ({ hook, mask: mask(given), value: value(given) })),
          before: before && { k: before.k(given), v: before.v(given) },
          asked: asked && asked(given),
        },
        Object.fromEntries(read.map(([name, handle]) => [name, handle(given)])),
      );
      const kept: Tensors = keepsKeys && keys ? { "keys:k": keys.k, "keys:v": keys.v } : {};
      return { out, ...kept, ...Object.fromEntries(Object.entries(values).map(([hook, value]) => [`tap:${hook}`, value])) };
    },
  });
  const output = await program.run(binding.inputs, binding.weights);
  const { "keys:k": k, "keys:v": v } = output;
  return {
    out: asFloat(output["out"]),
    taps: new Map(taps.map(({ name, local }) => [name, asFloat(output[`tap:${local}`])])),
    keys: k && v ? { k: asFloat(k), v: asFloat(v) } : null,
  };
}

/** How the segment's sites lie, which the frame reads beside the config. */
export const siteWords = ({ sites }: Segment): string =>
  sites.map(({ name, kind, weight, bias, stored }) => `${name} ${kind} ${weight} ${bias} ${stored}`).join(", ");

/** @param shape of the hook @throws "hook.badShape" */
export function checkEdit(edit: BatchEdit, shape: readonly number[]): void {
  const mask = [...shape.slice(0, -1), 1];
  const same = (found: readonly number[], expected: readonly number[], from: number) =>
    found.length === expected.length && found.slice(from).every((dim, i) => dim === expected[i + from]);
  if (!same(edit.mask.shape, mask, 0))
    throw new WorkbenchError("hook.badShape", `mask for "${edit.hook}" is [${edit.mask.shape.join(", ")}]; expected [${mask.join(", ")}]`);
  if (!same(edit.value.shape, shape, 1) || (edit.value.shape[0] !== 1 && edit.value.shape[0] !== shape[0])) {
    throw new WorkbenchError("hook.badShape", `value for "${edit.hook}" is [${edit.value.shape.join(", ")}]; expected [${shape.join(", ")}], or 1 row for all`);
  }
}

export function asFloat(tensor: HostTensor | undefined): FloatTensor {
  if (tensor?.dtype !== "float32") throw new WorkbenchError("internal", `expected a float32 tensor, found ${tensor?.dtype ?? "none"}`);
  return tensor;
}
