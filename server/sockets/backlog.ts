/** How much one socket has not yet taken, and the little that is kept for it meanwhile: the latest of each thing, never a queue. */
import type { Socket } from "socket.io";

/** Over this much unsent, a client is behind. Packets are counted too, as each takes room beside its bytes; a look at a large model is hundreds. */
const maxUnsentBytes = 8 * 2 ** 20;
const maxUnsentPackets = 4096;
const askEveryMs = 250;

type Connection = Pick<Socket, "conn">;

export function isBehind({ conn }: Connection): boolean {
  const { packets, bytes } = unsent(conn);
  return packets > maxUnsentPackets || bytes > maxUnsentBytes;
}

/** What waits in this process: packets not yet given to the transport, and what the transport has not yet given to the system. */
export function unsent(connection: object): { packets: number; bytes: number } {
  const waiting: readonly unknown[] = "writeBuffer" in connection && Array.isArray(connection.writeBuffer) ? connection.writeBuffer : [];
  const transport = "transport" in connection && typeof connection.transport === "object" ? connection.transport : null;
  return { packets: waiting.length, bytes: waiting.reduce<number>((sum, packet) => sum + packetBytes(packet), 0) + (transport ? bufferedBytes(transport) : 0) };
}

function packetBytes(packet: unknown): number {
  if (typeof packet !== "object" || packet === null || !("data" in packet)) return 0;
  const { data } = packet;
  if (typeof data === "string") return data.length;
  return ArrayBuffer.isView(data) || data instanceof ArrayBuffer ? data.byteLength : 0;
}

/** What the WebSocket holds in memory; long polling holds everything in the write buffer. */
function bufferedBytes(transport: object): number {
  const inner = "socket" in transport ? transport.socket : null;
  return typeof inner === "object" && inner !== null && "bufferedAmount" in inner && typeof inner.bufferedAmount === "number" ? inner.bufferedAmount : 0;
}

/** Sends under a key at once, or, to a client that is behind, the latest of each key when its line is free. */
export class LatestOnly {
  readonly #socket: Connection;
  readonly #waiting = new Map<string, () => void>();
  #timer: NodeJS.Timeout | null = null;

  constructor(socket: Connection) {
    this.#socket = socket;
  }

  send(key: string, emit: () => void): void {
    if (this.#waiting.size === 0 && !isBehind(this.#socket)) {
      emit();
      return;
    }
    // Deleted first, so that it goes to the end: what came last is sent last.
    this.#waiting.delete(key);
    this.#waiting.set(key, emit);
    this.#timer ??= setInterval(() => this.#flush(), askEveryMs);
  }

  stop(): void {
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = null;
    this.#waiting.clear();
  }

  #flush(): void {
    for (const [key, emit] of this.#waiting) {
      if (isBehind(this.#socket)) return;
      this.#waiting.delete(key);
      emit();
    }
    this.stop();
  }
}
