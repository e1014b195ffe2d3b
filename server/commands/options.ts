/** Flags that several commands share, and how their values are read. */
import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import { InvalidArgumentError, Option } from "commander";
import { adapterRequest, subjectRequest, type AdapterRequest, type SubjectRequest } from "../wire.ts";
import { engineNames, type EngineName } from "../tensors/engine.ts";
import { adapterFromText, adapterText } from "../commandText.ts";
import { WorkbenchError } from "../errors.ts";

export interface SubjectFlags {
  readonly model?: string;
  readonly adapter: readonly string[];
}
export interface EngineFlags {
  readonly engine?: EngineName;
  readonly threads?: number;
}

export const collect = (value: string, before: readonly string[]): string[] => [...before, value];

export const modelOption = (): Option => new Option("-m, --model <folder>", "base model: a folder with config.json and *.safetensors");
export const adapterOption = (): Option =>
  new Option("-a, --adapter <folder>", "PEFT adapter folder; repeatable; NAME=FOLDER names it, FOLDER@0.5 sets its strength")
    .argParser(collect)
    .default([], "none");
export const engineOption = (): Option =>
  new Option("--engine <name>", "tensor engine, instead of the fastest for the model; `deltascope doctor` tells which work here").choices(engineNames);
export const threadsOption = (): Option => new Option("--threads <n>", "threads inside one operation").argParser(positiveInteger);

export function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError("expected a whole number, 1 or more");
  return value;
}

export function portNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isInteger(value) || value < 0 || value > 65_535) throw new InvalidArgumentError("expected a port, 0 to 65535");
  return value;
}

/** `NAME=FOLDER@STRENGTH`, name and strength optional; a folder that exists as written is taken as written, unless it could be meant either way. */
export function adapterFlag(text: string): AdapterRequest {
  const { path, name, strength } = adapterFromText(text) ?? { path: text, name: null, strength: 1 };
  if (path !== text && existsSync(text)) {
    if (existsSync(path))
      throw new WorkbenchError(
        "usage.badFlag",
        `--adapter ${text} is a folder, and so is ${path}, at strength ${strength}; write ` +
          `${adapterText({ path: text, name: null, strength: 1 })} or rename one`,
      );
    return { path: resolve(text), strength: 1 };
  }
  const parsed = adapterRequest.safeParse({ path: resolve(path), strength, ...(name === null ? {} : { name }) });
  if (!parsed.success) throw new WorkbenchError("usage.badFlag", `--adapter ${text}: ${parsed.error.issues.map((issue) => issue.message).join("; ")}`);
  return parsed.data;
}

export function subjectFromFlags({ model, adapter }: SubjectFlags): SubjectRequest {
  return subjectRequest.parse({ model: model === undefined ? null : resolve(model), adapters: withDistinctNames(adapter.map(adapterFlag)) });
}

/** Two checkpoints of one run are often both called "adapter" or "checkpoint-100": the later ones get a number. */
function withDistinctNames(adapters: readonly AdapterRequest[]): AdapterRequest[] {
  const seen = new Map<string, number>();
  return adapters.map((adapter) => {
    if (adapter.name !== undefined) return adapter;
    const name = basename(adapter.path).replaceAll(/[^\w-]/g, "_");
    const count = (seen.get(name) ?? 0) + 1;
    seen.set(name, count);
    return count === 1 ? adapter : { ...adapter, name: `${name}_${count}` };
  });
}

export function engineChoice({ engine, threads }: EngineFlags): EngineFlags {
  return { ...(engine === undefined ? {} : { engine }), ...(threads === undefined ? {} : { threads }) };
}
