/** Runs the forward pass segment by segment over a batch of worlds: from the tokens, or restarted at any segment. */
import type { LoadedAdapter } from "../adapters/loadAdapter.ts";
import { WorkbenchError } from "../errors.ts";
import type { Segment, StreamName } from "../models/family.ts";
import type { LoadedModel } from "../models/loadModel.ts";
import { inputsOf, segmentIndex, streamsEntering } from "../models/plan.ts";
import { didYouMean } from "../nearNames.ts";
import type { Engine } from "../tensors/engine.ts";
import { float32, int32, sizeOf, type FloatTensor, type HostTensor } from "../tensors/hostTensor.ts";
import { allHooks, hookPlace, hookShape, type HookPlace, type Positions } from "./hookNames.ts";
import { checkPrompt } from "./promptTokens.ts";
import { asFloat, runSegment, type HostKeys, type SegmentRun } from "./segmentProgram.ts";
import { strengthOf, type AdapterSetting, type BatchEdit } from "./worlds.ts";

/** Where a run can go on: all that a segment and those after it read of what came before. */
export interface Entry {
  readonly segment: string;
  /** Of each stack, in all. */
  readonly positions: Readonly<Record<string, number>>;
  /** One row a world each; of a run that goes on after a prompt's beginning, those of the positions left. */
  readonly streams: Readonly<Record<StreamName, HostTensor>>;
  /** Where the positions left begin, when it is not the prompt's beginning. */
  readonly after?: Beginning;
}

/** A prompt's beginning, which ran before. */
export interface Beginning {
  readonly positions: number;
  /** What its attention left, by segment. */
  readonly keys: ReadonlyMap<string, HostKeys>;
}

export interface ForwardRequest {
  /** Token ids, one row a world, all of one length; or where to go on. */
  readonly tokens?: readonly (readonly number[])[];
  /** What else the model reads, `[batch, places, …]`: the tokens or frames of an encoder. */
  readonly inputs?: Readonly<Record<StreamName, HostTensor>>;
  readonly start?: Entry;
  /** One a row, or one for all. */
  readonly settings: readonly AdapterSetting[];
  readonly edits?: readonly BatchEdit[];
  /** Full hook names. */
  readonly taps?: readonly string[];
  /** Where logits are wanted: every position, one position of each row, or nowhere. */
  readonly logits: "all" | "none" | { readonly position: number };
  /** Segments that a later run may start at. */
  readonly keep?: readonly string[];
  /** Segments whose keys and values a later run goes on from. */
  readonly keepKeys?: readonly string[];
  readonly signal?: AbortSignal;
}

export interface ForwardResult {
  readonly taps: Readonly<Record<string, FloatTensor>>;
  /** `[batch, pos, dVocab]`; pos is 1 when one position was asked for. */
  readonly logits: FloatTensor | null;
  /** Of the kept segments. */
  readonly entering: ReadonlyMap<string, Entry>;
  /** Of the segments whose keys were kept, `[batch, pos, kvHeads, dHead]`. */
  readonly keys: ReadonlyMap<string, HostKeys>;
}

interface Outset {
  readonly batch: number;
  /** In all. */
  readonly positions: Readonly<Record<string, number>>;
  readonly streams: Readonly<Record<StreamName, HostTensor>>;
}

export class Runner {
  readonly model: LoadedModel;
  readonly adapters: readonly LoadedAdapter[];
  readonly engine: Engine;
  readonly hooks: ReadonlyMap<string, HookPlace>;

  constructor(model: LoadedModel, adapters: readonly LoadedAdapter[], engine: Engine) {
    this.model = model;
    this.adapters = adapters;
    this.engine = engine;
    this.hooks = allHooks(model, adapters);
  }

  /** Bytes the taps of a request will hold, known before it runs. */
  tapBytes(taps: readonly string[], batch: number, positions: Positions): number {
    return taps.reduce((sum, name) => sum + 4 * sizeOf(hookShape(hookPlace(this.hooks, name), batch, positions)), 0);
  }

  /**
   * @throws "prompt.empty", "prompt.tooLong", "prompt.lengthMismatch", "prompt.unknownToken", "hook.unknown", "hook.badShape",
   *   "hook.neverFired", "adapter.unknown", "job.cancelled"
   */
  async forward(request: ForwardRequest): Promise<ForwardResult> {
    const { plan, config, family } = this.model;
    const { batch, positions: all, streams: given } = request.start ? this.#goingOn(request.start) : this.#given(request);
    const after = request.start?.after ?? null;
    const left = after?.positions ?? 0;
    const positions = Object.fromEntries(Object.entries(all).map(([stack, count]) => [stack, count - left]));
    const settings = this.#settings(request.settings, batch);
    const place = (name: string) => hookPlace(this.hooks, name);
    const taps = (request.taps ?? []).map(place);
    const edits = (request.edits ?? []).map((edit) => ({ edit, place: place(edit.hook) }));
    const start = request.start ? segmentIndex(plan, request.start.segment) : 0;
    const last = plan.length - 1;
    const placeOf = ({ segment }: HookPlace) => segmentIndex(plan, segment);
    const early = [...taps, ...edits.map((each) => each.place)].find((each) => placeOf(each) < start);
    if (early) throw new WorkbenchError("hook.neverFired", `hook "${early.name}" lies before ${request.start?.segment}, where this run starts`);
    const kept = (request.keep ?? []).map((id) => segmentIndex(plan, id));
    const withKeys = new Set(request.keepKeys ?? []);
    const attended = plan.flatMap(({ id }, index) => (withKeys.has(id) ? [index] : []));
    const end = request.logits !== "none" ? last : Math.max(0, ...taps.map(placeOf), ...attended, ...kept.map((index) => index - 1));

    // Only the tokens come from outside; what follows from their lengths is not carried over from an earlier run.
    const tables = Object.entries(family.tables(config, { positions: all, lengths: [Math.max(...Object.values(all))] }));
    const streams = new Map<StreamName, HostTensor>([
      ...tables.map(([name, table]): [StreamName, HostTensor] => [name, left === 0 ? table : fromRow(table, left)]),
      ...Object.entries(given),
    ]);
    const collected: Record<string, FloatTensor> = {};
    const entering = new Map<string, Entry>();
    const keys = new Map<string, HostKeys>();
    const wanted = typeof request.logits === "object" ? request.logits.position - left : null;
    const isLookedInto = (id: string) => [...taps, ...edits.map(({ place }) => place)].some(({ segment }) => segment === id);
    // Where one position's logits are wanted and nobody looks inside, the last layer's queries and the head run there alone.
    const isHeadAlone = wanted !== null && plan[last]?.isPositionwise === true && !isLookedInto(plan[last].id);
    const isLayerAlone = (index: number, { id, resumes }: Segment) =>
      isHeadAlone && index === last - 1 && resumes === true && !kept.includes(last) && !isAskedBehindEntry(id, taps, edits);
    let logits: FloatTensor | null = null;
    for (const [index, segment] of plan.entries()) {
      if (index < start) continue;
      if (kept.includes(index)) entering.set(segment.id, { segment: segment.id, positions: all, streams: this.#entering(index, streams) });
      if (index > end) continue;
      if (request.signal?.aborted) throw new WorkbenchError("job.cancelled", "cancelled");
      const here = (each: HookPlace) => each.segment === segment.id;
      const [segmentTaps, segmentEdits] = [taps.filter(here), edits.filter((each) => here(each.place))];
      const alone = index === last && isHeadAlone ? wanted : null;
      const found = await this.#run(segment, {
        batch,
        positions: alone === null ? positions : { ...positions, [segment.stack]: 1 },
        streams: Object.fromEntries(segment.reads.map((name) => [name, alone === null ? streams.get(name) : atPosition(asFloat(streams.get(name)), alone)])),
        settings,
        taps: segmentTaps,
        edits: segmentEdits,
        before: after && segment.isPositionwise !== true ? this.#keysBefore(after, segment) : null,
        asked: isLayerAlone(index, segment) ? wanted : null,
        keepsKeys: withKeys.has(segment.id),
      });
      for (const [name, value] of found.taps) collected[name] = value;
      if (found.keys) keys.set(segment.id, found.keys);
      streams.set(segment.writes, found.out);
      if (index === last && request.logits !== "none") logits = wanted === null || alone !== null ? found.out : takePosition(found.out, wanted);
    }
    return { taps: collected, logits, entering, keys };
  }

  #keysBefore({ keys }: Beginning, { id }: Segment): HostKeys {
    const found = keys.get(id);
    if (!found) throw new WorkbenchError("internal", `${id}: a run goes on after a prompt's beginning whose keys were not kept`);
    return found;
  }

  /**
   * The logit lens: any residual straight through the final norm and the unembedding.
   * @param resid `[batch, pos, dModel]`
   * @returns `[batch, pos, dVocab]`
   */
  async readOut(resid: FloatTensor, settings: readonly AdapterSetting[]): Promise<FloatTensor> {
    const [batch = 0, positions = 0] = resid.shape;
    const segment = this.model.plan.at(-1);
    if (!segment) throw new WorkbenchError("internal", `${this.model.family.name} has no head`);
    const streams = Object.fromEntries(segment.reads.map((name) => [name, resid]));
    const given = { batch, positions: { [segment.stack]: positions }, streams, settings: this.#settings(settings, batch), taps: [], edits: [] };
    return (await this.#run(segment, given)).out;
  }

  #run(segment: Segment, given: Omit<SegmentRun, "model" | "segment" | "adapters">): ReturnType<typeof runSegment> {
    const looked = new Set([...given.taps, ...given.edits.map(({ place }) => place)].map(({ adapter }) => adapter));
    const adapters = this.adapters.filter(({ name }) => looked.has(name) || given.settings.some((setting) => strengthOf(setting, name) !== 0));
    return runSegment(this.engine, { ...given, model: this.model, segment, adapters });
  }

  /** What a segment and those after it read of what came before. */
  #entering(index: number, all: ReadonlyMap<StreamName, HostTensor>): Record<StreamName, HostTensor> {
    const { family, plan } = this.model;
    return Object.fromEntries(
      streamsEntering(family, plan, index).flatMap((name) => {
        const value = all.get(name);
        return value ? [[name, value]] : [];
      }),
    );
  }

  #goingOn({ positions, streams }: Entry): Outset {
    const batch = Object.values(streams)[0]?.shape[0] ?? 0;
    return { batch, positions, streams };
  }

  #given(request: ForwardRequest): Outset {
    const streams: Record<StreamName, HostTensor> = { ...request.inputs };
    const tokens = request.tokens ?? [];
    if (request.tokens || !request.inputs) streams["tokens"] = this.#tokenStream(tokens);
    const positions: Record<string, number> = {};
    for (const [name, stack] of Object.entries(inputsOf(this.model.family))) {
      const given = streams[name];
      if (!given) throw new WorkbenchError("prompt.empty", `${this.model.name} reads "${name}", which was not given`);
      if (given.shape[0] !== streams["tokens"]?.shape[0])
        throw new WorkbenchError("prompt.lengthMismatch", `"${name}" has ${given.shape[0]} rows; expected ${streams["tokens"]?.shape[0]}, as the tokens have`);
      positions[stack] = given.shape[1] ?? 0;
    }
    return { batch: tokens.length, positions, streams };
  }

  #tokenStream(tokens: readonly (readonly number[])[]): HostTensor {
    const [first = []] = tokens;
    if (tokens.some((row) => row.length !== first.length))
      throw new WorkbenchError(
        "prompt.lengthMismatch",
        `prompts of one batch have ${[...new Set(tokens.map((row) => row.length))].join(" and ")} tokens; expected one length`,
      );
    for (const row of [first, ...tokens.slice(1)]) checkPrompt(row, this.model);
    return int32(tokens.flat(), [tokens.length, first.length]);
  }

  #settings(given: readonly AdapterSetting[], batch: number): readonly AdapterSetting[] {
    if (given.length !== 1 && given.length !== batch) throw new WorkbenchError("internal", `${given.length} adapter settings for ${batch} rows`);
    for (const setting of given) {
      for (const name of [...Object.keys(setting.strengths), ...(setting.components ?? []).map((gate) => gate.adapter)]) {
        if (!this.adapters.some((adapter) => adapter.name === name)) {
          throw new WorkbenchError(
            "adapter.unknown",
            `adapter "${name}" is not open; ${didYouMean(
              name,
              this.adapters.map((adapter) => adapter.name),
            )}`,
          );
        }
      }
    }
    return given.length === batch ? given : Array.from({ length: batch }).flatMap(() => given);
  }
}

/** Whether a tap or an edit lies behind the residual stream that enters a layer: there its positions are gone. */
function isAskedBehindEntry(segment: string, taps: readonly HookPlace[], edits: readonly { readonly place: HookPlace }[]): boolean {
  const here = [...taps, ...edits.map(({ place }) => place)].filter((place) => place.segment === segment);
  return here.some(({ local }) => local !== "hook_resid_pre");
}

/** `[pos, …]` → `[pos − first, …]` */
function fromRow<T extends HostTensor>(table: T, first: number): T {
  const [rows = 0, ...rest] = table.shape;
  return { ...table, shape: [rows - first, ...rest], data: table.data.subarray(first * sizeOf(rest)) };
}

/** At one position, where there are more. */
const atPosition = (x: FloatTensor, position: number): FloatTensor => (x.shape[1] === 1 ? x : takePosition(x, position));

/** `[batch, pos, d]` → `[batch, 1, d]` at one position. */
function takePosition(x: FloatTensor, position: number): FloatTensor {
  const [batch = 0, positions = 0, d = 0] = x.shape;
  const data = new Float32Array(batch * d);
  for (let row = 0; row < batch; row++) data.set(x.data.subarray((row * positions + position) * d, (row * positions + position + 1) * d), row * d);
  return float32(data, [batch, 1, d]);
}
