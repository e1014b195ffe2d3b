/** Rotary position embeddings: the frequencies of each scaling kind, as transformers computes them. */
import { WorkbenchError } from "../errors.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import { didYouMean } from "../nearNames.ts";
import { quoted } from "../quoted.ts";

export const ropeTypes = ["default", "linear", "dynamic", "yarn", "llama3", "longrope"] as const;
export type RopeType = (typeof ropeTypes)[number];

export interface RopeConfig {
  readonly type: RopeType;
  readonly theta: number;
  readonly dHead: number;
  readonly maxPositions: number;
  /** The scaling parameters as on disk; each kind reads its own. */
  readonly scaling: Readonly<Record<string, unknown>>;
}

/** Kinds that scale away from the length of pretraining; a length beside the settings wins over one inside them. */
const pretrainedLengthTypes: readonly RopeType[] = ["yarn", "llama3", "longrope"];

/**
 * Reads `rope_scaling` (which wins where both are there) or `rope_parameters`, with `rope_theta` and
 * `original_max_position_embeddings` from the top of config.json where transformers takes them from there.
 * @throws "config.unsupported" on a rope type that is not implemented or a setting for some layers only, "config.malformed" on a missing or impossible number
 * @see transformers `modeling_rope_utils.py`, `convert_rope_params_to_dict` and `standardize_rope_params`
 */
export function parseRope(raw: Readonly<Record<string, unknown>>, dHead: number, maxPositions: number, where: string): RopeConfig {
  const given = isEmpty(raw["rope_scaling"]) ? raw["rope_parameters"] : raw["rope_scaling"];
  const settings = asRecord(given ?? {}, `${where}: rope_scaling`);
  const nested = Object.keys(settings).find((key) => typeof settings[key] === "object" && settings[key] !== null && !Array.isArray(settings[key]));
  if (nested !== undefined)
    throw new WorkbenchError("config.unsupported", `${where}: rope_parameters has settings of its own for "${nested}" layers; expected one set for all layers`);
  const type = settings["rope_type"] ?? settings["type"] ?? "default";
  if (!isRopeType(type)) {
    throw new WorkbenchError(
      "config.unsupported",
      `${where}: rope type ${quoted(type)} is not supported; expected one of ${ropeTypes.join(", ")} (${didYouMean(String(type), ropeTypes)})`,
    );
  }
  const partial = settings["partial_rotary_factor"] ?? raw["partial_rotary_factor"] ?? 1;
  // Unscaled rope of these families turns whole heads whatever this says; with a scaling, transformers makes tables that do not fit the heads.
  if (type !== "default" && partial !== 1)
    throw new WorkbenchError(
      "config.unsupported",
      `${where}: partial_rotary_factor is ${quoted(partial)} with rope type "${type}", which transformers cannot run in this family either; expected 1`,
    );
  const theta = Object.hasOwn(settings, "rope_theta") ? settings["rope_theta"] : Object.hasOwn(raw, "rope_theta") ? raw["rope_theta"] : 10_000;
  if (typeof theta !== "number" || !(theta > 0 && theta < Infinity))
    throw new WorkbenchError("config.malformed", `${where}: rope_theta is ${quoted(theta)}; expected a positive number`);
  const pretrained = raw["original_max_position_embeddings"] ?? settings["original_max_position_embeddings"] ?? maxPositions;
  const scaling = pretrainedLengthTypes.includes(type) ? { ...settings, original_max_position_embeddings: pretrained } : settings;
  const rope = { type, theta, dHead, maxPositions, scaling };
  inverseFrequencies(rope, 1); // reads every parameter the kind needs, so that a missing one is found at opening
  return rope;
}

/**
 * Angular frequency of each pair of dimensions, and the factor put on cos and sin.
 * default θ^(−2i/d) · linear: divided by the factor · dynamic: θ grows with the sequence (NTK) ·
 * llama3: long wavelengths divided, a smooth band between · yarn: a ramp between both, attention factor 0.1 ln(s) + 1 ·
 * longrope: each frequency divided by its own factor, one list up to the pretrained length and one beyond, attention factor √(1 + ln s / ln length).
 * @param sequenceLength positions in use; "dynamic" and "longrope" depend on it
 * @returns `frequencies` `[dHead / 2]`
 * @see transformers `modeling_rope_utils.py`
 */
export function inverseFrequencies(rope: RopeConfig, sequenceLength: number): { frequencies: Float64Array; attentionFactor: number } {
  const { dHead: d, theta } = rope;
  const half = d / 2;
  const plain = (base: number) => Float64Array.from({ length: half }, (_, i) => base ** ((-2 * i) / d));
  switch (rope.type) {
    case "default":
      return { frequencies: plain(theta), attentionFactor: 1 };
    case "linear":
      return { frequencies: plain(theta).map((f) => f / positiveNumber(rope, "factor")), attentionFactor: 1 };
    case "dynamic": {
      const s = positiveNumber(rope, "factor");
      const length = Math.max(sequenceLength, rope.maxPositions);
      return { frequencies: plain(theta * ((s * length) / rope.maxPositions - (s - 1)) ** (d / (d - 2))), attentionFactor: 1 };
    }
    case "llama3": {
      const s = positiveNumber(rope, "factor");
      const low = positiveNumber(rope, "low_freq_factor");
      const high = positiveNumber(rope, "high_freq_factor");
      const original = positiveNumber(rope, "original_max_position_embeddings");
      const frequencies = plain(theta).map((f) => {
        const wavelength = (2 * Math.PI) / f;
        if (wavelength < original / high) return f;
        if (wavelength > original / low) return f / s;
        const smooth = (original / wavelength - low) / (high - low);
        return ((1 - smooth) * f) / s + smooth * f;
      });
      return { frequencies, attentionFactor: 1 };
    }
    case "yarn":
      return yarn(rope, plain(theta));
    case "longrope": {
      const original = positiveNumber(rope, "original_max_position_embeddings");
      const factors = factorList(rope, sequenceLength > original ? "long_factor" : "short_factor", half);
      const s = optionalNumber(rope, "factor") ?? rope.maxPositions / original;
      const attentionFactor = optionalNumber(rope, "attention_factor") ?? (s <= 1 ? 1 : Math.sqrt(1 + Math.log(s) / Math.log(original)));
      return { frequencies: plain(theta).map((f, i) => f / (factors[i] ?? NaN)), attentionFactor };
    }
    default:
      rope.type satisfies never;
      throw new Error("internal: rope type");
  }
}

/** @see Peng et al. 2023, "YaRN", equations 17–23 */
function yarn(rope: RopeConfig, extrapolated: Float64Array): { frequencies: Float64Array; attentionFactor: number } {
  const { dHead: d, theta, scaling } = rope;
  const original = positiveNumber(rope, "original_max_position_embeddings");
  // Null asks for the ratio of both lengths; absent is refused there.
  const s = scaling["factor"] === null ? rope.maxPositions / original : positiveNumber(rope, "factor");
  const mscaleOf = (scale: number, mscale: number) => (scale <= 1 ? 1 : 0.1 * mscale * Math.log(scale) + 1);
  const mscale = optionalNumber(rope, "mscale");
  const mscaleAll = optionalNumber(rope, "mscale_all_dim");
  const attentionFactor = optionalNumber(rope, "attention_factor") ?? (mscale && mscaleAll ? mscaleOf(s, mscale) / mscaleOf(s, mscaleAll) : mscaleOf(s, 1));
  const dimOf = (rotations: number) => (d * Math.log(original / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  // 0 means "not given" there, too.
  let low = dimOf(optionalNumber(rope, "beta_fast") || 32);
  let high = dimOf(optionalNumber(rope, "beta_slow") || 1);
  if (scaling["truncate"] !== false) {
    low = Math.floor(low);
    high = Math.ceil(high);
  }
  low = Math.max(low, 0);
  high = Math.min(high, d - 1);
  if (low === high) high += 0.001;
  const frequencies = extrapolated.map((f, i) => {
    const interpolate = Math.min(1, Math.max(0, (i - low) / (high - low)));
    return (f / s) * interpolate + f * (1 - interpolate);
  });
  return { frequencies, attentionFactor };
}

/**
 * cos and sin of position × frequency, both halves of a head alike.
 * @param length tokens of the prompt, which frequencies may depend on; positions beyond it are padding
 * @returns `[positions, dHead]` each
 */
export function rotaryTables(rope: RopeConfig, positions: number, length = positions): { cos: Float32Array; sin: Float32Array } {
  const { frequencies, attentionFactor } = inverseFrequencies(rope, length);
  const half = rope.dHead / 2;
  const cos = new Float32Array(positions * rope.dHead);
  const sin = new Float32Array(positions * rope.dHead);
  for (let p = 0; p < positions; p++) {
    for (let i = 0; i < rope.dHead; i++) {
      // The reference multiplies in float32; so do we, else long contexts differ.
      const angle = Math.fround(p * Math.fround(frequencies[i % half]!));
      cos[p * rope.dHead + i] = Math.cos(angle) * attentionFactor;
      sin[p * rope.dHead + i] = Math.sin(angle) * attentionFactor;
    }
  }
  return { cos, sin };
}

/**
 * The tables as streams of a forward pass.
 * @param lengths tokens of each row, or of all
 * @returns cos and sin, `[positions, dHead]` each; `[rows, positions, dHead]` where rows of different lengths have different angles
 */
export function rotaryStreams(rope: RopeConfig, positions: number, lengths: readonly number[]): Record<"cos" | "sin", FloatTensor> {
  const tables = new Map([...new Set(lengths)].map((length) => [length, rotaryTables(rope, positions, length)]));
  const [first = rotaryTables(rope, positions), ...others] = tables.values();
  const areAlike = others.every(({ cos, sin }) => equalArrays(cos, first.cos) && equalArrays(sin, first.sin));
  if (areAlike) return { cos: float32(first.cos, [positions, rope.dHead]), sin: float32(first.sin, [positions, rope.dHead]) };
  const stacked = (part: "cos" | "sin") => {
    const data = new Float32Array(lengths.length * first.cos.length);
    lengths.forEach((length, row) => data.set((tables.get(length) ?? first)[part], row * first.cos.length));
    return float32(data, [lengths.length, positions, rope.dHead]);
  };
  return { cos: stacked("cos"), sin: stacked("sin") };
}

const equalArrays = (a: Float32Array, b: Float32Array): boolean => a.every((value, i) => value === b[i]);

function isRopeType(value: unknown): value is RopeType {
  return ropeTypes.some((type) => type === value);
}

function positiveNumber(rope: RopeConfig, key: string): number {
  const value = optionalNumber(rope, key);
  if (value === undefined) throw new WorkbenchError("config.malformed", `config.json: rope type "${rope.type}" needs "${key}", which is missing`);
  if (value <= 0) throw new WorkbenchError("config.malformed", `config.json: rope "${key}" is ${value}; expected a positive number`);
  return value;
}

function factorList(rope: RopeConfig, key: string, length: number): readonly number[] {
  const value = rope.scaling[key];
  if (!Array.isArray(value) || value.length !== length || !value.every((factor): factor is number => typeof factor === "number" && factor > 0))
    throw new WorkbenchError("config.malformed", `config.json: rope type "${rope.type}" needs "${key}", a list of ${length} positive numbers`);
  return value;
}

/** As Python takes `rope_scaling or rope_parameters`. */
function isEmpty(value: unknown): boolean {
  return value === undefined || value === null || (typeof value === "object" && Object.keys(value).length === 0);
}

function optionalNumber(rope: RopeConfig, key: string): number | undefined {
  const value = rope.scaling[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "number" || !Number.isFinite(value))
    throw new WorkbenchError("config.malformed", `config.json: rope "${key}" is ${quoted(value)}; expected a number`);
  return value;
}

function asRecord(value: unknown, where: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new WorkbenchError("config.malformed", `${where} is ${quoted(value)}; expected an object`);
  return Object.fromEntries(Object.entries(value));
}
