/** The live side of the wire: a typed socket whose packets become events with typed arrays here, once. */
import { io, type Socket } from "socket.io-client";
import type { ProbeEvent } from "../probes/result.ts";
import { unpackEvents } from "../server/packedEvents.ts";
import type { ClientToServer, RunRecord, ServerToClient, WireError } from "../server/wire.ts";

export type WatchAnswer = { ok: true; record: RunRecord } | { ok: false; error: WireError };

export interface SocketHandlers {
  onRecord(record: RunRecord): void;
  onEvents(runId: string, seq: number, events: ProbeEvent[]): void;
  onRemoved(runId: string): void;
  onConnection(isConnected: boolean): void;
}

export interface LiveSocket {
  watch(runId: string): Promise<WatchAnswer>;
  unwatch(runId: string): void;
}

export function connectSocket(handlers: SocketHandlers): LiveSocket {
  const socket: Socket<ServerToClient, ClientToServer> = io({ transports: ["websocket", "polling"] });
  socket.on("run:record", (record) => handlers.onRecord(record));
  socket.on("run:events", ({ runId, seq, events, numbers }) => handlers.onEvents(runId, seq, unpackEvents(events, numbers)));
  socket.on("run:removed", (runId) => handlers.onRemoved(runId));
  socket.on("connect", () => handlers.onConnection(true));
  socket.on("disconnect", () => handlers.onConnection(false));
  return {
    watch: (runId) => new Promise((resolve) => socket.emit("run:watch", runId, resolve)),
    unwatch: (runId) => void socket.emit("run:unwatch", runId),
  };
}
