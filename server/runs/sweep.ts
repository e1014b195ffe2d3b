/**
 * The sweep planner. Thousands of worlds become few, full batches:
 *   1. group by the first segment that differs from the run patched into, and restart there from what entered it;
 *   2. stack the worlds of a group as rows, each with its own mask, value and adapter gates, and leave out the tokens before their
 *      first change, whose keys and values the run patched into has;
 *   3. compute logits at the answer position only;
 *   4. hand out each finished tile at once, top layers (the cheapest) first, and check for cancellation between tiles.
 * `naiveSweep` runs one whole forward pass a world; the law suite holds both to the same numbers.
 */
import { WorkbenchError } from "../errors.ts";
import { inputsOf } from "../models/plan.ts";
import { fullName } from "../models/siteNames.ts";
import { didYouMean } from "../nearNames.ts";
import { float32, int32, sizeOf, type FloatTensor, type HostTensor } from "../tensors/hostTensor.ts";
import { hookPlace, hookShape, type HookPlace, type Positions } from "./hookNames.ts";
import type { Entry, ForwardResult, Runner } from "./runner.ts";
import type { HostKeys } from "./segmentProgram.ts";
import { canGoOn, laterTiles, tokensBefore, type LaterTile, type TileCosts } from "./beginnings.ts";
import { filled } from "./tiles.ts";
import { strengthOf, type AdapterSetting, type BatchEdit, type ComponentGate, type World } from "./worlds.ts";
import { at } from "../at.ts";

export interface SweepRequest {
  readonly runner: Runner;
  /** The prompt patched into. */
  readonly tokens: readonly number[];
  /** What else the model reads, one row. */
  readonly inputs?: Readonly<Record<string, HostTensor>>;
  /** Its adapters; a world may differ from it. */
  readonly setting: AdapterSetting;
  readonly worlds: readonly World[];
  /** Values by source name and hook name, `[1, pos, …]`. */
  readonly sources: Readonly<Record<string, Readonly<Record<string, FloatTensor>>>>;
  /** Position whose logits are wanted. */
  readonly position: number;
  /** Refuse to start when more would be held than this. */
  readonly budgetBytes?: number;
  /** What a batch costs beside its tokens, on a machine unlike the usual. */
  readonly costs?: TileCosts;
  readonly signal?: AbortSignal;
}

export interface SweepTile {
  /** Indices into `worlds`. */
  readonly worlds: readonly number[];
  /** `[worlds, dVocab]` */
  readonly logits: FloatTensor;
}

interface StartedTile extends LaterTile {
  /** Place in the plan of the segment where the run starts. */
  readonly start: number;
}

export interface SweepPlan {
  /** Of indices into `worlds`. */
  readonly tiles: readonly StartedTile[];
  /** Residual cache plus the largest tile's activations. */
  readonly bytes: number;
}

/** @throws "hook.unknown", "site.unknown", "run.overBudget" with the number of bytes */
export function planSweep(request: SweepRequest): SweepPlan {
  const { runner, worlds, tokens, budgetBytes = 4 * 2 ** 30 } = request;
  const { config } = runner.model;
  const indices = placesInPlan(runner);
  const groups = new Map<string, { start: number; worlds: number[] }>();
  worlds.forEach((world, index) => {
    const start = firstSegment(request, world, indices);
    const key = `${start}|${world.edits.map((edit) => `${edit.hook}@${edit.source}`).join(",")}`;
    const group = groups.get(key) ?? { start, worlds: [] };
    group.worlds.push(index);
    groups.set(key, group);
  });
  const after = (index: number): number => {
    const { setting, edits } = at(worlds, index);
    return isSameSetting(request, setting) ? tokensBefore(runner, edits, request.position) : 0;
  };
  const tiles = [...groups.values()]
    .sort((a, b) => b.start - a.start)
    .flatMap(({ start, worlds: members }) => {
      const shared = canGoOn(runner, start) ? after : () => 0;
      return laterTiles(members, { config, length: tokens.length, after: shared, sharing: groups.size, costs: request.costs }).map((tile) => ({
        start,
        ...tile,
      }));
    });
  const rows = Math.max(1, ...tiles.map((tile) => tile.rows));
  const perToken = 8 * config.dModel + 2 * config.dMlp + 2 * config.nHeads * tokens.length;
  // Of the tokens left out, each row has the keys and values: repeated, and again behind one another with its own.
  const perEarlier = 4 * config.nHeads * config.dHead;
  const most = Math.max(perToken, ...tiles.map(({ rows: count, after: left }) => count * ((tokens.length - left) * perToken + left * perEarlier)));
  const perKept = (config.nLayers + 1) * config.dModel + (tiles.some((tile) => tile.after > 0) ? 2 * config.nLayers * config.nKvHeads * config.dHead : 0);
  const bytes = 4 * (tokens.length * perKept + most + rows * config.dVocab);
  if (bytes > budgetBytes)
    throw new WorkbenchError("run.overBudget", `this sweep would hold ${bytes} bytes; the budget is ${budgetBytes}. Use a shorter prompt or fewer worlds`);
  return { tiles, bytes };
}

/** @throws what planSweep and Runner.forward throw; "job.cancelled" when the signal aborts */
export async function* sweep(request: SweepRequest): AsyncGenerator<SweepTile, void, void> {
  const { runner, tokens, setting, position } = request;
  const { tiles } = planSweep(request);
  const { plan } = runner.model;
  const keep = [...new Set(tiles.map(({ start }) => start))].filter((start) => start > 0).map((start) => plan[start]?.id ?? "");
  const first = Math.min(plan.length, ...tiles.flatMap(({ start, after }) => (after > 0 ? [start] : [])));
  const keepKeys = plan.slice(first).flatMap(({ id, resumes }) => (resumes === true ? [id] : []));
  const given = { tokens: [tokens], ...moreInputs(request, 1), settings: [setting], ...signalOf(request) };
  const patched = await runner.forward({ ...given, keep, keepKeys, logits: "none" });
  for (const tile of tiles) {
    if (request.signal?.aborted) throw new WorkbenchError("job.cancelled", "cancelled");
    const members = filled(tile).map((index) => at(request.worlds, index));
    const start = entryOf(request, patched, tile) ?? { tokens: members.map(() => tokens), ...moreInputs(request, tile.rows) };
    const { logits } = await runner.forward({
      ...start,
      settings: members.map((world) => world.setting),
      edits: batchEdits(request, members, tile.after),
      logits: { position },
      ...signalOf(request),
    });
    const dVocab = runner.model.config.dVocab;
    const worlds = tile.members;
    yield { worlds, logits: float32(logits!.data.subarray(0, worlds.length * dVocab), [worlds.length, dVocab]) };
  }
}

/** Where a tile goes on; null where it begins with the tokens. */
function entryOf({ runner, tokens }: SweepRequest, patched: ForwardResult, { start, after, rows }: StartedTile): { readonly start: Entry } | null {
  const { plan, family } = runner.model;
  const segment = plan[start]?.id ?? "";
  const entry = patched.entering.get(segment);
  if (after === 0) return entry ? { start: { ...entry, streams: repeated(entry.streams, rows) } } : null;
  const [stack = ""] = Object.values(inputsOf(family));
  const streams = entry?.streams ?? { tokens: int32(tokens, [1, tokens.length]) };
  const left = Object.fromEntries(Object.entries(streams).map(([name, x]) => [name, fromPosition(x, after)]));
  const positions = { [stack]: tokens.length };
  return { start: { segment, positions, streams: repeated(left, rows), after: { positions: after, keys: cutKeys(patched.keys, after) } } };
}

/** Of the first positions alone. */
const cutKeys = (keys: ReadonlyMap<string, HostKeys>, positions: number): Map<string, HostKeys> =>
  new Map([...keys].map(([segment, { k, v }]) => [segment, { k: toPosition(k, positions), v: toPosition(v, positions) }]));

/** `[1, pos, …]` → `[1, positions, …]`, the first. */
function toPosition(x: FloatTensor, positions: number): FloatTensor {
  const rest = x.shape.slice(2);
  return float32(x.data.subarray(0, positions * sizeOf(rest)), [1, positions, ...rest]);
}

/** `[1, pos, …]` → `[1, pos − first, …]` */
function fromPosition<T extends HostTensor>(x: T, first: number): T {
  const [, positions = 0, ...rest] = x.shape;
  return { ...x, shape: [1, positions - first, ...rest], data: x.data.subarray(first * sizeOf(rest)) };
}

/** Whether a world's adapters act as in the run patched into. */
function isSameSetting({ runner, setting }: SweepRequest, other: AdapterSetting): boolean {
  return runner.adapters.every(({ name }) => strengthOf(other, name) === strengthOf(setting, name)) && differingGates(other, setting).length === 0;
}

/** One whole forward pass a world: slow and obvious, the reference for `sweep`. */
export async function* naiveSweep(request: SweepRequest): AsyncGenerator<SweepTile, void, void> {
  for (const [index, world] of request.worlds.entries()) {
    const { logits } = await request.runner.forward({
      tokens: [request.tokens],
      ...moreInputs(request, 1),
      settings: [world.setting],
      edits: batchEdits(request, [world]),
      logits: "all",
      ...signalOf(request),
    });
    const dVocab = request.runner.model.config.dVocab;
    const at = request.position * dVocab;
    yield { worlds: [index], logits: float32(logits!.data.slice(at, at + dVocab), [1, dVocab]) };
  }
}

/** Place in the plan of each segment, by its id, and of each site, by its full name. */
function placesInPlan({ model: { plan } }: Runner): ReadonlyMap<string, number> {
  return new Map(
    plan.flatMap((segment, index) => [segment.id, ...segment.sites.map(({ name }) => fullName(segment, name))].map((name) => [name, index] as const)),
  );
}

/** Place of the first segment where a world differs from the run it is patched into; the last when it does not. */
function firstSegment({ runner, setting }: SweepRequest, world: World, indices: ReadonlyMap<string, number>): number {
  let first = runner.model.plan.length - 1;
  const differsAt = (name: string) => {
    first = Math.min(first, indices.get(name) ?? 0);
  };
  for (const { hook } of world.edits) differsAt(hookPlace(runner.hooks, hook).segment);
  for (const { name, sites, saved } of runner.adapters) {
    if (strengthOf(world.setting, name) === strengthOf(setting, name)) continue;
    for (const site of sites.keys()) differsAt(site);
    for (const { segment } of saved) differsAt(segment);
  }
  for (const gate of differingGates(world.setting, setting)) {
    if (!runner.adapters.some(({ name, sites }) => name === gate.adapter && sites.has(gate.site))) {
      const known = runner.adapters.flatMap((adapter) => [...adapter.sites.keys()]);
      throw new WorkbenchError("site.unknown", `adapter "${gate.adapter}" has no site "${gate.site}"; ${didYouMean(gate.site, known)}`);
    }
    differsAt(gate.site);
  }
  return first;
}

/** Gates that only one of two settings has, or that have another value there. */
function differingGates(one: AdapterSetting, other: AdapterSetting): ComponentGate[] {
  const byPlace = ({ components = [] }: AdapterSetting) => {
    const found = new Map<string, ComponentGate>();
    for (const gate of components) {
      const place = `${gate.adapter}|${gate.site}|${gate.component}`;
      found.set(place, { ...gate, value: gate.value * (found.get(place)?.value ?? 1) });
    }
    return found;
  };
  const [ours, theirs] = [byPlace(one), byPlace(other)];
  return [...[...ours].filter(([place, { value }]) => theirs.get(place)?.value !== value), ...[...theirs].filter(([place]) => !ours.has(place))].map(
    ([, gate]) => gate,
  );
}

/** All worlds of a tile edit the same hooks from the same sources; only the masks differ. @param after tokens that are left out */
function batchEdits(request: SweepRequest, members: readonly World[], after = 0): BatchEdit[] {
  return at(members, 0).edits.map(({ hook, source }, i) => {
    const place = hookPlace(request.runner.hooks, hook);
    const value = request.sources[source]?.[hook];
    if (!value) throw new WorkbenchError("internal", `sweep: source "${source}" has no values for "${hook}"`);
    return {
      hook,
      value: after === 0 ? value : fromPosition(value, after),
      mask: editMask(
        place,
        members.map((world) => at(world.edits, i)).map((edit) => ({ ...edit, position: edit.position === null ? null : edit.position - after })),
        positionsOf(request, after),
      ),
    };
  });
}

/** 1 at the edited position and head of each row: the hook's shape with its last axis 1. */
export function editMask(place: HookPlace, edits: readonly { position: number | null; head: number | null }[], positions: Positions): FloatTensor {
  const shape = [...hookShape(place, edits.length, positions).slice(0, -1), 1];
  const rowSize = sizeOf(shape) / edits.length;
  const data = new Float32Array(sizeOf(shape));
  const inner = place.axes.slice(1, -1);
  const strides = inner.map((_, axis) => sizeOf(shape.slice(axis + 2)));
  const headAxis = inner.findIndex((axis) => axis === "head" || axis === "kvHead");
  const posAxis = inner.findIndex((axis) => axis === "pos" || axis === "destPos");
  edits.forEach((edit, row) => {
    if (edit.head !== null && headAxis < 0) throw new WorkbenchError("hook.badShape", `hook "${place.name}" has no heads; head ${edit.head} was asked for`);
    for (let i = 0; i < rowSize; i++) {
      const at = (axis: number) => Math.floor(i / strides[axis]!) % shape[axis + 1]!;
      if (edit.head !== null && at(headAxis) !== edit.head) continue;
      if (edit.position !== null && at(posAxis) !== edit.position) continue;
      data[row * rowSize + i] = 1;
    }
  });
  return float32(data, shape);
}

/** One row as many. */
function repeatRow<T extends HostTensor>(x: T, rows: number): T {
  const length = x.data.length;
  const data = x.dtype === "float32" ? new Float32Array(rows * length) : x.dtype === "int32" ? new Int32Array(rows * length) : new Uint8Array(rows * length);
  for (let row = 0; row < rows; row++) data.set(x.data, row * length);
  return { ...x, shape: [rows, ...x.shape.slice(1)], data };
}

const repeated = <T extends HostTensor>(streams: Readonly<Record<string, T>>, rows: number): Record<string, T> =>
  Object.fromEntries(Object.entries(streams).map(([name, x]) => [name, repeatRow(x, rows)]));

/** Of each stack. */
function positionsOf({ runner, tokens, inputs }: SweepRequest, after: number): Record<string, number> {
  return Object.fromEntries(
    Object.entries(inputsOf(runner.model.family)).map(([name, stack]) => [stack, name === "tokens" ? tokens.length - after : (inputs?.[name]?.shape[1] ?? 0)]),
  );
}

/** The request's own inputs, as rows of a batch. */
function moreInputs({ inputs }: SweepRequest, rows: number): { inputs?: Readonly<Record<string, HostTensor>> } {
  return inputs ? { inputs: repeated(inputs, rows) } : {};
}

function signalOf(request: SweepRequest): { signal?: AbortSignal } {
  return request.signal ? { signal: request.signal } : {};
}
