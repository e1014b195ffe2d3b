/** Which folder is meant when someone names an adapter: the folder itself, or a file in it; and where it is when it lies deeper. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { WorkbenchError } from "../errors.ts";

const configName = "adapter_config.json";
/** Trainer's checkpoints lie one level down, a hub cache's snapshots two. */
const deepest = 3;
const mostLooked = 2000;

/**
 * @returns the folder with adapter_config.json
 * @throws "file.notFound" when it has none, naming the folders below that do, newest first
 */
export function adapterFolder(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) {
    const hub = /^[\w.-]+\/[\w.-]+$/.test(path) ? "; a name on the hub is not downloaded: give the folder that it was downloaded to" : "";
    throw new WorkbenchError("file.notFound", `${path} does not exist; expected a folder with ${configName}${hub}`);
  }
  const dir = stat.isDirectory() ? path : dirname(path);
  if (existsSync(join(dir, configName))) {
    if (dir !== path && !/^adapter_(config\.json|model\.safetensors)$/.test(basename(path)))
      throw new WorkbenchError("file.notFound", `${path} is not an adapter; ${dir} holds one (${configName})`);
    return dir;
  }
  const below = foldersBelow(dir).toSorted((a, b) => b.changed - a.changed);
  const hint =
    otherLibrary(dir) ??
    (below.length === 0
      ? ""
      : `; there is one in ${below
          .slice(0, 4)
          .map(({ folder }) => relative(dirname(dir), folder))
          .join(", ")}${below.length > 4 ? ", …" : ""}`);
  throw new WorkbenchError("file.notFound", `${join(dir, configName)} does not exist${hint}`);
}

function foldersBelow(top: string): { folder: string; changed: number }[] {
  const found: { folder: string; changed: number }[] = [];
  let looked = 0;
  let level = [top];
  for (let depth = 0; depth < deepest; depth++) {
    const next: string[] = [];
    for (const dir of level) {
      for (const entry of readdirSync(dir, { withFileTypes: true })) {
        if (!entry.isDirectory() || ++looked > mostLooked) continue;
        const folder = join(dir, entry.name);
        const config = statSync(join(folder, configName), { throwIfNoEntry: false });
        if (config) found.push({ folder, changed: config.mtimeMs });
        else next.push(folder);
      }
    }
    level = next;
  }
  return found;
}

function otherLibrary(dir: string): string | null {
  if (existsSync(join(dir, "adapters.safetensors"))) return "; adapters.safetensors is MLX's format, which is not read: convert it to PEFT's";
  if (existsSync(join(dir, "pytorch_lora_weights.safetensors")))
    return "; pytorch_lora_weights.safetensors is diffusers' format, which is not read: convert it to PEFT's";
  return null;
}
