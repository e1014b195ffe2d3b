/** The live result of one run: folds events as they come, hands them on in batches of at most 20 a second, the first at once. */
import type { ProbeEvent } from "../../probes/result.ts";
import { LiveResult } from "./liveResult.ts";

/** Between two batches at first; a run that goes on is told of more rarely: nobody reads more than five changes a second. */
const firstBatchEveryMs = 50;
const laterBatchEveryMs = 200;
/** A tenth of its age passes between two batches. */
const ageShare = 0.1;
export type FeedListener = (events: readonly ProbeEvent[]) => void;

export class RunFeed {
  readonly result: LiveResult;
  #pending: ProbeEvent[] = [];
  #lastFlush = -Infinity;
  readonly #started = performance.now();
  #timer: NodeJS.Timeout | null = null;
  readonly #listeners = new Set<FeedListener>();

  constructor(result = new LiveResult()) {
    this.result = result;
  }

  /** @throws when an event does not fit what was declared; the run is then broken */
  push(event: ProbeEvent): void {
    this.result.apply(event);
    this.#pending.push(event);
    const now = performance.now();
    const wait = this.#lastFlush + Math.min(laterBatchEveryMs, Math.max(firstBatchEveryMs, ageShare * (now - this.#started))) - now;
    if (wait <= 0) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), wait);
  }

  flush(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#lastFlush = performance.now();
    if (this.#pending.length === 0) return;
    const events = withMergedTiles(this.#pending);
    this.#pending = [];
    for (const listener of this.#listeners) listener(events);
  }

  /** Calls back with every later batch; what came before is in `result.snapshot()`. */
  listen(listener: FeedListener): () => void {
    this.flush();
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** Neighbouring tiles of one array become one, and only the last progress stays: fewer, larger packets. Tiles of one array keep their order. */
export function withMergedTiles(events: readonly ProbeEvent[]): ProbeEvent[] {
  const merged: ProbeEvent[] = [];
  const lastProgress = events.findLastIndex((event) => event.type === "progress");
  const waiting = new Map<string, Tile[][]>();
  const release = (): void => {
    for (const runs of waiting.values()) merged.push(...runs.map(joined));
    waiting.clear();
  };
  for (const [index, event] of events.entries()) {
    if (event.type === "tile") {
      const runs = waiting.get(event.array) ?? [];
      const last = runs.at(-1)?.at(-1);
      if (last && last.offset + last.data.length === event.offset) runs.at(-1)!.push(event);
      else runs.push([event]);
      waiting.set(event.array, runs);
      continue;
    }
    if (event.type === "progress" && index !== lastProgress) continue;
    // A declaration empties its array; nothing else minds the order of tiles.
    if (event.type === "array") release();
    merged.push(event);
  }
  release();
  return merged;
}

type Tile = Extract<ProbeEvent, { type: "tile" }>;

function joined(run: readonly Tile[]): Tile {
  const first = run[0]!;
  if (run.length === 1) return first;
  const data = new Float32Array(run.reduce((n, tile) => n + tile.data.length, 0));
  for (const tile of run) data.set(tile.data, tile.offset - first.offset);
  return { ...first, data };
}
