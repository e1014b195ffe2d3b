/**
 * The sweep planner. Thousands of worlds become few, full batches:
 *   1. group by the first segment that differs from the run patched into, and restart there from what entered it;
 *   2. stack the worlds of a group as rows, each with its own mask, value and adapter gates;
 *   3. compute logits at the answer position only;
 *   4. hand out each finished tile at once, top layers (the cheapest) first, and check for cancellation between tiles.
 * `naiveSweep` runs one whole forward pass a world; the law suite holds both to the same numbers.
 */
import { WorkbenchError } from "../errors.ts";
import { inputsOf } from "../models/plan.ts";
import { fullName } from "../models/siteNames.ts";
import { didYouMean } from "../nearNames.ts";
import { float32, sizeOf, type FloatTensor, type HostTensor } from "../tensors/hostTensor.ts";
import { hookPlace, hookShape, type HookPlace, type Positions } from "./hookNames.ts";
import type { Runner } from "./runner.ts";
import { filled, tilesOf, type Tile } from "./tiles.ts";
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
  readonly signal?: AbortSignal;
}

export interface SweepTile {
  /** Indices into `worlds`. */
  readonly worlds: readonly number[];
  /** `[worlds, dVocab]` */
  readonly logits: FloatTensor;
}

interface StartedTile extends Tile<number> {
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
  const tiles = [...groups.values()]
    .sort((a, b) => b.start - a.start)
    .flatMap(({ start, worlds: members }) => tilesOf(members, tokens.length).map((tile) => ({ start, ...tile })));
  const rows = Math.max(1, ...tiles.map((tile) => tile.rows));
  const perToken = 8 * config.dModel + 2 * config.dMlp + 2 * config.nHeads * tokens.length;
  const bytes = 4 * ((config.nLayers + 1) * tokens.length * config.dModel + rows * tokens.length * perToken + rows * config.dVocab);
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
  const patched = await runner.forward({ tokens: [tokens], ...moreInputs(request, 1), settings: [setting], keep, logits: "none", ...signalOf(request) });
  for (const tile of tiles) {
    if (request.signal?.aborted) throw new WorkbenchError("job.cancelled", "cancelled");
    const members = filled(tile).map((index) => at(request.worlds, index));
    const entry = patched.entering.get(plan[tile.start]?.id ?? "");
    const start = entry
      ? { start: { ...entry, streams: repeated(entry.streams, tile.rows) } }
      : { tokens: members.map(() => tokens), ...moreInputs(request, tile.rows) };
    const { logits } = await runner.forward({
      ...start,
      settings: members.map((world) => world.setting),
      edits: batchEdits(request, members),
      logits: { position },
      ...signalOf(request),
    });
    const dVocab = runner.model.config.dVocab;
    const worlds = tile.members;
    yield { worlds, logits: float32(logits!.data.subarray(0, worlds.length * dVocab), [worlds.length, dVocab]) };
  }
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

/** All worlds of a tile edit the same hooks from the same sources; only the masks differ. */
function batchEdits(request: SweepRequest, members: readonly World[]): BatchEdit[] {
  return at(members, 0).edits.map(({ hook, source }, i) => {
    const place = hookPlace(request.runner.hooks, hook);
    const value = request.sources[source]?.[hook];
    if (!value) throw new WorkbenchError("internal", `sweep: source "${source}" has no values for "${hook}"`);
    return {
      hook,
      value,
      mask: editMask(
        place,
        members.map((world) => at(world.edits, i)),
        positionsOf(request),
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
function positionsOf({ runner, tokens, inputs }: SweepRequest): Record<string, number> {
  return Object.fromEntries(
    Object.entries(inputsOf(runner.model.family)).map(([name, stack]) => [stack, name === "tokens" ? tokens.length : (inputs?.[name]?.shape[1] ?? 0)]),
  );
}

/** The request's own inputs, as rows of a batch. */
function moreInputs({ inputs }: SweepRequest, rows: number): { inputs?: Readonly<Record<string, HostTensor>> } {
  return inputs ? { inputs: repeated(inputs, rows) } : {};
}

function signalOf(request: SweepRequest): { signal?: AbortSignal } {
  return request.signal ? { signal: request.signal } : {};
}
