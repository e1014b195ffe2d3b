/** Which versions of the engines' packages are here, without loading them. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import * as z from "zod";
import type { EngineName } from "./engine.ts";
import { engineFolder } from "./engineFolder.ts";

const packageFile = z.object({ version: z.string() });

/** Of a package as `require` finds it from here, or from one of the folders first; null where it is not installed. */
export function packageVersion(name: string, folders: readonly string[] = []): string | null {
  for (const from of [...folders.map((folder) => join(folder, "package.json")), import.meta.url]) {
    try {
      const path = createRequire(from).resolve(`${name}/package.json`);
      return packageFile.parse(JSON.parse(readFileSync(path, "utf8"))).version;
    } catch {
      // Not there, or no package: the next place may have it.
    }
  }
  return null;
}

/** Of the package that an engine comes with; null where it is not installed. */
export function engineVersion(name: EngineName): string | null {
  switch (name) {
    case "onnx-cpu":
    case "onnx-webgpu":
    case "onnx-cuda":
      return packageVersion("onnxruntime-node");
    case "tfjs-node":
    case "tfjs-node-gpu":
      return packageVersion(`@tensorflow/${name}`, [engineFolder(name)]);
    case "wasm":
      return packageVersion("@tensorflow/tfjs-backend-wasm");
    default:
      return name satisfies never;
  }
}
