/** Events as they cross the socket: the numbers of all tiles of a packet in one block, as every attachment is a message of its own. */
import type { ProbeEvent } from "../probes/result.ts";

type Tile = Extract<ProbeEvent, { type: "tile" }>;
/** A tile's numbers are the next `length` of the packet's block. */
export type PackedEvent = Exclude<ProbeEvent, Tile> | (Omit<Tile, "data"> & { readonly length: number });

export interface PackedEvents {
  readonly events: readonly PackedEvent[];
  /** Little-endian float32. */
  readonly numbers: Uint8Array;
}

export function packEvents(events: readonly ProbeEvent[]): PackedEvents {
  const block = new Float32Array(events.reduce((sum, event) => sum + (event.type === "tile" ? event.data.length : 0), 0));
  let at = 0;
  const packed = events.map((event): PackedEvent => {
    if (event.type !== "tile") return event;
    const { data, ...about } = event;
    block.set(data, at);
    at += data.length;
    return { ...about, length: data.length };
  });
  return { events: packed, numbers: new Uint8Array(block.buffer) };
}

/** @param numbers bytes as socket.io hands them over: an ArrayBuffer in browsers, a view elsewhere */
export function unpackEvents(events: readonly PackedEvent[], numbers: ArrayBuffer | Uint8Array): ProbeEvent[] {
  // A view may begin at an address that float32 cannot, and Node's own `slice` of a Buffer is no copy.
  const block = new Float32Array(numbers instanceof ArrayBuffer ? numbers : new Uint8Array(numbers).buffer);
  let at = 0;
  return events.map((event): ProbeEvent => {
    if (event.type !== "tile") return event;
    const { length, ...about } = event;
    const data = block.slice(at, at + length);
    at += length;
    return { ...about, data };
  });
}
