/** Where `deltascope setup` puts what is too large for npm packages: a folder of its own, which no `npm install` empties. */
import { existsSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";
import type * as Koffi from "koffi";

export const setupNames = ["cuda", "tfjs-node-gpu", "tfjs-node"] as const;
export type SetupName = (typeof setupNames)[number];

/** `DELTASCOPE_ENGINE_FOLDER` or `deltascope/engines` in the user's cache. */
export function enginesFolder(): string {
  const { DELTASCOPE_ENGINE_FOLDER: own, XDG_CACHE_HOME: cache } = process.env;
  return own ?? join(cache ?? join(homedir(), ".cache"), "deltascope", "engines");
}

/** A folder for each, in that of them all. */
export const engineFolder = (name: SetupName): string => join(enginesFolder(), name);

/** The CUDA libraries that ONNX Runtime's provider needs, in the order in which they need each other; empty before `deltascope setup cuda`. */
export function cudaLibraries(): string[] {
  const root = join(engineFolder("cuda"), "nvidia");
  const folders = [join(root, "cu13", "lib"), join(root, "cudnn", "lib")].filter((folder) => existsSync(folder));
  const files = folders.flatMap((folder) => readdirSync(folder).map((file) => join(folder, file)));
  const wanted = ["libcublasLt.so", "libcublas.so", "libnvrtc.so", "libcurand.so", "libcufft.so", "libcudart.so", "libcudnn.so"];
  return wanted.flatMap((name) => files.filter((file) => file.includes(`/${name}.`)).slice(0, 1));
}

/** Loads what `deltascope setup cuda` fetched, so that the provider finds it without LD_LIBRARY_PATH. */
export function loadCudaLibraries(): void {
  setCudaDefaults();
  const libraries = cudaLibraries();
  if (libraries.length === 0) return;
  const koffi = createRequire(import.meta.url)("koffi") as typeof Koffi;
  for (const library of libraries) koffi.load(library, { global: true });
}

/** Before a CUDA library loads: float32 products in float32, memory as it is needed, and no log lines but errors. */
export function setCudaDefaults(): void {
  // TF32 rounds the factors of float32 products to 10 bits.
  process.env["NVIDIA_TF32_OVERRIDE"] ??= "0";
  process.env["TF_FORCE_GPU_ALLOW_GROWTH"] ??= "true";
  process.env["TF_CPP_MIN_LOG_LEVEL"] ??= "2";
}
