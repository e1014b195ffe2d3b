/** The engines on libtensorflow, through packages that are not dependencies of this one: `deltascope setup tfjs-node` or `tfjs-node-gpu` builds them. */
import { createRequire } from "node:module";
import { join } from "node:path";
import nodeUtil from "node:util";
import * as tf from "@tensorflow/tfjs-core";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { defaultMaxWeightBytes, EagerEngine } from "./eager.ts";
import type { Engine } from "./engine.ts";
import { engineFolder, setCudaDefaults } from "./engineFolder.ts";
import { registerGradients } from "./gradients.ts";
import { readyBackend } from "./tfjsBackend.ts";

export type TfjsNodeName = "tfjs-node" | "tfjs-node-gpu";

const tensorflowBackend = z.object({ isGPUPackage: z.boolean(), isUsingGpuDevice: z.boolean() });

export interface TfjsNodeOptions {
  readonly threads?: number;
  readonly maxWeightBytes?: number;
}

/**
 * @throws "engine.unavailable" when the package is not installed, its library does not load, the other of the two is loaded already, a GPU is
 * asked for and libtensorflow uses none, or threads are asked for, which libtensorflow takes from the machine
 */
export async function createTfjsNodeEngine(name: TfjsNodeName, { threads, maxWeightBytes }: TfjsNodeOptions = {}): Promise<Engine> {
  const unavailable = (reason: string, cause?: unknown) => new WorkbenchError("engine.unavailable", `@tensorflow/${name}: ${reason}`, { cause });
  if (threads !== undefined) throw unavailable("it has no setting for threads; leave --threads out, or use onnx-cpu");
  try {
    load(name);
  } catch (error) {
    throw unavailable(isNotFound(error) ? `not installed (deltascope setup ${name})` : error instanceof Error ? error.message : String(error), error);
  } finally {
    // It loads @tensorflow/tfjs, even where its own library then does not load.
    registerGradients();
  }
  // Both packages register libtensorflow under this name.
  await readyBackend("tensorflow");
  checkDevice(name, tf.findBackend("tensorflow"));
  return new EagerEngine(name, "tensorflow", maxWeightBytes ?? defaultMaxWeightBytes);
}

/** @throws "engine.unavailable" when `backend` is the other package's, or uses no GPU where one is meant */
export function checkDevice(name: TfjsNodeName, backend: unknown): void {
  const { isGPUPackage, isUsingGpuDevice } = tensorflowBackend.parse(backend);
  if (isGPUPackage !== (name === "tfjs-node-gpu"))
    throw new WorkbenchError("engine.unavailable", `@tensorflow/${name}: the other of the two libtensorflow packages is loaded in this process`);
  if (name === "tfjs-node-gpu" && !isUsingGpuDevice)
    throw new WorkbenchError("engine.unavailable", `@tensorflow/${name}: libtensorflow found no GPU that it can use; tfjs-node is the same on the CPU`);
}

function load(name: TfjsNodeName): void {
  setCudaDefaults();
  restoreRemovedUtilities();
  const packageName = `@tensorflow/${name}`;
  const own = createRequire(join(engineFolder(name), "package.json"));
  try {
    own(packageName);
  } catch (error) {
    if (!isNotFound(error)) throw error;
    createRequire(import.meta.url)(packageName);
  }
}

const isNotFound = (error: unknown): boolean => error instanceof Error && "code" in error && error.code === "MODULE_NOT_FOUND";

/** tfjs-node 4.22 calls two functions of node:util that Node 23 took away. */
export function restoreRemovedUtilities(util: object = nodeUtil): void {
  const removed = { isNullOrUndefined: (value: unknown) => value === null || value === undefined, isArray: Array.isArray };
  for (const [key, value] of Object.entries(removed)) if (!(key in util)) Object.assign(util, { [key]: value });
}
