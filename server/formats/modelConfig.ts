/** config.json as a raw record, and the accessors with which a model family reads its own fields. */
import { join } from "node:path";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { didYouMean } from "../nearNames.ts";
import { readJson } from "./json.ts";
import { quoted } from "../quoted.ts";

export type RawConfig = Readonly<Record<string, unknown>>;

export interface ModelConfigFile {
  readonly dir: string;
  /** `model_type`, e.g. "gpt2". */
  readonly modelType: string;
  readonly raw: RawConfig;
}

/** @throws "file.notFound", "config.malformed" */
export function readModelConfig(dir: string): ModelConfigFile {
  const file = join(dir, "config.json");
  const parsed = z.record(z.string(), z.unknown()).safeParse(readJson(file));
  if (!parsed.success) throw new WorkbenchError("config.malformed", `${file}: ${z.prettifyError(parsed.error)}; expected a JSON object`);
  return { dir, modelType: string(parsed.data, "model_type", file), raw: parsed.data };
}

/** Every accessor takes the record, a key, and where the record is from (for the message), and throws "config.malformed". */
export function positiveInteger(raw: RawConfig, key: string, where: string): number {
  return required(raw, key, where, optionalPositiveInteger(raw, key, where), "a whole number ≥ 1");
}

export function number(raw: RawConfig, key: string, where: string): number {
  return required(raw, key, where, optionalNumber(raw, key, where), "a number");
}

export function boolean(raw: RawConfig, key: string, where: string): boolean {
  return required(raw, key, where, optionalBoolean(raw, key, where), "true or false");
}

export function string(raw: RawConfig, key: string, where: string): string {
  return required(raw, key, where, optionalString(raw, key, where), "a string");
}

export function record(raw: RawConfig, key: string, where: string): RawConfig {
  return required(raw, key, where, optionalRecord(raw, key, where), "an object");
}

/** The optional accessors give undefined for an absent key and for null, and still refuse a wrong type. */
export function optionalPositiveInteger(raw: RawConfig, key: string, where: string): number | undefined {
  return optional(raw, key, where, "a whole number ≥ 1", (value): value is number => Number.isSafeInteger(value) && (value as number) >= 1);
}

export function optionalNumber(raw: RawConfig, key: string, where: string): number | undefined {
  return optional(raw, key, where, "a number", (value) => typeof value === "number");
}

export function optionalBoolean(raw: RawConfig, key: string, where: string): boolean | undefined {
  return optional(raw, key, where, "true or false", (value) => typeof value === "boolean");
}

export function optionalString(raw: RawConfig, key: string, where: string): string | undefined {
  return optional(raw, key, where, "a string", (value) => typeof value === "string");
}

export function optionalRecord(raw: RawConfig, key: string, where: string): RawConfig | undefined {
  return optional(raw, key, where, "an object", (value): value is RawConfig => typeof value === "object" && !Array.isArray(value));
}

export function optionalNumbers(raw: RawConfig, key: string, where: string): readonly number[] | undefined {
  return optional(raw, key, where, "a list of numbers", (value): value is number[] => Array.isArray(value) && value.every((item) => typeof item === "number"));
}

/**
 * One of a closed set of names.
 *
 * @throws "config.unsupported" for a name outside it, with near names
 */
export function oneOf<const Name extends string>(raw: RawConfig, key: string, where: string, names: readonly Name[], absent?: Name): Name {
  const found = optionalString(raw, key, where) ?? absent;
  const value = required(raw, key, where, found, `one of ${names.join(", ")}`);
  const name = names.find((candidate) => candidate === value);
  if (name === undefined)
    throw new WorkbenchError("config.unsupported", `${where}: "${key}" is "${value}", which is not supported; ${didYouMean(value, names)}`);
  return name;
}

function optional<T>(raw: RawConfig, key: string, where: string, expected: string, isRight: (value: unknown) => value is T): T | undefined {
  // Own keys only: "constructor" is not a field of a config.
  const value = Object.hasOwn(raw, key) ? raw[key] : undefined;
  if (value === undefined || value === null) return undefined;
  if (!isRight(value)) throw new WorkbenchError("config.malformed", `${where}: "${key}" is ${quoted(value)}; expected ${expected}`);
  return value;
}

function required<T>(raw: RawConfig, key: string, where: string, value: T | undefined, expected: string): T {
  if (value !== undefined) return value;
  const found = raw[key] === null ? "null" : "absent";
  throw new WorkbenchError("config.malformed", `${where}: "${key}" is ${found}; expected ${expected}; ${didYouMean(key, Object.keys(raw))}`);
}
