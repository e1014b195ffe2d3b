/** `deltascope probe NAME`: one probe from the command line, its result as files. */
import { readFileSync } from "node:fs";
import { Command } from "commander";
import type { ProbeEvent } from "../../probes/result.ts";
import { WorkbenchError } from "../errors.ts";
import { jobKindOf, jobKinds } from "../jobKinds/registry.ts";
import { executeRun } from "../jobs/executeRun.ts";
import { LiveResult, type ResultOutline } from "../jobs/liveResult.ts";
import { Pause } from "../jobs/pause.ts";
import { figureMetadata, provenance } from "../jobs/provenance.ts";
import { writeResult } from "../jobs/resultFolder.ts";
import { probeNamed } from "../jobs/runProbe.ts";
import { packageVersion } from "../packageFolder.ts";
import type { RunRecord, RunRequest } from "../wire.ts";
import { interruptSignal } from "./interrupt.ts";
import { adapterOption, engineChoice, engineOption, modelOption, subjectFromFlags, threadsOption, type EngineFlags, type SubjectFlags } from "./options.ts";
import { makeFolder, outFolder } from "./outPath.ts";
import { sayWarnings } from "./sayWarnings.ts";
import { progressLine } from "./progressLine.ts";

interface Flags extends SubjectFlags, EngineFlags {
  readonly params: string;
  readonly out: string;
}

export function probeCommand(): Command {
  return new Command("probe")
    .description("run one probe and write result.json, arrays.safetensors and its figures as SVG")
    .argument("<name>", "a probe; `deltascope probes` lists them")
    .addOption(modelOption())
    .addOption(adapterOption())
    .option("-p, --params <json>", "parameters as JSON, or @file.json; `deltascope probes NAME` describes them", "{}")
    .requiredOption("-o, --out <folder>", "folder to write to; made when it is not there")
    .addOption(engineOption())
    .addOption(threadsOption())
    .addHelpText(
      "after",
      `
Examples:
  deltascope probe deltaSpectrum --adapter ./my-lora --out spectrum
  deltascope probe activationPatching --model ./gpt2 --adapter ./my-lora --params @patch.json --out patch`,
    )
    .action(runProbeCommand);
}

async function runProbeCommand(name: string, flags: Flags): Promise<void> {
  // Loaded here, so that --help does not wait for the engines.
  const [{ probes }, { openSubject }] = await Promise.all([import("../../probes/registry.ts"), import("../runs/subject.ts")]);
  const kind = jobKindOf(probeNamed(probes, name));
  if (jobKinds[kind].isResumable)
    throw new WorkbenchError("usage.badFlag", `${name} makes checkpoints and can be paused: use deltascope train --config FILE --out FOLDER`);
  const request: RunRequest = { subject: subjectFromFlags(flags), probe: name, params: paramsFlag(flags.params) };
  const folder = outFolder(flags.out);
  const signal = interruptSignal();
  const createdAt = new Date().toISOString();
  const started = performance.now();
  const progress = progressLine(name);
  const result = new LiveResult();
  const sink = (event: ProbeEvent): void => {
    result.apply(event);
    if (event.type === "progress") progress.update(event.done, event.total, event.unit);
  };
  try {
    const outcome = await executeRun(request, { probes, openSubject: (asked) => openSubject(asked, engineChoice(flags)) }, sink, signal, {
      folder,
      pause: new Pause(),
    });
    const record: RunRecord = {
      id: name,
      kind,
      request,
      state: "done",
      createdAt,
      startedAt: createdAt,
      endedAt: new Date().toISOString(),
      progress: result.outline.progress,
      error: null,
      provenance: provenance(packageVersion, { kind, request }, outcome, performance.now() - started),
      resumable: false,
      checkpoints: [],
    };
    progress.stop();
    sayWarnings(outcome.warnings);
    makeFolder(folder);
    await writeResult(folder, record, result, await figureFiles(record, result));
  } finally {
    progress.stop();
  }
  report(folder, result.outline);
}

function paramsFlag(text: string): Record<string, unknown> {
  const json = text.startsWith("@") ? readParamsFile(text.slice(1)) : text;
  try {
    const value: unknown = JSON.parse(json);
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error(`it is ${Array.isArray(value) ? "a list" : String(value)}`);
    return { ...value };
  } catch (cause) {
    throw new WorkbenchError("usage.badFlag", `--params is not a JSON object: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

function readParamsFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new WorkbenchError("usage.badFlag", `--params @${path}: the file cannot be read`, { cause });
  }
}

/** The figures as SVG and PDF, by file name. */
async function figureFiles(record: RunRecord, result: LiveResult): Promise<Record<string, string | Uint8Array[]>> {
  const { figures, arrays } = await result.whole();
  if (figures.length === 0) return {};
  const { renderFigureFile } = await import("../reports/figureFile.ts");
  const metadata = figureMetadata(record);
  const files = figures.flatMap((figure, index) =>
    (["svg", "pdf"] as const).map(async (format) => {
      const { body } = await renderFigureFile({ figure, arrays, format, theme: "light", metadata });
      return [`${index === 0 ? "figure" : `figure-${figure.id}`}.${format}`, typeof body === "string" ? body : [body]] as const;
    }),
  );
  return Object.fromEntries(await Promise.all(files));
}

function report(folder: string, { finding, checks }: ResultOutline): void {
  if (finding !== null) process.stdout.write(`${finding}\n`);
  for (const { name, ok, value, expected } of checks) {
    process.stdout.write(`${ok ? "ok    " : "FAILED"} ${name}: ${Number(value.toPrecision(4))} (expected ${expected})\n`);
  }
  process.stdout.write(`${folder}\n`);
}
