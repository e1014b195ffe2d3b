/** Where this package lies: the folder of its package.json, the same for sources and for the build in dist. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const packageFolder: string = nearestPackage(dirname(fileURLToPath(import.meta.url)));
export const packageVersion: string = versionOf(join(packageFolder, "package.json"));

function nearestPackage(folder: string): string {
  if (existsSync(join(folder, "package.json"))) return folder;
  const parent = dirname(folder);
  if (parent === folder) throw new Error("internal: no package.json above the server's files");
  return nearestPackage(parent);
}

function versionOf(file: string): string {
  const { version } = JSON.parse(readFileSync(file, "utf8")) as { version?: unknown };
  return typeof version === "string" ? version : "unknown";
}
