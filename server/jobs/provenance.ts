/** What a result needs beside it to be recomputed, and the command that recomputes it. */
import { availableParallelism, cpus, totalmem } from "node:os";
import { adapterText, shellQuoted } from "../commandText.ts";
import type { Provenance, RunRecord } from "../wire.ts";
import type { RunOutcome } from "./messages.ts";

export function provenance(version: string, run: Pick<RunRecord, "kind" | "request">, outcome: RunOutcome, durationMs: number): Provenance {
  return {
    version,
    engine: outcome.engine,
    platform: `${process.platform} ${process.arch}`,
    node: process.version,
    hashes: outcome.hashes,
    command: recomputeCommand(run),
    durationMs: Math.round(durationMs),
    warnings: outcome.warnings,
  };
}

/** `environment.json`: the machine, beside the provenance. */
export function environment(about: Provenance | null): object {
  return { ...about, cpu: cpus()[0]?.model ?? "unknown", cores: availableParallelism(), memoryBytes: totalmem() };
}

/** What a figure file carries: the command that makes it again, and what a reader must know. */
export function figureMetadata(record: Pick<RunRecord, "kind" | "request" | "provenance">): string {
  return [recomputeCommand(record), ...(record.provenance?.warnings ?? []).map((warning) => `# ${warning}`)].join("\n");
}

export function recomputeCommand({ kind, request: { subject, probe, params } }: Pick<RunRecord, "kind" | "request">): string {
  if (kind === "train") {
    // Its configuration is the request itself.
    return ["deltascope", "train", "--config", JSON.stringify({ model: subject.model, ...params }), "--out", "train-result"].map(shellQuoted).join(" ");
  }
  const words = ["deltascope", "probe", probe];
  if (subject.model !== null) words.push("--model", subject.model);
  for (const { path, name, strength } of subject.adapters) {
    words.push("--adapter", adapterText({ path, strength, name: name ?? null }));
  }
  words.push("--params", JSON.stringify(params), "--out", `${probe}-result`);
  return words.map(shellQuoted).join(" ");
}
