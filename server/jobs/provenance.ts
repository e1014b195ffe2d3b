/** What a result needs beside it to be recomputed, and the command that recomputes it. */
import { availableParallelism, cpus, totalmem } from "node:os";
import { commandParts } from "../jobKinds/registry.ts";
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

export function recomputeCommand({ kind, request }: Pick<RunRecord, "kind" | "request">): string {
  return commandParts(kind, request).join(" ");
}
