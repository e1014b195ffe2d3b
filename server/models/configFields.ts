/** Typed reads from a raw `config.json`, with errors that say where, found and expected. */
import { WorkbenchError } from "../errors.ts";
import { didYouMean } from "../nearNames.ts";
import { quoted } from "../quoted.ts";
import { activationFunctions, isActivation, type Activation } from "./activations.ts";

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

  /** What stands under the first of `keys` that is there, be it null; undefined when none is. */
  value(...keys: readonly string[]): unknown {
    const key = keys.find((name) => Object.hasOwn(this.raw, name));
    return key === undefined ? undefined : this.raw[key];
  }

  /**
   * A whole number under one of `keys` (the first that is there), or `absent`; bounded, as arrays are made from it before a tensor is looked at.
   * Null is refused, as transformers' config classes refuse it, unless `whenNull` says what it stands for.
   */
  count(
    keys: string | readonly string[],
    absent?: number,
    { least = 1, most = 2 ** 31 - 1, whenNull }: { readonly least?: number; readonly most?: number; readonly whenNull?: number } = {},
  ): number {
    const names = typeof keys === "string" ? [keys] : keys;
    const found = this.value(...names);
    const value = found === undefined ? absent : (found ?? whenNull ?? null);
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < least || value > most)
      this.malformed(names.find((name) => Object.hasOwn(this.raw, name)) ?? names.join(" or "), value, `a whole number from ${least} to ${most}`);
    return value;
  }

  positive(key: string, absent: number): number {
    const found = this.value(key);
    const value = found === undefined ? absent : found;
    if (typeof value !== "number" || !(value > 0 && value < Infinity)) this.malformed(key, value, "a positive number");
    return value;
  }

  flag(key: string, absent: boolean): boolean {
    const found = this.value(key);
    const value = found === undefined ? absent : found;
    if (typeof value !== "boolean") this.malformed(key, value, "true or false");
    return value;
  }

  activation(key: string, absent: Activation): Activation {
    const found = this.value(key);
    const value = found === undefined ? absent : found;
    if (!isActivation(value)) {
      const names = Object.keys(activationFunctions);
      throw new WorkbenchError(
        "config.unsupported",
        `${this.where}: ${key} is ${quoted(value)}; supported: ${names.join(", ")} (${didYouMean(String(value), names)})`,
      );
    }
    return value;
  }

  /** Refuses a setting that changes the forward pass in a way that is not implemented. */
  mustBe(key: string, expected: unknown): void {
    const value = this.value(key);
    if (value !== undefined && value !== expected)
      throw new WorkbenchError("config.unsupported", `${this.where}: ${key} is ${quoted(value)}; only ${quoted(expected)} is supported`);
  }

  private malformed(key: string, found: unknown, expected: string): never {
    throw new WorkbenchError("config.malformed", `${this.where}: ${key} is ${quoted(found)}; expected ${expected}`);
  }
}
