/** One training run in a line: what it trained, how well it ended, and what it cost; read from its folder, running or ended. */
import { existsSync, readFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import * as z from "zod";
import { emptyResult, type ProbeResult } from "../../probes/result.ts";
import { WorkbenchError } from "../errors.ts";
import { readHeader } from "../formats/safetensors.ts";
import { checkpointResult } from "../jobs/checkpointResult.ts";
import { readResult, readStored, resultIdentity } from "../jobs/resultFolder.ts";
import { sizeOf } from "../tensors/hostTensor.ts";
import { checkpointDir, checkpointSteps, readState } from "../training/checkpoint.ts";
import { trainingParams, type TrainingParams } from "../training/trainingParams.ts";

export interface RunSummary {
  readonly run: string;
  readonly method: string;
  readonly state: string;
  /** Null before the first checkpoint. */
  readonly sites: number | null;
  readonly parameters: number | null;
  /** Held-out, nats. */
  readonly finalLoss: number | null;
  readonly bestLoss: number | null;
  readonly finalAccuracy: number | null;
  readonly bestAccuracy: number | null;
  /** Of ΔW, mean over sites, at the last look. */
  readonly effectiveRank: number | null;
  readonly steps: number;
  readonly seconds: number | null;
  /** Median over the steps. */
  readonly tokensPerSecond: number | null;
  /** By dotted name. */
  readonly settings: Readonly<Record<string, unknown>>;
}

const requestFile = z.object({ request: z.object({ subject: z.object({ model: z.string().nullable() }), params: z.unknown() }) });
const configFile = z.looseObject({ model: z.string() });
/** @throws "file.notFound" when the folder is no run's; "config.malformed", "file.unreadable" */
export async function runSummary(path: string): Promise<RunSummary> {
  const folder = resolve(path);
  const { model, params } = settingsOf(folder);
  const steps = checkpointSteps(folder);
  const last = steps.at(-1);
  const name = basename(folder);
  const record = resultIdentity(folder) === null ? null : (await readStored(folder, name)).record;
  const { arrays } = record ? await readResult(folder, name) : last === undefined ? emptyResult : checkpointResult(checkpointDir(folder, last));
  const trained = last === undefined ? null : trainedOf(folder, last);
  const best = last === undefined ? null : readState(checkpointDir(folder, last), folder, last).best;
  const losses = numbers(arrays, "validation_loss");
  const accuracies = numbers(arrays, "validation_accuracy");
  const durationMs = record?.provenance?.durationMs;
  return {
    run: name,
    method: params.method,
    state: record?.state ?? "running or killed",
    sites: trained?.sites ?? null,
    parameters: trained?.parameters ?? null,
    finalLoss: losses.at(-1) ?? null,
    bestLoss: losses.length > 0 ? losses.reduce((a, b) => Math.min(a, b)) : (best?.loss ?? null),
    finalAccuracy: accuracies.at(-1) ?? null,
    bestAccuracy: accuracies.length > 0 ? accuracies.reduce((a, b) => Math.max(a, b)) : null,
    effectiveRank: lastMean(arrays, "effective_rank"),
    steps: record?.progress?.done ?? last ?? 0,
    seconds: durationMs === undefined ? null : durationMs / 1000,
    tokensPerSecond: median(numbers(arrays, "tokens_per_second")),
    settings: { model, ...flat(params) },
  };
}

/** Names of the settings in which the runs are not alike, with the value of each run. */
export function differingSettings(runs: readonly RunSummary[]): { name: string; values: unknown[] }[] {
  const names = [...new Set(runs.flatMap(({ settings }) => Object.keys(settings)))];
  return names
    .map((name) => ({ name, values: runs.map(({ settings }) => settings[name]) }))
    .filter(({ values }) => new Set(values.map((value) => JSON.stringify(value))).size > 1);
}

/** Of a command's folder (run.json) or of a server's (request.json). */
function settingsOf(folder: string): { model: string | null; params: TrainingParams } {
  const command = join(folder, "run.json");
  const served = join(folder, "request.json");
  if (existsSync(command)) {
    const { model, ...params } = configFile.parse(json(command));
    return { model, params: paramsOf(params, command) };
  }
  if (!existsSync(served)) throw new WorkbenchError("file.notFound", `${folder} has neither run.json nor request.json; expected the folder of a training run`);
  const { request } = requestFile.parse(json(served));
  return { model: request.subject.model, params: paramsOf(request.params, served) };
}

function paramsOf(raw: unknown, file: string): TrainingParams {
  const parsed = trainingParams.safeParse(raw);
  if (!parsed.success) throw new WorkbenchError("config.malformed", `${file} is of no training run: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

function json(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (cause) {
    throw new WorkbenchError("config.malformed", `${file} is not JSON`, { cause });
  }
}

/** What a checkpoint trains, from the names of its tensors: "trained:<site>/<parameter>". */
function trainedOf(folder: string, step: number): { sites: number; parameters: number } {
  const { entries } = readHeader(join(checkpointDir(folder, step), "state.safetensors"));
  const trained = [...entries.values()].filter(({ name }) => name.startsWith("trained:"));
  const sites = new Set(trained.flatMap(({ name }) => (/^trained:(?:score|base)\//.test(name) ? [] : [name.slice(0, name.lastIndexOf("/"))])));
  return { sites: sites.size, parameters: trained.reduce((sum, { shape }) => sum + sizeOf(shape), 0) };
}

function numbers(arrays: ProbeResult["arrays"], name: string): number[] {
  return [...(arrays[name]?.data ?? [])].filter((value) => !Number.isNaN(value));
}

/** Mean over the sites of `[snapshot, site]` at the last snapshot that has numbers. */
function lastMean(arrays: ProbeResult["arrays"], name: string): number | null {
  const array = arrays[name];
  if (!array) return null;
  const [snapshots, sites] = [array.shape[0]!, array.shape[1]!];
  for (let at = snapshots - 1; at >= 0; at--) {
    const values = [...array.data.subarray(at * sites, (at + 1) * sites)].filter((value) => !Number.isNaN(value));
    if (values.length > 0) return values.reduce((sum, value) => sum + value, 0) / values.length;
  }
  return null;
}

function median(values: readonly number[]): number | null {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? null;
}

function flat(value: Readonly<Record<string, unknown>>, prefix = ""): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, inner]) =>
      typeof inner === "object" && inner !== null && !Array.isArray(inner) ? Object.entries(flat({ ...inner }, `${prefix}${name}.`)) : [[prefix + name, inner]],
    ),
  );
}
