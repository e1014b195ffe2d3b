/** Streams a run's events to one socket: a snapshot first, then every batch; a client that is too slow gets gaps, then a new snapshot. */
import type { Socket } from "socket.io";
import type { ProbeEvent } from "../../probes/result.ts";
import type { RunBoard } from "../jobs/runBoard.ts";
import { snapshotEvents } from "../jobs/runFeed.ts";
import type { ClientToServer, ServerToClient, WireError } from "../wire.ts";

export type RunSocket = Socket<ClientToServer, ServerToClient>;

/** Over this much unsent, batches are dropped rather than kept. */
const maxUnsentBytes = 8 * 2 ** 20;
const maxUnsentPackets = 256;
const catchUpEveryMs = 250;
/** Socket.io clients refuse a packet with more than 10 binary attachments and drop the connection. */
const maxTilesInPacket = 8;

interface Watch {
  stop(): void;
}

export function watchRuns(socket: RunSocket, board: RunBoard, refuse: (thrown: unknown, about: object) => WireError): void {
  const watches = new Map<string, Watch>();

  socket.on("run:watch", (runId, reply) => {
    if (typeof runId !== "string" || typeof reply !== "function") return;
    try {
      const record = board.record(runId);
      watches.get(runId)?.stop();
      reply({ ok: true, record });
      watches.set(runId, watchRun(socket, board, runId, (thrown) => void refuse(thrown, { run: runId })));
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

function watchRun(socket: RunSocket, board: RunBoard, runId: string, fail: (thrown: unknown) => void): Watch {
  let seq = 0;
  let isStopped = false;
  let catchUp: NodeJS.Timeout | null = null;

  const send = (events: readonly ProbeEvent[]): void => {
    for (const packet of packets(events)) sendPacket(packet);
  };
  const sendPacket = (events: ProbeEvent[]): void => {
    const number = seq++;
    if (isStopped) return;
    if (!isBehind(socket)) {
      socket.emit("run:events", { runId, seq: number, events });
      return;
    }
    // The number is used up: the client sees the gap. Once its line is free it gets the latest state.
    catchUp ??= setInterval(() => {
      if (isBehind(socket)) return;
      if (catchUp) clearInterval(catchUp);
      catchUp = null;
      sendSnapshot().catch(fail);
    }, catchUpEveryMs);
  };
  const sendSnapshot = async (): Promise<void> => {
    const result = await board.probeResult(runId);
    send(snapshotEvents(result));
  };

  const unfollow = board.follow(runId, (events) => {
    // While behind, everything is in the snapshot that will be sent.
    if (!catchUp) send(events);
  });
  // Read before the next batch can come: a live result is at hand, and a stored one has no more batches.
  sendSnapshot().catch(fail);

  return {
    stop() {
      isStopped = true;
      unfollow();
      if (catchUp) clearInterval(catchUp);
    },
  };
}

/** Cut after every so many tiles; the order stays. */
function packets(events: readonly ProbeEvent[]): ProbeEvent[][] {
  const all: ProbeEvent[][] = [[]];
  let tiles = 0;
  for (const event of events) {
    if (event.type === "tile" && ++tiles > maxTilesInPacket) {
      all.push([]);
      tiles = 1;
    }
    all.at(-1)!.push(event);
  }
  return all;
}

function isBehind(socket: RunSocket): boolean {
  const connection: object = socket.conn;
  const packets = "writeBuffer" in connection && Array.isArray(connection.writeBuffer) ? connection.writeBuffer.length : 0;
  return packets > maxUnsentPackets || unsentBytes(socket.conn.transport) > maxUnsentBytes;
}

/** What the WebSocket holds in memory; long polling holds everything in the write buffer. */
function unsentBytes(transport: object): number {
  const inner = "socket" in transport ? transport.socket : null;
  return typeof inner === "object" && inner !== null && "bufferedAmount" in inner && typeof inner.bufferedAmount === "number" ? inner.bufferedAmount : 0;
}
