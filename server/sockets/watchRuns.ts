/** Streams a run's events to one socket: a snapshot first, then every batch; a client that is too slow gets gaps, then a new snapshot. */
import { setTimeout as delay } from "node:timers/promises";
import type { Socket } from "socket.io";
import type { ProbeEvent } from "../../probes/result.ts";
import type { RunBoard } from "../jobs/runBoard.ts";
import { WorkbenchError } from "../errors.ts";
import { packEvents } from "../packedEvents.ts";
import { isBehind } from "./backlog.ts";
import type { ClientToServer, ServerToClient, WireError } from "../wire.ts";

export type RunSocket = Socket<ClientToServer, ServerToClient>;

/** Of runs, by one connection. */
const maxWatches = 32;
const askEveryMs = 50;
/** Of events that wait while a snapshot is sent. */
const maxHeldBytes = 4 * 2 ** 20;
/** What an event counts as, beside its numbers. */
const anyEventBytes = 200;
const figureBytes = 10_000;
/** A packet with more numbers than this is cut, so that a line can fill and be found full between two of them. */
const maxPacketBytes = 2 ** 19;

interface Watch {
  stop(): void;
}

export function watchRuns(socket: RunSocket, board: RunBoard, refuse: (thrown: unknown, about: object) => WireError): void {
  const watches = new Map<string, Watch>();

  socket.on("run:watch", (runId, reply) => {
    if (typeof runId !== "string" || typeof reply !== "function") return;
    try {
      const record = board.record(runId);
      if (!watches.has(runId) && watches.size >= maxWatches)
        throw new WorkbenchError("request.tooMany", `this connection watches ${watches.size} runs; expected at most ${maxWatches}: leave some`);
      watches.get(runId)?.stop();
      reply({ ok: true, record });
      watches.set(
        runId,
        watchRun(socket, board, runId, (thrown) => void refuse(thrown, { run: runId })),
      );
    } catch (thrown) {
      reply({ ok: false, error: refuse(thrown, { watch: runId.slice(0, 80) }) });
    }
  });
  socket.on("run:unwatch", (runId) => {
    watches.get(runId)?.stop();
    watches.delete(runId);
  });
  socket.on("disconnect", () => {
    for (const watch of watches.values()) watch.stop();
    watches.clear();
  });
}

/**
 * A watch is either sending a snapshot, packet by packet as the line takes them, or passing on what comes. What comes during a snapshot
 * is held back up to a bound; past it, or when the line is full, it is dropped, and a new snapshot has it.
 */
function watchRun(socket: RunSocket, board: RunBoard, runId: string, fail: (thrown: unknown) => void): Watch {
  let seq = 0;
  const stop = new AbortController();
  /** Batches that came during a snapshot; null while there is none. */
  let held: ProbeEvent[] | null = null;
  let isStale = false;
  const hasMore = (): boolean => isStale;
  const isStopped = (): boolean => stop.signal.aborted;

  const emit = (packet: Packet): void => {
    socket.emit("run:events", { runId, seq: seq++, ...packet });
  };
  const lineIsFree = async (): Promise<void> => {
    while (isBehind(socket) && !isStopped()) await delay(askEveryMs);
  };
  const sendSnapshot = async (): Promise<void> => {
    do {
      held = [];
      isStale = false;
      // Read before the next batch can come: a live result is at hand, and a stored one has no more batches.
      const events = await board.snapshot(runId);
      for (const part of cut(events)) {
        await lineIsFree();
        if (isStopped()) return;
        emit(packEvents(part));
      }
    } while (hasMore());
    const after = held;
    held = null;
    take(after);
  };
  const take = (events: readonly ProbeEvent[]): void => {
    if (held) {
      if (isStale) return;
      held.push(...events);
      if (eventBytes(held) <= maxHeldBytes) return;
      held = [];
      isStale = true;
      return;
    }
    for (const packet of packets(events)) {
      if (!isBehind(socket)) {
        emit(packet);
        continue;
      }
      // The number is used up: the client sees the gap. Once its line is free it gets the latest state.
      seq++;
      held = [];
      isStale = true;
      lineIsFree().then(sendSnapshot).catch(fail);
      return;
    }
  };

  const unfollow = board.follow(runId, take);
  sendSnapshot().catch(fail);

  return {
    stop() {
      stop.abort();
      unfollow();
    },
  };
}

function eventBytes(events: readonly ProbeEvent[]): number {
  return events.reduce((sum, event) => sum + anyEventBytes + (event.type === "tile" ? event.data.byteLength : event.type === "figure" ? figureBytes : 0), 0);
}

type Packet = ReturnType<typeof packEvents>;
/** A feed gives all who follow it one batch, which is packed once. */
const packed = new WeakMap<readonly ProbeEvent[], readonly Packet[]>();

function packets(events: readonly ProbeEvent[]): readonly Packet[] {
  const known = packed.get(events);
  if (known) return known;
  const made = cut(events).map(packEvents);
  packed.set(events, made);
  return made;
}

/** Cut after so many bytes; the order stays. */
function cut(events: readonly ProbeEvent[]): ProbeEvent[][] {
  const all: ProbeEvent[][] = [[]];
  let bytes = 0;
  for (const event of events) {
    const own = eventBytes([event]);
    if (bytes > 0 && bytes + own > maxPacketBytes) {
      all.push([]);
      bytes = 0;
    }
    bytes += own;
    all.at(-1)!.push(event);
  }
  return all.filter((packet) => packet.length > 0);
}
