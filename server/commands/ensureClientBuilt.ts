/** The built client's folder; built now when the package came without it (a checkout, or a tarball packed before a build). */
import { accessSync, constants, existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { packageFolder, packageVersion } from "../packageFolder.ts";

export async function ensureClientBuilt(say: (line: string) => void): Promise<string> {
  const inPackage = join(packageFolder, "dist", "web");
  const inCache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "deltascope", `web-${packageVersion}`);
  for (const folder of [inPackage, inCache]) if (existsSync(join(folder, "index.html"))) return folder;
  const outDir = isWritable(packageFolder) ? inPackage : inCache;
  say("building the client (once) …");
  const { build } = await import("vite");
  await build({ configFile: join(packageFolder, "vite.config.ts"), logLevel: "warn", build: { outDir, emptyOutDir: true } });
  return outDir;
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
