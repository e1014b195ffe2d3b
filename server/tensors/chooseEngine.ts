/**
 * Which engine to use: the one asked for, or the fastest for the size of the model, as measured here once.
 *
 * 1. Candidates are the engines that could be fast here: GPU providers that pass their probe, ONNX Runtime on the CPU, libtensorflow where it is set up.
 * 2. One candidate is taken unmeasured. Of several each is measured on a small and a large block, unless this user's cache has their times.
 * 3. For a model the one with the least time predicted for a block of its size; one that then does not load is passed over.
 * 4. Where none could be measured, the first in the order of preference that works.
 */
import { loadavg } from "node:os";
import { WorkbenchError } from "../errors.ts";
import { defaultMaxWeightBytes } from "./eager.ts";
import type { Engine, EngineName } from "./engine.ts";
import { ranked, rankedWords, usualBlockParameters, type EngineSpeeds } from "./engineSpeeds.ts";
import { engineVersion } from "./engineVersions.ts";
import { hasGpuDevice } from "./gpuProbe.ts";
import { checkEngine, createEngine, parseEngineName, preference, type Checked, type EngineOptions } from "./providers.ts";
import { isProvisional, machineWith, readSpeeds, speedFile, writeSpeeds, type SpeedTable } from "./speedFile.ts";
import { measureEngines } from "./speedProbe.ts";

export interface EngineWish extends EngineOptions {
  /** By name; the others are for when it is left out. */
  readonly engine?: string;
  /** What a run began on: taken where it still works, as only then its numbers go on to the last bit. */
  readonly begunOn?: string | null;
  /** GPT-2-small's when left out. */
  readonly model?: ModelSize;
}
/** Parameters of the whole, and of a block on average. */
export interface ModelSize {
  readonly parameters: number;
  readonly blockParameters: number;
}
const usualModel: ModelSize = { parameters: 124e6, blockParameters: usualBlockParameters };

export interface Choice {
  readonly engine: Engine;
  readonly why: string;
}

/** Twice what it takes on two quiet cores, most of it for loading; a GPU's driver gets the time that its probe has. */
const measureLimitMs = 3000;
const patientLimitMs = 30_000;

const isGpu = (name: EngineName): boolean => name === "onnx-cuda" || name === "onnx-webgpu" || name === "tfjs-node-gpu";
const isLibtensorflow = (name: EngineName): boolean => name === "tfjs-node" || name === "tfjs-node-gpu";

/** The answers of the probes, once a process. */
const checks = new Map<EngineName, Promise<Checked>>();
function checked(name: EngineName): Promise<Checked> {
  const found = checks.get(name) ?? checkEngine(name);
  checks.set(name, found);
  return found;
}

/** In the order of preference. Libtensorflow is not loaded for this: that takes a second, and is for the process that measures. */
async function candidates(): Promise<EngineName[]> {
  const found: EngineName[] = [];
  for (const name of preference) {
    if (name === "wasm" || (name === "tfjs-node-gpu" && !hasGpuDevice())) continue;
    if (isLibtensorflow(name) ? engineVersion(name) !== null : (await checked(name)).preferred) found.push(name);
  }
  return found;
}

export interface Measured {
  readonly table: SpeedTable;
  /** Where it is kept, or why it is not. */
  readonly kept: string;
}

let measured: Promise<Measured | null> | null = null;

/**
 * The times of all candidates, from the cache or measured now; null where there is nothing to choose between. Once a process.
 * @param isPatient for those who ask for the times themselves: what was late or measured on a busy machine is measured again, and waited for
 */
export function measuredEngines({ isPatient = false } = {}): Promise<Measured | null> {
  if (isPatient || !measured) measured = candidates().then((names) => (names.length < 2 ? null : measure(names, isPatient)));
  return measured;
}

async function measure(names: readonly EngineName[], isPatient: boolean): Promise<Measured> {
  const machine = machineWith(names);
  const kept = speedFile();
  const cached = (): SpeedTable | null => {
    const table = readSpeeds(machine);
    return table && isPatient && isProvisional(table) ? null : table;
  };
  const known = cached();
  if (known) return { table: known, kept };
  const load = loadavg()[0] ?? 0;
  const engines: EngineSpeeds = await measureEngines(names, { limitMs: isPatient || names.some(isGpu) ? patientLimitMs : measureLimitMs });
  // Another process may have been first: two that measure at once disturb each other, and must not choose differently.
  const other = cached();
  if (other) return { table: other, kept };
  const table: SpeedTable = { version: 1, machine, measuredAt: new Date().toISOString(), load, engines };
  const refusal = writeSpeeds(table);
  return { table, kept: refusal === null ? kept : `not kept: ${refusal}` };
}

/**
 * @param create makes an engine, or hands out the one that is there
 * @throws "engine.unknown"; "engine.unavailable" when the one asked for does not load, or none does
 */
export async function chooseEngine(wish: EngineWish = {}, create?: (name: EngineName) => Promise<Engine>): Promise<Choice> {
  const { engine: requested, begunOn, model = usualModel, ...options } = wish;
  const make = create ?? ((name: EngineName) => createEngine(name, options));
  if (requested !== undefined) {
    const name = parseEngineName(requested);
    return { engine: await make(name), why: `${name} was asked for` };
  }
  const passed: string[] = [];
  const tried = async (name: EngineName): Promise<Engine | null> => {
    try {
      return await make(name);
    } catch (error) {
      passed.push(`${name}: ${error instanceof Error ? error.message.split("\n")[0] : String(error)}`);
      return null;
    }
  };
  const known = preference.find((name) => name === begunOn);
  const same = known && (await tried(known));
  if (same) return { engine: same, why: `${same.name}, which the run began on` };

  const usable: EngineName[] = [];
  for (const name of await candidates()) {
    const refusal = unfit(name, model, options);
    if (refusal === null) usable.push(name);
    else passed.push(`${name}: ${refusal}`);
  }
  const table = usable.length < 2 ? null : ((await measuredEngines())?.table ?? null);
  const ranks = table ? ranked(table.engines, usable, model.blockParameters) : [];
  for (const { name } of ranks) {
    const engine = await tried(name);
    if (engine) return { engine, why: `${name}, measured: ${rankedWords(ranks)}` };
  }
  return firstThatWorks(passed, make);
}

/** Why an engine is none for this model or wish, whatever its speed; null where it may be. */
function unfit(name: EngineName, { parameters }: ModelSize, { threads }: EngineOptions): string | null {
  if (!isLibtensorflow(name)) return null;
  if (threads !== undefined) return "it has no setting for threads";
  const gib = (bytes: number) => Number((bytes / 2 ** 30).toPrecision(2));
  // Weights that do not fit are copied again in every run.
  return 4 * parameters <= defaultMaxWeightBytes
    ? null
    : `it keeps ${gib(defaultMaxWeightBytes)} GiB of float32 weights, and these are ${gib(4 * parameters)} GiB`;
}

async function firstThatWorks(passed: string[], make: (name: EngineName) => Promise<Engine>): Promise<Choice> {
  for (const name of preference) {
    const { available, preferred, reason, detail } = await checked(name);
    if (available && preferred) {
      const because = passed.length === 0 ? "the first choice" : `before it: ${passed.join("; ")}`;
      return { engine: await make(name), why: `${name} (${reason}), ${because}` };
    }
    passed.push(`${name}: ${available ? detail : reason}`);
  }
  throw new WorkbenchError("engine.unavailable", `no engine works here: ${passed.join("; ")}`);
}
