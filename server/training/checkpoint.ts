/** A training run's state on disk, enough to go on to the same numbers bit for bit. */
import { createHash } from "node:crypto";
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import * as z from "zod";
import type { SiteState } from "../adapters/method.ts";
import { WorkbenchError } from "../errors.ts";
import { isDiskFull } from "../formats/diskFull.ts";
import { encodeSafetensors, parseSafetensors } from "../formats/safetensors.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import { headKey, trainedTensors, type Adaptation } from "./adaptation.ts";
import type { AdamW } from "./optimizer.ts";
import { saveAdaptation } from "./saveAdaptation.ts";

const stateFile = z.strictObject({
  version: z.literal(1),
  step: z.int(),
  model: z.string(),
  method: z.string(),
  /** That it was trained on, in their turn; none in checkpoints of before they were written down. */
  engines: z.array(z.string()).default([]),
  /** Best held-out loss so far, the step it was seen at, and evaluations since. */
  best: z.strictObject({ loss: z.number(), step: z.int(), since: z.int() }).nullable(),
  stopped: z.boolean(),
  /** Updates that each parameter's moments have seen. */
  updates: z.record(z.string(), z.int()),
});
export type BestSoFar = z.infer<typeof stateFile>["best"];

export interface TrainingState {
  readonly step: number;
  readonly best: BestSoFar;
  /** Ended before its last step by patience. */
  readonly stopped: boolean;
  /** Engines that it was trained on, in their turn. */
  readonly engines: readonly string[];
}

const checkpointsDir = (folder: string): string => join(folder, "checkpoints");
const nameOf = (step: number): string => `step-${String(step).padStart(8, "0")}`;

export function checkpointDir(folder: string, step: number): string {
  return join(checkpointsDir(folder), nameOf(step));
}

/** PEFT folder (or model folder) of a checkpoint. */
export function checkpointAdapter(folder: string, step: number): string {
  return join(checkpointDir(folder, step), "adapter");
}

/** Steps that have a whole checkpoint, ascending. */
export function checkpointSteps(folder: string): number[] {
  let names: string[];
  try {
    names = readdirSync(checkpointsDir(folder));
  } catch {
    return [];
  }
  return names.flatMap((name) => (/^step-\d{8}$/.test(name) ? [Number(name.slice(5))] : [])).sort((a, b) => a - b);
}

/** What tells one model from another: every field that the forward pass reads. */
export function modelFingerprint({ model }: Pick<Adaptation, "model">): string {
  return createHash("sha256")
    .update(JSON.stringify([model.family.name, model.config]))
    .digest("hex")
    .slice(0, 16);
}

/** What is told to be written is on the disk, not only in the system's memory: it stays after a power cut. */
function syncTree(dir: string): void {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    if (entry.isDirectory()) syncTree(join(dir, entry.name));
    else syncPath(join(dir, entry.name));
  }
  syncPath(dir);
}

function syncPath(path: string): void {
  // Windows opens no folders, and syncs no file that is open for reading only.
  if (process.platform === "win32") return;
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Writes into a temporary folder and renames it: a checkpoint is there whole or not at all.
 * @param writeMore adds files of the caller's to the folder
 * @throws "training.diskFull"
 */
export function writeCheckpoint(folder: string, adaptation: Adaptation, optimizer: AdamW, state: TrainingState, writeMore?: (dir: string) => void): void {
  const target = checkpointDir(folder, state.step);
  const temporary = `${target}.tmp`;
  try {
    rmSync(temporary, { recursive: true, force: true });
    mkdirSync(temporary, { recursive: true });
    const tensors = [...stateTensors(adaptation, optimizer)].map(([name, { shape, data }]) => ({ name, shape, data }));
    writeFileSync(join(temporary, "state.safetensors"), encodeSafetensors(tensors));
    const about: z.infer<typeof stateFile> = {
      version: 1,
      ...state,
      engines: [...state.engines],
      model: modelFingerprint(adaptation),
      method: adaptation.methodName,
      updates: Object.fromEntries([...optimizer.moments].map(([key, { steps }]) => [key, steps])),
    };
    writeFileSync(join(temporary, "state.json"), `${JSON.stringify(about, null, 1)}\n`);
    saveAdaptation(join(temporary, "adapter"), adaptation);
    writeMore?.(temporary);
    syncTree(temporary);
    rmSync(target, { recursive: true, force: true });
    renameSync(temporary, target);
    syncPath(dirname(target));
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw noRoom(error, folder);
  }
}

export function removeCheckpoint(folder: string, step: number): void {
  const target = checkpointDir(folder, step);
  renameSync(target, `${target}.tmp`);
  rmSync(`${target}.tmp`, { recursive: true, force: true });
}

/** Leftovers of a run that was killed while it wrote. */
export function removeTorn(folder: string): void {
  try {
    for (const name of readdirSync(checkpointsDir(folder)))
      if (name.endsWith(".tmp")) rmSync(join(checkpointsDir(folder), name), { recursive: true, force: true });
  } catch {
    // There is no checkpoint yet.
  }
}

/**
 * Puts a checkpoint's numbers into the adaptation and the optimizer.
 * @throws "training.noCheckpoint"; "training.badParams" when it was made for another model, method or set of sites
 */
export function restoreCheckpoint(folder: string, step: number, adaptation: Adaptation, optimizer: AdamW): TrainingState {
  const dir = checkpointDir(folder, step);
  const about = readState(dir, folder, step);
  if (about.model !== modelFingerprint(adaptation))
    throw new WorkbenchError(
      "training.badParams",
      `${dir}: the checkpoint was made for another model; expected ${adaptation.model.name} (${modelFingerprint(adaptation)}), found ${about.model}`,
    );
  if (about.method !== adaptation.methodName)
    throw new WorkbenchError("training.badParams", `${dir}: the checkpoint was made with method "${about.method}"; expected "${adaptation.methodName}"`);
  const { tensors } = parseSafetensors(readFileSync(join(dir, "state.safetensors")), `${dir}/state.safetensors`);
  const take = (name: string): FloatTensor => {
    const found = tensors.get(name);
    if (!found || !(found.data instanceof Float32Array))
      throw new WorkbenchError("training.badParams", `${dir}: the checkpoint has no "${name}"; it was made with other sites or options`);
    return float32(found.data, found.shape);
  };
  const expected = new Set(["trained", "memory", "frozen", "m", "v"]);
  for (const state of adaptation.sites) restoreSite(state, learnsFrozen(adaptation), take);
  if (adaptation.head) adaptation.head.data.set(take(`trained:${headKey}`).data);
  for (const { key, tensor } of trainedTensors(adaptation)) if (adaptation.full) tensor.data.set(take(`trained:${key}`).data);
  for (const [key, steps] of Object.entries(about.updates)) optimizer.restore(key, { m: take(`m:${key}`), v: take(`v:${key}`), steps });
  const keys = new Set(trainedTensors(adaptation).map(({ key }) => `trained:${key}`));
  const surplus = [...tensors.keys()].find((name) => !expected.has(name.split(":")[0]!) || (name.startsWith("trained:") && !keys.has(name)));
  if (surplus !== undefined)
    throw new WorkbenchError("training.badParams", `${dir}: "${surplus}" of the checkpoint has no place in this run; it was made with other sites or options`);
  return { step: about.step, best: about.best, stopped: about.stopped, engines: about.engines };
}

const branching = z.object({ startFrom: z.object({ folder: z.string(), step: z.int() }) });

/** The engine of the checkpoint that a run in the folder goes on from, or branches from; null when it starts anew, or from one that does not say. */
export function engineBegunOn(folder: string, params: unknown): string | null {
  const own = checkpointSteps(folder).at(-1);
  const from = own === undefined ? branching.safeParse(params).data?.startFrom : { folder, step: own };
  if (!from) return null;
  try {
    return readState(checkpointDir(from.folder, from.step), from.folder, from.step).engines.at(-1) ?? null;
  } catch {
    // What is wrong with it is said when it is restored.
    return null;
  }
}

export function readState(dir: string, folder: string, step: number): z.infer<typeof stateFile> {
  let raw: unknown;
  try {
    raw = JSON.parse(readFileSync(join(dir, "state.json"), "utf8"));
  } catch {
    const there = checkpointSteps(folder);
    throw new WorkbenchError(
      "training.noCheckpoint",
      `${folder}: no checkpoint of step ${step}; ${there.length === 0 ? "there is none" : `there are ${there.join(", ")}`}`,
    );
  }
  const parsed = stateFile.safeParse(raw);
  if (!parsed.success) throw new WorkbenchError("training.noCheckpoint", `${dir}/state.json: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

function* stateTensors(adaptation: Adaptation, optimizer: AdamW): Generator<[name: string, tensor: FloatTensor]> {
  for (const { key, tensor } of trainedTensors(adaptation)) yield [`trained:${key}`, tensor];
  for (const { site, memory, frozen } of adaptation.sites) {
    for (const [name, tensor] of Object.entries(memory)) yield [`memory:${site.name}/${name}`, tensor];
    // What was learned from data cannot be made again from the seed.
    if (learnsFrozen(adaptation))
      for (const [name, weight] of Object.entries(frozen)) yield [`frozen:${site.name}/${name}`, float32(weight.data(), weight.shape)];
  }
  for (const [key, { m, v }] of optimizer.moments) {
    yield [`m:${key}`, m];
    yield [`v:${key}`, v];
  }
}

function learnsFrozen({ method }: Adaptation): boolean {
  return method !== null && Object.hasOwn(method, "learnInputs");
}

function restoreSite({ site, trained, memory, frozen }: SiteState, isLearned: boolean, take: (name: string) => FloatTensor): void {
  for (const name of Object.keys(trained)) trained[name] = take(`trained:${site.name}/${name}`);
  for (const name of Object.keys(memory)) memory[name] = take(`memory:${site.name}/${name}`);
  if (!isLearned) return;
  for (const [name, weight] of Object.entries(frozen)) {
    const { shape, data } = take(`frozen:${site.name}/${name}`);
    frozen[name] = { key: `${weight.key}:restored`, shape, data: () => data };
  }
}

/** "training.diskFull" for what a full disk gives, else the error itself. */
function noRoom(error: unknown, folder: string): unknown {
  if (!isDiskFull(error)) return error;
  const last = checkpointSteps(folder).at(-1);
  return new WorkbenchError(
    "training.diskFull",
    `${folder}: no room for a checkpoint; ${last === undefined ? "none was kept" : `the last good one is of step ${last}`}`,
    { cause: error },
  );
}
