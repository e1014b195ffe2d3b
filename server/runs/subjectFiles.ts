/** The files that a subject is made of, and what tells them from those that had their paths before. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileIdentity } from "../formats/openFile.ts";
import type { SubjectRequest } from "./subjectRequest.ts";

const isRead = (name: string): boolean =>
  name.endsWith(".safetensors") ||
  name.endsWith(".safetensors.index.json") ||
  /^(config|adapter_config|tokenizer|tokenizer_config|special_tokens_map)\.json$/.test(name);

/** Paths of all files that opening the subject reads, sorted; folders that cannot be listed have none, as opening says so. */
export function subjectFiles({ model, adapters }: SubjectRequest): string[] {
  const folders = [...(model === null ? [] : [model]), ...adapters.map(({ path }) => path)].map((path) => (isFile(path) ? dirname(path) : path));
  return [...new Set(folders)].flatMap((folder) => (existsSync(folder) ? readdirSync(folder) : []).filter(isRead).map((name) => join(folder, name))).toSorted();
}

/** What is opened, by paths and names: the strengths of the adapters are no part of it. */
export function subjectKey({ model, adapters }: SubjectRequest): string {
  return JSON.stringify([model, adapters.map(({ path, name }) => [path, name ?? null])]);
}

/** By path: device, inode, size and time of change of each file; "" for one that is gone. */
export function subjectIdentity(request: SubjectRequest): ReadonlyMap<string, string> {
  return new Map(
    subjectFiles(request).map((path) => {
      const stat = statSync(path, { throwIfNoEntry: false });
      return [path, stat ? fileIdentity(stat) : ""];
    }),
  );
}

/** Paths that are other files now, or are gone, or are new. */
export function changedFiles(before: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): string[] {
  return [...new Set([...before.keys(), ...now.keys()])].filter((path) => before.get(path) !== now.get(path));
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}
