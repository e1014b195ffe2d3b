/** `deltascope probe NAME`: one probe from the command line, its result as files. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Command } from "commander";
import { applyEvent, emptyResult, type ProbeResult } from "../../probes/result.ts";
import { WorkbenchError } from "../errors.ts";
import { provenance } from "../jobs/provenance.ts";
import { provenanceHashes } from "../jobs/provenanceHashes.ts";
import { probeNamed, runProbe } from "../jobs/runProbe.ts";
import { encodeArrays, storedResult } from "../jobs/runStore.ts";
import { packageVersion } from "../packageFolder.ts";
import type { RunRecord, RunRequest } from "../wire.ts";
import { interruptSignal } from "./interrupt.ts";
import { adapterOption, engineChoice, engineOption, modelOption, subjectFromFlags, threadsOption, type EngineFlags, type SubjectFlags } from "./options.ts";
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
  const probe = probeNamed(probes, name);
  if (probe.needs === "training")
    throw new WorkbenchError("usage.badFlag", `${name} makes checkpoints and can be paused: use deltascope train --config FILE --out FOLDER`);
  const params = paramsFlag(flags.params);
  const request: RunRequest = { subject: subjectFromFlags(flags), probe: name, params };
  const signal = interruptSignal();
  const createdAt = new Date();
  const subject = await openSubject(request.subject, engineChoice(flags));
  const started = performance.now();
  const progress = progressLine(name);
  let result = emptyResult;
  try {
    await runProbe(probe, subject, params, signal, (event) => {
      result = applyEvent(result, event);
      if (event.type === "progress") progress.update(event.done, event.total, event.unit);
    });
  } finally {
    progress.stop();
    await subject.dispose();
  }
  const outcome = { engine: subject.runner?.engine.name ?? "none (weights only)", hashes: provenanceHashes(request.subject), isPaused: false };
  const about = provenance(packageVersion, request, outcome, performance.now() - started);
  const record: RunRecord = {
    id: name,
    request,
    state: "done",
    createdAt: createdAt.toISOString(),
    startedAt: createdAt.toISOString(),
    endedAt: new Date().toISOString(),
    progress: result.progress,
    error: null,
    provenance: about,
    resumable: false,
    checkpoints: [],
  };
  const folder = resolve(flags.out);
  await writeResult(folder, record, result);
  report(folder, result);
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

async function writeResult(folder: string, record: RunRecord, result: ProbeResult): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const write = (name: string, content: string | Uint8Array): void => {
    writeFileSync(join(folder, `${name}.tmp`), content);
    renameSync(join(folder, `${name}.tmp`), join(folder, name));
  };
  write("arrays.safetensors", encodeArrays(result.arrays));
  if (result.figures.length > 0) {
    const { renderFigureFile } = await import("../reports/figureFile.ts");
    for (const [index, figure] of result.figures.entries()) {
      const { body } = renderFigureFile({ figure, arrays: result.arrays, format: "svg", theme: "light", metadata: record.provenance?.command ?? "" });
      write(index === 0 ? "figure.svg" : `figure-${figure.id}.svg`, body);
    }
  }
  write("result.json", `${JSON.stringify(storedResult(record, result), null, 1)}\n`);
}

function report(folder: string, { finding, checks }: ProbeResult): void {
  if (finding !== null) process.stdout.write(`${finding}\n`);
  for (const { name, ok, value, expected } of checks) {
    process.stdout.write(`${ok ? "ok    " : "FAILED"} ${name}: ${Number(value.toPrecision(4))} (expected ${expected})\n`);
  }
  process.stdout.write(`${folder}\n`);
}
