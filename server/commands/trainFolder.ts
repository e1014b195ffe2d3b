/** The folder of `deltascope train`: run.json, checkpoints/ while it trains, and the result with the adapter when it stops. */
import { cpSync, existsSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { WorkbenchError } from "../errors.ts";
import type { LiveResult } from "../jobs/liveResult.ts";
import { readStored, replaceFile, writeResult } from "../jobs/resultFolder.ts";
import { runScalars, scalarsJsonl } from "../jobs/scalars.ts";
import { checkpointAdapter, checkpointDir, checkpointSteps, readState } from "../training/checkpoint.ts";
import type { RunRecord, RunRequest } from "../wire.ts";
import { readTrainConfig, type TrainConfig } from "./trainConfig.ts";

const runFile = "run.json";

/**
 * The configuration that the folder is of, written there when it is new.
 * @param given null when only --resume was given
 * @throws "usage.badFlag" when the folder has a run already, has none to resume, or has one with other settings
 */
export async function openTrainFolder(folder: string, given: TrainConfig | null, isResumed: boolean): Promise<TrainConfig> {
  const file = join(folder, runFile);
  const hasRun = existsSync(file);
  if (isResumed && !hasRun)
    throw new WorkbenchError("usage.badFlag", `--resume: ${folder} has no ${runFile}; expected the folder of a run that was started before`);
  // A run that stopped before its first checkpoint left nothing to lose.
  if (!isResumed && checkpointSteps(folder).length > 0)
    throw new WorkbenchError("usage.badFlag", `--out: ${folder} already holds a run; add --resume to go on with it, or name another folder`);
  if (isResumed) {
    const stored = readTrainConfig(file);
    const differing = given ? differences(stored, given) : [];
    if (differing.length > 0)
      throw new WorkbenchError(
        "usage.badFlag",
        `--config: ${differing.join(", ")} ${differing.length === 1 ? "is" : "are"} not as in ${file}; a run goes on with the ` +
          `settings it began with: leave --config out, or branch with startFrom into another folder`,
      );
    return stored;
  }
  if (!given) throw new WorkbenchError("usage.badFlag", "train needs --config FILE (deltascope train --print-config shows one)");
  await replaceFile(folder, runFile, `${JSON.stringify({ model: given.model, ...given.params }, null, 2)}\n`);
  return given;
}

export function trainRequest({ model, params }: TrainConfig): RunRequest {
  return { subject: { model, adapters: [] }, probe: "train", params };
}

function differences(a: TrainConfig, b: TrainConfig): string[] {
  const [left, right] = [
    { model: a.model, ...a.params },
    { model: b.model, ...b.params },
  ].map((config) => new Map(Object.entries(config).map(([name, value]) => [name, JSON.stringify(value)])));
  return [...left!.keys()].filter((name) => left!.get(name) !== right!.get(name));
}

/** The earlier part of a resumed run. */
export async function earlierRecord(folder: string): Promise<{ createdAt: string; durationMs: number }> {
  try {
    const { record } = await readStored(folder, basename(folder));
    return { createdAt: record.createdAt, durationMs: record.provenance?.durationMs ?? 0 };
  } catch {
    return { createdAt: statSync(join(folder, runFile)).mtime.toISOString(), durationMs: 0 };
  }
}

export interface Written {
  readonly folder: string;
  /** Step of the checkpoint that `adapter/` is. */
  readonly step: number;
  readonly why: "best" | "last";
}

/** Writes what there is; the adapter once the run is done. */
export async function writeTrainResult(
  folder: string,
  ending: Omit<RunRecord, "id" | "checkpoints" | "resumable">,
  result: LiveResult,
): Promise<Written | null> {
  const checkpoints = checkpointSteps(folder);
  const record: RunRecord = { id: basename(folder), ...ending, checkpoints, resumable: ending.state !== "done" && checkpoints.length > 0 };
  const adapter = record.state === "done" ? writeAdapter(folder) : null;
  await writeResult(folder, record, result, { "scalars.jsonl": scalarsJsonl(runScalars(await result.whole())) });
  return adapter;
}

/** The checkpoint with the best held-out loss where that step has one, else the last. */
function writeAdapter(folder: string): Written {
  const steps = checkpointSteps(folder);
  const last = steps.at(-1);
  if (last === undefined) throw new WorkbenchError("training.noCheckpoint", `${folder}: the run wrote no checkpoint; expected one of its last step`);
  const best = readState(checkpointDir(folder, last), folder, last).best?.step;
  const step = best !== undefined && steps.includes(best) ? best : last;
  const target = join(folder, "adapter");
  rmSync(`${target}.tmp`, { recursive: true, force: true });
  cpSync(checkpointAdapter(folder, step), `${target}.tmp`, { recursive: true });
  rmSync(target, { recursive: true, force: true });
  renameSync(`${target}.tmp`, target);
  return { folder: target, step, why: step === best ? "best" : "last" };
}
