/** What a probe is: one analysis, declared as data plus an async generator of small typed events. */
import type * as z from "zod";
import type { Subject } from "../server/runs/subject.ts";
import type { ProbeEvent } from "./result.ts";

export const needs = ["weights", "activations", "training"] as const;
export type Needs = (typeof needs)[number];

/** What a run gets that keeps state on disk and can be paused. */
export interface Workspace {
  /** The run's own folder. */
  readonly folder: string;
  /** Asked between steps: whether to write a checkpoint and end. */
  isPaused(): boolean;
}

export interface ProbeSpec<Params> {
  readonly title: string;
  /** One sentence: the question it answers. */
  readonly summary: string;
  /** Paper or tool the definition comes from. */
  readonly source: string;
  /** "weights": runs on an adapter without its base; "training": makes an adapter, and needs a workspace. */
  readonly needs: Needs;
  /** The smallest and largest number of adapters it makes sense with. */
  readonly adapters: { readonly min: number; readonly max: number };
  /** Parser, defaults, form, `--help` and API docs all come from this schema; every field has `.describe()`. */
  readonly params: z.ZodType<Params>;
  /** Yields events as numbers become final; stops at the next tile when the signal aborts. */
  run(subject: Subject, params: Params, signal: AbortSignal, workspace?: Workspace): AsyncGenerator<ProbeEvent, void, void>;
}

/** What the table and the server see: parameters still unparsed. */
export interface Probe extends Omit<ProbeSpec<unknown>, "params" | "run"> {
  readonly params: z.ZodType;
  /** @throws "probe.badParams" naming the field, "probe.notApplicable" when the subject lacks what the probe needs */
  run(subject: Subject, rawParams: unknown, signal: AbortSignal, workspace?: Workspace): AsyncGenerator<ProbeEvent, void, void>;
}
