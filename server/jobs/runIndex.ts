/**
 * The records of ended runs in one file beside their folders, so that thousands are listed without opening each. The folders are what
 * counts: a line holds only while the run's result.json is the very file that it was written of, and a file that is missing or torn costs time alone.
 */
import { appendFileSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { isJobKind, type JobKind } from "../jobKinds/registry.ts";
import type { RunRecord } from "../wire.ts";
import { resultIdentity } from "./resultFolder.ts";

/** Only the outline is looked at; the rest was written by this program. */
const recordOutline = z.looseObject({ id: z.string(), createdAt: z.string(), state: z.string(), request: z.looseObject({ probe: z.string() }) });
const line = z.object({ file: z.string(), record: z.unknown() });

/** A record that this program or an earlier version of it wrote, whose runs had neither kinds nor checkpoints; null for anything else. */
export function writtenRecord(raw: unknown): (Omit<RunRecord, "kind"> & { readonly kind: JobKind | null }) | null {
  const outline = recordOutline.safeParse(raw);
  if (!outline.success) return null;
  const record = outline.data as typeof outline.data & Omit<RunRecord, "kind" | "resumable" | "checkpoints"> & Partial<RunRecord>;
  return { ...record, resumable: record.resumable ?? false, checkpoints: record.checkpoints ?? [], kind: isJobKind(record.kind) ? record.kind : null };
}

export class RunIndex {
  readonly #path: string;
  readonly #runs: string;

  constructor(logFolder: string, runsFolder: string) {
    this.#path = join(logFolder, "runs.jsonl");
    this.#runs = runsFolder;
  }

  /** By id, the records whose result.json is as it was. */
  read(): ReadonlyMap<string, RunRecord> {
    const found = new Map<string, RunRecord>();
    for (const text of this.#lines()) {
      const entry = line.safeParse(parsed(text));
      const record = entry.success ? writtenRecord(entry.data.record) : null;
      if (!entry.success || record === null || record.kind === null) continue;
      if (entry.data.file === this.#fileOf(record.id)) found.set(record.id, { ...record, kind: record.kind });
    }
    return found;
  }

  /** Adds a record that has just been written into its folder. */
  add(record: RunRecord): void {
    attempt(() => appendFileSync(this.#path, this.#lineOf(record)));
  }

  /** Leaves out what is no more. */
  write(records: readonly RunRecord[]): void {
    const text = records.map((record) => this.#lineOf(record)).join("");
    if (text === this.#lines().join("\n")) return;
    attempt(() => {
      writeFileSync(`${this.#path}.tmp`, text);
      renameSync(`${this.#path}.tmp`, this.#path);
    });
  }

  #lines(): string[] {
    try {
      return readFileSync(this.#path, "utf8").split("\n");
    } catch {
      return [];
    }
  }

  #lineOf(record: RunRecord): string {
    const file = this.#fileOf(record.id);
    return file === null ? "" : `${JSON.stringify({ file, record })}\n`;
  }

  #fileOf(id: string): string | null {
    return resultIdentity(join(this.#runs, id));
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** An index that cannot be written is done without. */
function attempt(write: () => void): void {
  try {
    write();
  } catch {
    // The folders have it all.
  }
}
