/** `deltascope train`: an adapter from a configuration file, with checkpoints from which it goes on to the same numbers. */
import { existsSync } from "node:fs";
import { Command } from "commander";
import type { ProbeEvent } from "../../probes/result.ts";
import { WorkbenchError } from "../errors.ts";
import { executeRun } from "../jobs/executeRun.ts";
import { LiveResult } from "../jobs/liveResult.ts";
import type { RunOutcome } from "../jobs/messages.ts";
import { Pause } from "../jobs/pause.ts";
import { provenance } from "../jobs/provenance.ts";
import { RunLock } from "../jobs/runLock.ts";
import { taskError, toldError } from "../jobs/taskError.ts";
import { packageVersion } from "../packageFolder.ts";
import type { RunRecord, SubjectRequest } from "../wire.ts";
import { interruptSignal } from "./interrupt.ts";
import { engineChoice, engineOption, threadsOption, type EngineFlags } from "./options.ts";
import { makeFolder, outFolder } from "./outPath.ts";
import { progressLine } from "./progressLine.ts";
import type { TrainConfig } from "./trainConfig.ts";
import { sayWarnings } from "./sayWarnings.ts";

interface Flags extends EngineFlags {
  readonly config?: string;
  readonly out?: string;
  readonly resume?: boolean;
  readonly printConfig?: boolean;
}

export function trainCommand(): Command {
  return new Command("train")
    .description("train an adapter, with checkpoints to go on from")
    .option("-c, --config <file>", "model and training parameters, as JSON with // comments; or the JSON itself")
    .option("-o, --out <folder>", "folder of the run; made when it is not there")
    .option("--resume", "go on with the run in --out from its last checkpoint")
    .option("--print-config", "print a configuration with every default and what it means")
    .addOption(engineOption())
    .addOption(threadsOption())
    .addHelpText(
      "after",
      `
Writes run.json, checkpoints/, scalars.jsonl, arrays.safetensors, result.json, and adapter/ when it is done.
Ctrl+C once finishes the step and writes a checkpoint; --resume goes on from there, as after a crash, to the same adapter, bit for bit.

Examples:
  deltascope train --print-config > run.json
  deltascope train --config run.json --out runs/first
  deltascope train --resume --out runs/first
  deltascope compare runs/first runs/second`,
    )
    .action(run);
}

/** A command that was killed a moment ago is gone by then; one that runs is not. */
const lockPatienceMs = 2000;

async function run(flags: Flags): Promise<void> {
  const { defaultConfig, readTrainConfig } = await import("./trainConfig.ts");
  if (flags.printConfig) {
    process.stdout.write(defaultConfig());
    return;
  }
  if (flags.out === undefined) throw new WorkbenchError("usage.badFlag", "train needs --out FOLDER");
  const folder = outFolder(flags.out);
  const given = flags.config === undefined ? null : readTrainConfig(flags.config);
  const { openTrainFolder } = await import("./trainFolder.ts");
  if (!flags.resume) makeFolder(folder);
  else if (!existsSync(folder))
    throw new WorkbenchError("usage.badFlag", `--resume: ${folder} is not there; expected the folder of a run that was started before`);
  const lock = await RunLock.take(folder, lockPatienceMs);
  try {
    await trainIn(folder, await openTrainFolder(folder, given, flags.resume === true), flags);
  } finally {
    lock.release();
  }
}

async function trainIn(folder: string, config: TrainConfig, flags: Flags): Promise<void> {
  // Loaded here, so that --help does not wait for the engines.
  const [{ train }, { openSubject }, { earlierRecord, trainRequest, writeTrainResult }] = await Promise.all([
    import("../../probes/train.ts"),
    import("../runs/subject.ts"),
    import("./trainFolder.ts"),
  ]);
  const request = trainRequest(config);
  const earlier = await earlierRecord(folder);
  const startedAt = new Date().toISOString();
  const started = performance.now();
  const pause = pauseOnInterrupt();
  const follower = new Follower();
  const ending = (state: RunRecord["state"], error: RunRecord["error"], about: RunRecord["provenance"]) => ({
    kind: "train" as const,
    request,
    state,
    error,
    createdAt: earlier.createdAt,
    startedAt,
    endedAt: new Date().toISOString(),
    progress: follower.result.outline.progress,
    provenance: about,
  });
  const open = (asked: SubjectRequest, begunOn: string | null = null) => openSubject(asked, { ...engineChoice(flags), begunOn });
  const tools = { probes: { train }, openSubject: open };
  let outcome: RunOutcome;
  try {
    outcome = await executeRun(request, tools, (event) => follower.take(event), new AbortController().signal, { folder, pause });
  } catch (thrown) {
    const error = toldError(taskError(thrown), "");
    follower.stop();
    await writeTrainResult(folder, ending("failed", error, null), follower.result).catch((unwritten: unknown) => {
      // The run's own error is the one to tell, whatever goes wrong with writing down where it got to.
      process.stderr.write(`deltascope: the result so far could not be written: ${unwritten instanceof Error ? unwritten.message : String(unwritten)}\n`);
    });
    throw thrown;
  } finally {
    follower.stop();
  }
  sayWarnings(outcome.warnings);
  const about = provenance(packageVersion, { kind: "train", request }, outcome, performance.now() - started + earlier.durationMs);
  const adapter = await writeTrainResult(folder, ending(outcome.isPaused ? "paused" : "done", null, about), follower.result);
  const { progress, finding, checks } = follower.result.outline;
  if (outcome.isPaused)
    throw new WorkbenchError(
      "job.cancelled",
      `paused at step ${progress?.done ?? 0} of ${progress?.total ?? 0}; go on with: deltascope train --resume --out ${flags.out}`,
    );
  if (finding !== null) process.stdout.write(`${finding}\n`);
  for (const check of checks)
    process.stdout.write(`${check.ok ? "ok    " : "FAILED"} ${check.name}: ${Number(check.value.toPrecision(4))} (expected ${check.expected})\n`);
  if (adapter) process.stdout.write(`${adapter.folder} (step ${adapter.step}, ${adapter.why === "best" ? "the best held-out loss" : "the last"})\n`);
}

function pauseOnInterrupt(): Pause {
  const pause = new Pause();
  interruptSignal().addEventListener(
    "abort",
    () => {
      process.stderr.write("\nfinishing this step and writing a checkpoint (Ctrl+C again ends at once) …\n");
      pause.ask();
    },
    { once: true },
  );
  return pause;
}

/** Folds the events into the result, and shows how far it is. */
class Follower {
  readonly result = new LiveResult();
  readonly #line = progressLine("train");
  #loss = NaN;

  take(event: ProbeEvent): void {
    this.result.apply(event);
    if (event.type === "tile" && event.array === "loss") this.#loss = event.data.findLast((value) => !Number.isNaN(value)) ?? this.#loss;
    if (event.type === "progress")
      this.#line.update(event.done, event.total, Number.isNaN(this.#loss) ? event.unit : `${event.unit}, loss ${this.#loss.toFixed(3)}`);
  }

  stop(): void {
    this.#line.stop();
  }
}
