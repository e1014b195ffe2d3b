/** The live side of the wire: a typed socket whose binary attachments become typed arrays here, once. */
import { io, type Socket } from "socket.io-client";
import type { ProbeEvent } from "../probes/result.ts";
import type { ClientToServer, RunRecord, ServerToClient, WireError } from "../server/wire.ts";

export type WatchAnswer = { ok: true; record: RunRecord } | { ok: false; error: WireError };

/** Bytes as socket.io hands them over (a whole ArrayBuffer in browsers, a view elsewhere) as little-endian float32. */
export function float32(data: unknown): Float32Array {
  if (data instanceof Float32Array) return data;
  if (data instanceof ArrayBuffer) return new Float32Array(data);
  if (ArrayBuffer.isView(data)) return new Float32Array(new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice().buffer);
  if (Array.isArray(data)) return Float32Array.from(data, (value) => (typeof value === "number" ? value : NaN));
  throw new Error("internal: a tile without numbers");
}

const rebuilt = (event: ProbeEvent): ProbeEvent => (event.type === "tile" ? { ...event, data: float32(event.data) } : event);

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
  socket.on("run:events", ({ runId, seq, events }) => handlers.onEvents(runId, seq, events.map(rebuilt)));
  socket.on("run:removed", (runId) => handlers.onRemoved(runId));
  socket.on("connect", () => handlers.onConnection(true));
  socket.on("disconnect", () => handlers.onConnection(false));
  return {
    watch: (runId) => new Promise((resolve) => socket.emit("run:watch", runId, resolve)),
    unwatch: (runId) => void socket.emit("run:unwatch", runId),
  };
}
