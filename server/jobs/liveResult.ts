/** The result of a run as far as it has come: events folded, numbers in blocks. */
import { applyEvent, emptyResult, type NamedArray, type ProbeEvent, type ProbeResult } from "../../probes/result.ts";
import { LiveArray } from "./liveArray.ts";

/** A result without its numbers. */
export type ResultOutline = Omit<ProbeResult, "arrays"> & { readonly arrays: Readonly<Record<string, Pick<NamedArray, "shape" | "axes">>> };

export class LiveResult {
  /** All but the arrays. */
  #rest: ProbeResult;
  readonly #arrays: Map<string, LiveArray>;

  /** @param result what it begins with: a run that goes on keeps what it had */
  constructor(result: ProbeResult = emptyResult) {
    this.#rest = { ...result, arrays: {} };
    this.#arrays = new Map(Object.entries(result.arrays).map(([name, array]) => [name, new LiveArray(array)]));
  }

  /** @throws when the event does not fit what was declared; the run is then broken */
  apply(event: ProbeEvent): void {
    if (event.type === "array") this.#arrays.set(event.name, new LiveArray(event));
    else if (event.type === "tile") this.#declared(event.array).write(event.offset, event.data);
    else this.#rest = applyEvent(this.#rest, event);
  }

  get outline(): ResultOutline {
    return { ...this.#rest, arrays: Object.fromEntries(Array.from(this.#arrays, ([name, { shape, axes }]) => [name, { shape, axes }])) };
  }

  get arrays(): ReadonlyMap<string, LiveArray> {
    return this.#arrays;
  }

  async whole(): Promise<ProbeResult> {
    const arrays: Record<string, NamedArray> = {};
    for (const [name, array] of this.#arrays) arrays[name] = await array.whole();
    return { ...this.#rest, arrays };
  }

  /** The events that build it as it is now; what has no numbers yet is not sent. */
  snapshot(): ProbeEvent[] {
    const { figures, checks, cost, progress, finding } = this.#rest;
    const events: ProbeEvent[] = [];
    for (const [name, array] of this.#arrays) {
      events.push({ type: "array", name, shape: array.shape, axes: array.axes });
      for (const tile of array.tiles()) events.push({ type: "tile", array: name, ...tile });
    }
    for (const figure of figures) events.push({ type: "figure", figure });
    for (const check of checks) events.push({ type: "check", check });
    if (cost) events.push({ type: "cost", ...cost });
    if (progress) events.push({ type: "progress", ...progress });
    if (finding !== null) events.push({ type: "finding", text: finding });
    return events;
  }

  #declared(name: string): LiveArray {
    const array = this.#arrays.get(name);
    if (!array) throw new Error(`internal: tile for array "${name}", which was not declared`);
    return array;
  }
}

/** A stored result as the events that build it from nothing. */
export function snapshotEvents(result: ProbeResult): readonly ProbeEvent[] {
  return new LiveResult(result).snapshot();
}
