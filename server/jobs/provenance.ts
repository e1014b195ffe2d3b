/** What a result needs beside it to be recomputed, and the command that recomputes it. */
import { existsSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { isAbsolute } from "node:path";
import { folderName } from "../folderName.ts";
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

/** What a figure file carries: the command that makes it again, and what a reader must know; folders by their names, as where they lie is nobody's business. */
export function figureMetadata(record: Pick<RunRecord, "kind" | "request" | "provenance">): string {
  const text = [recomputeCommand(record), ...(record.provenance?.warnings ?? []).map((warning) => `# ${warning}`)].join("\n");
  // The longest first: one may lie inside another.
  const paths = pathsIn(record.request).toSorted((a, b) => b.length - a.length);
  return paths.reduce((said, path) => said.replaceAll(path, folderName(path)), text);
}

/** Those of the model and its adapters, and what else is a file or folder here: training data. */
function pathsIn({ subject, params }: RunRecord["request"]): string[] {
  const inside = (value: unknown): string[] =>
    typeof value === "string"
      ? isAbsolute(value) && existsSync(value)
        ? [value]
        : []
      : typeof value === "object" && value !== null
        ? Object.values(value).flatMap(inside)
        : [];
  return [...(subject.model === null ? [] : [subject.model]), ...subject.adapters.map(({ path }) => path), ...inside(params)];
}

export function recomputeCommand({ kind, request }: Pick<RunRecord, "kind" | "request">): string {
  return commandParts(kind, request).join(" ");
}
