/** Typed reads from a raw `config.json`, with errors that say where, found and expected. */
import { WorkbenchError } from "../errors.ts";
import { didYouMean } from "../nearNames.ts";
import { quoted } from "../quoted.ts";
import { activations, type Activation } from "./family.ts";

/** More than any released model has by far; each layer is looked up in the checkpoint. */
export const mostLayers = 4096;

export type RawConfig = Readonly<Record<string, unknown>>;

export class ConfigFields {
  readonly raw: RawConfig;
  readonly where: string;
  constructor(raw: RawConfig, where: string) {
    this.raw = raw;
    this.where = where;
  }

  /** The first of `keys` that is there and not null. */
  value(...keys: string[]): unknown {
    for (const key of keys) {
      const value = this.raw[key];
      if (value !== undefined && value !== null) return value;
    }
    return undefined;
  }

  /** A whole number under one of `keys` (aliases), or the fallback; bounded, as arrays are made from it before a tensor is looked at. */
  count(keys: string | readonly string[], fallback?: number, { least = 1, most = 2 ** 31 - 1 }: { least?: number; most?: number } = {}): number {
    const names = typeof keys === "string" ? [keys] : keys;
    const value = this.value(...names) ?? fallback;
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < least || value > most)
      this.malformed(names.join(" or "), value, `a whole number from ${least} to ${most}`);
    return value;
  }

  positive(key: string, fallback?: number): number {
    const value = this.value(key) ?? fallback;
    if (typeof value !== "number" || !(value > 0 && value < Infinity)) this.malformed(key, value, "a positive number");
    return value;
  }

  /** Whether the key is there, be it null: null and absent mean different things to some classes. */
  has(key: string): boolean {
    return this.raw[key] !== undefined;
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.value(key) ?? fallback;
    if (typeof value !== "boolean") this.malformed(key, value, "true or false");
    return value;
  }

  activation(key: string, fallback: Activation): Activation {
    const value = this.value(key) ?? fallback;
    const known = activations.find((name) => name === value);
    if (!known) {
      throw new WorkbenchError(
        "config.unsupported",
        `${this.where}: ${key} is ${quoted(value)}; supported: ${activations.join(", ")} (${didYouMean(String(value), activations)})`,
      );
    }
    return known;
  }

  /** Refuses a setting that changes the forward pass in a way that is not implemented. */
  mustBe(key: string, expected: unknown, fallback: unknown = expected): void {
    const value = this.raw[key] ?? fallback;
    if (value !== expected) throw new WorkbenchError("config.unsupported", `${this.where}: ${key} is ${quoted(value)}; only ${quoted(expected)} is supported`);
  }

  private malformed(key: string, found: unknown, expected: string): never {
    throw new WorkbenchError("config.malformed", `${this.where}: ${key} is ${found === undefined ? "missing" : quoted(found)}; expected ${expected}`);
  }
}
