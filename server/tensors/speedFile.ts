/** Where the measured speeds of the engines are kept: once for each user and machine, until the machine or a package changes. */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { dirname, join } from "node:path";
import * as z from "zod";
import type { EngineName } from "./engine.ts";
import { enginesFolder } from "./engineFolder.ts";
import { engineSpeeds } from "./engineSpeeds.ts";
import { engineVersion } from "./engineVersions.ts";

const machineKey = z.strictObject({
  processor: z.string(),
  cores: z.int(),
  /** Node's major version. */
  node: z.string(),
  /** Of the package of each engine that was a candidate. */
  versions: z.record(z.string(), z.string()),
});
export type MachineKey = z.infer<typeof machineKey>;

const speedTable = z.strictObject({
  version: z.literal(1),
  machine: machineKey,
  measuredAt: z.iso.datetime(),
  /** Processes that wanted a core in the minute before. */
  load: z.number(),
  engines: engineSpeeds,
});
export type SpeedTable = z.infer<typeof speedTable>;

export const speedFile = (): string => join(enginesFolder(), "speeds.json");

export function machineWith(candidates: readonly EngineName[]): MachineKey {
  return {
    processor: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    node: process.versions.node.split(".")[0] ?? "",
    versions: Object.fromEntries(candidates.toSorted().map((name) => [name, engineVersion(name) ?? "unknown"])),
  };
}

/** Times taken while others were at work, or of which one is missing for that, are used, but taken again: not at every start. */
const retryAfterMs = 60 * 60 * 1000;
const quietShare = 0.5;

export const isBusy = ({ load, machine }: SpeedTable): boolean => load > quietShare * machine.cores;
export const isProvisional = (table: SpeedTable): boolean => isBusy(table) || Object.values(table.engines).some((speed) => "isLate" in speed && speed.isLate);

/** The table as it was measured on this very machine with these packages; null where there is none, and where it cannot be read or is no such table. */
export function readSpeeds(machine: MachineKey, path = speedFile(), now = Date.now()): SpeedTable | null {
  try {
    const table = speedTable.parse(JSON.parse(readFileSync(path, "utf8")));
    if (JSON.stringify(table.machine) !== JSON.stringify(machine)) return null;
    return isProvisional(table) && now - Date.parse(table.measuredAt) > retryAfterMs ? null : table;
  } catch {
    return null;
  }
}

/** @returns why it could not be kept, else null: then the next process measures again, and nothing else is lost */
export function writeSpeeds(table: SpeedTable, path = speedFile()): string | null {
  const temporary = `${path}.tmp-${process.pid}`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(temporary, `${JSON.stringify(table, null, 1)}\n`);
    renameSync(temporary, path);
    return null;
  } catch (error) {
    try {
      rmSync(temporary, { force: true });
    } catch {
      // There is no such folder, so there is no such file.
    }
    return error instanceof Error ? error.message : String(error);
  }
}

/** After an engine was set up anew: what was measured is of the one before. */
export function forgetSpeeds(): void {
  rmSync(speedFile(), { force: true });
}
