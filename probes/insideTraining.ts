/** Probes that run on an adapter while it trains: the same code as afterwards, at a declared cadence, on the adapter as it is at that step. */
import { WorkbenchError } from "../server/errors.ts";
import { didYouMean } from "../server/nearNames.ts";
import type { Subject } from "../server/runs/subject.ts";
import { onLiveSubject } from "../server/training/liveSubject.ts";
import type { Adaptation } from "../server/training/adaptation.ts";
import type { ProbeParams } from "../server/training/trainingParams.ts";
import { activationPatching } from "./activationPatching.ts";
import { adapterHealth } from "./adapterHealth.ts";
import { attentionPatterns } from "./attentionPatterns.ts";
import { componentAblation } from "./componentAblation.ts";
import { deltaSpectrum } from "./deltaSpectrum.ts";
import { logitLens } from "./logitLens.ts";
import type { Probe } from "./probe.ts";
import { applyEvent, emptyResult, type Figure, type ProbeEvent, type ProbeResult } from "./result.ts";

/** Those that look at one adapter; the order is the order of the tabs. */
export const ofOneAdapter = { adapterHealth, deltaSpectrum, activationPatching, componentAblation, logitLens, attentionPatterns } satisfies Record<
  string,
  Probe
>;

type Given = ProbeParams["analyses"][number];

export interface LiveRun {
  readonly base: Subject;
  readonly adaptation: Adaptation;
  readonly folder: string;
  /** Name of the adapter in hook names and figures. */
  readonly name: string;
}

/** Name of an array of the n-th analysis at one step. */
export const analysisArray = (index: number, step: number, array: string): string => `analysis.${index}.${step}.${array}`;

export class Analyses {
  readonly #given: readonly (Given & { readonly found: Probe })[];
  #result: ProbeResult = emptyResult;

  /** @throws "probe.unknown" with near names, "probe.badParams" naming the field, "training.badParams" when there is no adapter to look at */
  constructor(given: readonly Given[], adaptation: Adaptation) {
    if (given.length > 0 && !adaptation.method)
      throw new WorkbenchError("training.badParams", "probes.analyses: all weights are trained, so there is no adapter for a probe to look at");
    const table = new Map<string, Probe>(Object.entries(ofOneAdapter));
    this.#given = given.map((each, i) => {
      const probe = table.get(each.probe);
      if (!probe)
        throw new WorkbenchError(
          "training.badParams",
          `probes.analyses[${i}]: "${each.probe}" is no probe that looks at one adapter; ${didYouMean(each.probe, table.keys())}`,
        );
      const parsed = probe.params.safeParse(each.params);
      if (!parsed.success)
        throw new WorkbenchError(
          "training.badParams",
          `probes.analyses[${i}].params: ${parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`).join("; ")}`,
        );
      return { ...each, found: probe };
    });
  }

  /** Everything shown so far. */
  get result(): ProbeResult {
    return this.#result;
  }

  /** Takes up what an earlier part of the run showed. */
  restore(result: ProbeResult): void {
    this.#result = result;
  }

  /** Runs what is due at a step. Arrays carry the step in their names; of each figure the newest is shown. */
  async *after(step: number, isLast: boolean, live: LiveRun, signal: AbortSignal): AsyncGenerator<ProbeEvent, void, void> {
    for (const [index, analysis] of this.#given.entries()) {
      if (step % analysis.every !== 0 && !isLast) continue;
      const events: ProbeEvent[] = [];
      try {
        for await (const event of onLiveSubject(live.base, live, (subject) => analysis.found.run(subject, analysis.params, signal))) events.push(event);
      } catch (error) {
        // Early in a run the adapter may do nothing yet that the probe could measure; that is a result, not the end of the run.
        if (!(error instanceof WorkbenchError) || error.code !== "probe.notApplicable") throw error;
        yield* this.#kept([
          { type: "check", check: { name: `${analysis.found.title}, while training`, ok: false, value: step, expected: `step ${step}: ${error.message}` } },
        ]);
        continue;
      }
      yield* this.#kept(shown(events, index, step, analysis.found.title));
    }
  }

  *#kept(events: readonly ProbeEvent[]): Generator<ProbeEvent> {
    for (const event of events) {
      this.#result = applyEvent(this.#result, event);
      yield event;
    }
  }
}

/** A probe's events as part of a training run: names of their own, and what it found in words below its figures' titles. */
function shown(events: readonly ProbeEvent[], index: number, step: number, title: string): ProbeEvent[] {
  const finding = events.reduce<string | null>((last, event) => (event.type === "finding" ? event.text : last), null);
  return events.flatMap((event): ProbeEvent[] => {
    switch (event.type) {
      case "array":
        return [{ ...event, name: analysisArray(index, step, event.name) }];
      case "tile":
        return [{ ...event, array: analysisArray(index, step, event.array) }];
      case "figure": {
        const figure = withArrays(event.figure, (array) => analysisArray(index, step, array));
        const words = [`After step ${step}`, figure.subtitle, finding].filter((part) => part !== null && part !== "");
        return [
          { type: "figure", figure: { ...figure, id: `analysis.${index}.${figure.id}`, title: `${title}: ${figure.title}`, subtitle: words.join(" · ") } },
        ];
      }
      case "check":
        return [{ type: "check", check: { ...event.check, name: `${title}, while training: ${event.check.name}` } }];
      default:
        return [];
    }
  });
}

/** The figure with its references to arrays under other names. */
function withArrays(figure: Figure, rename: (array: string) => string): Figure {
  const renamed = (value: unknown, key: string): unknown => {
    if (key === "array" && typeof value === "string") return rename(value);
    if (Array.isArray(value)) return value.map((each: unknown) => renamed(each, ""));
    if (typeof value === "object" && value !== null) return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, renamed(each, name)]));
    return value;
  };
  return renamed(figure, "") as Figure;
}
