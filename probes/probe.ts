/** What a probe is: one analysis, declared as data plus an async generator of small typed events. */
import type * as z from "zod";
import type { Subject } from "../server/runs/subject.ts";
import type { ProbeEvent } from "./result.ts";

export const needs = ["weights", "activations"] as const;
export type Needs = (typeof needs)[number];

export interface ProbeSpec<Params> {
  readonly title: string;
  /** One sentence: the question it answers. */
  readonly summary: string;
  /** Paper or tool the definition comes from. */
  readonly source: string;
  /** "weights": runs on an adapter without its base. */
  readonly needs: Needs;
  /** The smallest and largest number of adapters it makes sense with. */
  readonly adapters: { readonly min: number; readonly max: number };
  /** Parser, defaults, form, `--help` and API docs all come from this schema; every field has `.describe()`. */
  readonly params: z.ZodType<Params>;
  /** Yields events as numbers become final; stops at the next tile when the signal aborts. */
  run(subject: Subject, params: Params, signal: AbortSignal): AsyncGenerator<ProbeEvent, void, void>;
}

/** What the table and the server see: parameters still unparsed. */
export interface Probe extends Omit<ProbeSpec<unknown>, "params" | "run"> {
  readonly params: z.ZodType;
  /** @throws "probe.badParams" naming the field, "probe.notApplicable" when the subject lacks what the probe needs */
  run(subject: Subject, rawParams: unknown, signal: AbortSignal): AsyncGenerator<ProbeEvent, void, void>;
}
