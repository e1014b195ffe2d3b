/** Rotary position embeddings: the frequencies of each scaling kind, as transformers computes them. */
import { WorkbenchError } from "../errors.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import { didYouMean } from "../nearNames.ts";

export const ropeTypes = ["default", "linear", "dynamic", "yarn", "llama3"] as const;
export type RopeType = (typeof ropeTypes)[number];

export interface RopeConfig {
  readonly type: RopeType;
  readonly theta: number;
  readonly dHead: number;
  readonly maxPositions: number;
  /** The scaling parameters as on disk; each kind reads its own. */
  readonly scaling: Readonly<Record<string, unknown>>;
}

/**
 * Reads `rope_parameters` (transformers 5) or `rope_theta` + `rope_scaling` (before).
 * @throws "config.unsupported" on a rope type that is not implemented, "config.malformed" on a missing number
 */
export function parseRope(raw: Readonly<Record<string, unknown>>, dHead: number, maxPositions: number, where: string): RopeConfig {
  const scaling = asRecord(raw["rope_parameters"] ?? raw["rope_scaling"] ?? {}, `${where}: rope_scaling`);
  const type = scaling["rope_type"] ?? scaling["type"] ?? "default";
  if (!isRopeType(type)) {
    throw new WorkbenchError(
      "config.unsupported",
      `${where}: rope type ${JSON.stringify(type)} is not supported; expected one of ${ropeTypes.join(", ")} (${didYouMean(String(type), ropeTypes)})`,
    );
  }
  const partial = scaling["partial_rotary_factor"] ?? raw["partial_rotary_factor"] ?? 1;
  if (partial !== 1) throw new WorkbenchError("config.unsupported", `${where}: partial_rotary_factor is ${String(partial)}; only 1 is supported`);
  const theta = scaling["rope_theta"] ?? raw["rope_theta"] ?? 10_000;
  if (typeof theta !== "number" || !(theta > 0))
    throw new WorkbenchError("config.malformed", `${where}: rope_theta is ${JSON.stringify(theta)}; expected a positive number`);
  const rope = { type, theta, dHead, maxPositions, scaling };
  inverseFrequencies(rope, 1); // reads every parameter the kind needs, so that a missing one is found at opening
  return rope;
}

/**
 * Angular frequency of each pair of dimensions, and the factor put on cos and sin.
 * default θ^(−2i/d) · linear: divided by the factor · dynamic: θ grows with the sequence (NTK) ·
 * llama3: long wavelengths divided, a smooth band between · yarn: a ramp between both, attention factor 0.1 ln(s) + 1.
 * @param sequenceLength positions in use; only "dynamic" depends on it
 * @returns `frequencies` `[dHead / 2]`
 * @see transformers `modeling_rope_utils.py`
 */
export function inverseFrequencies(rope: RopeConfig, sequenceLength: number): { frequencies: Float64Array; attentionFactor: number } {
  const { dHead: d, theta } = rope;
  const half = d / 2;
  const plain = (base: number) => Float64Array.from({ length: half }, (_, i) => base ** ((-2 * i) / d));
  const read = (key: string) => requiredNumber(rope, key);
  switch (rope.type) {
    case "default":
      return { frequencies: plain(theta), attentionFactor: 1 };
    case "linear":
      return { frequencies: plain(theta).map((f) => f / read("factor")), attentionFactor: 1 };
    case "dynamic": {
      const s = read("factor");
      const length = Math.max(sequenceLength, rope.maxPositions);
      return { frequencies: plain(theta * ((s * length) / rope.maxPositions - (s - 1)) ** (d / (d - 2))), attentionFactor: 1 };
    }
    case "llama3": {
      const s = read("factor");
      const low = read("low_freq_factor");
      const high = read("high_freq_factor");
      const original = read("original_max_position_embeddings");
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
    default:
      rope.type satisfies never;
      throw new Error("internal: rope type");
  }
}

/** @see Peng et al. 2023, "YaRN", equations 17–23 */
function yarn(rope: RopeConfig, extrapolated: Float64Array): { frequencies: Float64Array; attentionFactor: number } {
  const { dHead: d, theta, scaling } = rope;
  const original = optionalNumber(rope, "original_max_position_embeddings") ?? rope.maxPositions;
  const s = optionalNumber(rope, "factor") ?? rope.maxPositions / original;
  const mscaleOf = (scale: number, mscale: number) => (scale <= 1 ? 1 : 0.1 * mscale * Math.log(scale) + 1);
  const mscale = optionalNumber(rope, "mscale");
  const mscaleAll = optionalNumber(rope, "mscale_all_dim");
  const attentionFactor = optionalNumber(rope, "attention_factor") ?? (mscale && mscaleAll ? mscaleOf(s, mscale) / mscaleOf(s, mscaleAll) : mscaleOf(s, 1));
  const dimOf = (rotations: number) => (d * Math.log(original / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  let low = dimOf(optionalNumber(rope, "beta_fast") ?? 32);
  let high = dimOf(optionalNumber(rope, "beta_slow") ?? 1);
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

function requiredNumber(rope: RopeConfig, key: string): number {
  const value = optionalNumber(rope, key);
  if (value === undefined) throw new WorkbenchError("config.malformed", `config.json: rope type "${rope.type}" needs "${key}", which is missing`);
  return value;
}

function optionalNumber(rope: RopeConfig, key: string): number | undefined {
  const value = rope.scaling[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "number" || !Number.isFinite(value))
    throw new WorkbenchError("config.malformed", `config.json: rope "${key}" is ${JSON.stringify(value)}; expected a number`);
  return value;
}

function asRecord(value: unknown, where: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new WorkbenchError("config.malformed", `${where} is ${JSON.stringify(value)}; expected an object`);
  return Object.fromEntries(Object.entries(value));
}
