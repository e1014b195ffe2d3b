/** What `--out` names, checked before the work begins and made when there is something to write. */
import { accessSync, constants, mkdirSync, statSync, type Stats } from "node:fs";
import { dirname, resolve } from "node:path";
import { WorkbenchError } from "../errors.ts";
import { diskError } from "../formats/diskFull.ts";

/**
 * A file to write, whose folder need not be there yet.
 * @throws "usage.badFlag" when it is a folder, or can have none above it
 */
export function outFile(flag: string): string {
  const file = resolve(flag);
  if (found(file)?.isDirectory() === true) throw badOut(file, `${file} is a folder`, "the name of a file");
  checkFolder(file, dirname(file));
  return file;
}

/**
 * A folder to write into, which need not be there yet.
 * @throws "usage.badFlag" when it is a file, or cannot be made
 */
export function outFolder(flag: string): string {
  const folder = resolve(flag);
  checkFolder(folder, folder);
  return folder;
}

/** Makes the folder and those above it. @throws "file.diskFull" */
export function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw diskError(folder, error);
  }
}

/** The nearest part of `folder` that is there must be a folder that lets itself be written to. */
function checkFolder(out: string, folder: string): void {
  let place = folder;
  let stat = found(place);
  while (stat === undefined && dirname(place) !== place) stat = found((place = dirname(place)));
  if (stat?.isDirectory() !== true) throw badOut(out, `${place} is ${stat === undefined ? "not there" : "no folder"}`, "a folder, or a place for one");
  try {
    accessSync(place, constants.W_OK);
  } catch (cause) {
    throw badOut(out, `${place} may not be written to`, "a folder that may", cause);
  }
}

function found(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    // Something above it is a file, or may not be looked into: the walk upwards finds out which.
    return undefined;
  }
}

function badOut(out: string, what: string, expected: string, cause?: unknown): WorkbenchError {
  return new WorkbenchError("usage.badFlag", `--out ${out}: ${what}; expected ${expected}: name another place, or move what is there`, { cause });
}
