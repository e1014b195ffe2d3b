/**
 * Which settings of a model a program depends on: those that its trace read. Programs are found again by their values, so two
 * models share a program exactly where their code would have read the same, and layers that differ in nothing share one too.
 */
import { WorkbenchError } from "../errors.ts";
import type { Frame, LayerField, ModelConfig } from "../models/family.ts";
import type { Engine, Program, ProgramFunction, Signature } from "../tensors/engine.ts";
import { LruCache } from "../tensors/lruCache.ts";
import { programKey } from "../tensors/signature.ts";

/** The part of a frame that settings come through. */
export type ConfigView = Pick<Frame, "config" | "ofLayer">;

export class ConfigReads {
  readonly #config: ModelConfig;
  readonly #layers: readonly (number | null)[];
  /** What was read, as "field" or "field of the n-th segment", and the value found. */
  readonly #found = new Map<string, string>();

  /** @param layers of each segment of the program, in its order */
  constructor(config: ModelConfig, layers: readonly (number | null)[]) {
    this.#config = config;
    this.#layers = layers;
  }

  /** The config as the n-th segment may see it. */
  view(segment: number): ConfigView {
    const read = (place: string) => this.#found.set(place, this.#value(place));
    return {
      config: new Proxy(this.#config, {
        get(target, field): unknown {
          if (typeof field === "string") read(field);
          return Reflect.get(target, field);
        },
      }),
      ofLayer: <Field extends LayerField>(field: Field): ModelConfig[Field][number] => {
        read(`${field} of ${segment}`);
        return this.#config[field][this.#layerOf(segment)] as ModelConfig[Field][number];
      },
    };
  }

  /** What was read so far, for another model to be held against. */
  found(): ReadonlyMap<string, string> {
    return new Map(this.#found);
  }

  /** Whether this model has the same in all those places. */
  agreesWith(found: ReadonlyMap<string, string>): boolean {
    return [...found].every(([place, value]) => this.#value(place) === value);
  }

  #value(place: string): string {
    const [field = "", segment] = place.split(" of ");
    const value: unknown = Reflect.get(this.#config, field);
    const entry: unknown = segment !== undefined && Array.isArray(value) ? value[this.#layerOf(Number(segment))] : value;
    return entry === undefined ? "absent" : JSON.stringify(entry);
  }

  #layerOf(segment: number): number {
    const layer = this.#layers[segment];
    if (typeof layer !== "number") throw new WorkbenchError("internal", "a segment outside the layers asked for a setting of its layer");
    return layer;
  }
}

interface Traced {
  readonly key: string;
  readonly found: ReadonlyMap<string, string>;
}

// Beyond this many shapes the oldest are traced anew.
const maxRemembered = 4096;
const traced = new WeakMap<Engine, LruCache<Traced[]>>();
const codes = new WeakMap<object, number>();
let lastCode = 0;
let lastTrace = 0;

/** A number for each function of a plan: the same function is the same code. */
function codeOf(run: object): number {
  const known = codes.get(run) ?? ++lastCode;
  codes.set(run, known);
  return known;
}

export interface ProgramRequest {
  /** The functions whose code the program is made of. */
  readonly code: readonly object[];
  /** All else that the trace depends on, beside the shapes: adapters, taps, edits. */
  readonly about: string;
  readonly reads: ConfigReads;
  readonly fn: ProgramFunction;
  readonly signature: Signature;
}

/** The program of these functions for a model with these settings: found again where an earlier trace read the same of its own model. */
export function programOf(engine: Engine, { code, about, reads, fn, signature }: ProgramRequest): Promise<Program> {
  const ofEngine = traced.get(engine) ?? new LruCache<Traced[]>(maxRemembered, Infinity, () => {});
  traced.set(engine, ofEngine);
  const title = `${code.map(codeOf).join(".")} | ${about}`;
  const shapes = programKey(title, signature);
  const known = ofEngine.get(shapes)?.find(({ found }) => reads.agreesWith(found));
  const key = known?.key ?? `${title} | settings ${++lastTrace}`;
  const remembering: ProgramFunction = (inputs, weights) => {
    const out = fn(inputs, weights);
    const others = (ofEngine.get(shapes) ?? []).filter((other) => other.key !== key);
    ofEngine.set(shapes, [...others, { key, found: reads.found() }], 0);
    return out;
  };
  return engine.compile(key, remembering, signature);
}
