/** Many who watch one run, one of whom never reads. */
import { Server } from "socket.io";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { applyEvent, emptyResult, type ProbeResult } from "../../probes/result.ts";
import { unpackEvents } from "../../server/packedEvents.ts";
import { unsent } from "../../server/sockets/backlog.ts";
import { startServer, type TestServer, type TestSocket } from "./startServer.ts";

let server: TestServer;
let io: Server;
beforeAll(async () => {
  const listen = vi.spyOn(Server.prototype, "use");
  server = await startServer();
  const found: unknown = listen.mock.contexts[0];
  if (!(found instanceof Server)) throw new Error("the server is expected to make one socket.io server");
  io = found;
  listen.mockRestore();
});
afterAll(() => server.close());

const connected = (socket: TestSocket): Promise<void> => new Promise((resolve) => socket.on("connect", resolve));
const watch = (socket: TestSocket, id: string): Promise<unknown> => new Promise((resolve) => socket.emit("run:watch", id, resolve));

/** Its line is held at the system's door: what it was sent stays in kernels and, were there no bound, in the server. */
function stall(socket: TestSocket): () => void {
  const transport: object = socket.io.engine.transport;
  if (
    !("ws" in transport) ||
    typeof transport.ws !== "object" ||
    transport.ws === null ||
    !("pause" in transport.ws) ||
    typeof transport.ws.pause !== "function"
  )
    throw new Error("the test client is expected to be a WebSocket of the ws package");
  const { ws } = transport;
  transport.ws.pause();
  return () => {
    if ("resume" in ws && typeof ws.resume === "function") ws.resume();
  };
}

describe("eleven watchers of one run", () => {
  const [steps, width] = [2000, 4000];
  const runBytes = 4 * steps * width;

  test("ten get every look, and the one that never reads leaves a bounded backlog and the run as it is", async () => {
    const sockets = Array.from({ length: 11 }, () => server.connect());
    await Promise.all(sockets.map(connected));
    const seen = sockets.map((): { result: ProbeResult; looks: Set<number> } => ({ result: emptyResult, looks: new Set<number>() }));
    const { id } = await server.startRun("rewriting", { steps, everyMs: 4, width });
    sockets.forEach((socket, i) => {
      const own = seen[i]!;
      socket.on("run:events", ({ runId, seq, events, numbers }) => {
        if (runId !== id) return;
        const rebuilt = unpackEvents(events, numbers);
        own.result = rebuilt.reduce(applyEvent, seq === 0 ? emptyResult : own.result);
        for (const event of rebuilt) if (event.type === "tile") own.looks.add(event.data[0]!);
      });
    });
    await Promise.all(sockets.map((socket) => watch(socket, id)));
    const first = Math.min(...seen.map(({ looks }) => Math.min(...looks)));
    const goOn = stall(sockets[10]!);

    const held = (): { packets: number; bytes: number }[] => [...io.sockets.sockets.values()].map(({ conn }) => unsent(conn));
    let largest = { packets: 0, bytes: 0 };
    while (server.board.record(id).endedAt === null) {
      for (const { packets, bytes } of held()) largest = { packets: Math.max(largest.packets, packets), bytes: Math.max(largest.bytes, bytes) };
      await delay(10);
    }
    expect(server.board.record(id)).toMatchObject({ state: "done", progress: { done: steps } });
    const readers = seen.slice(0, 10);
    while (readers.some(({ result }) => result.finding === null)) await delay(10);
    for (const { looks, result } of readers) {
      expect(looks.size).toBeGreaterThanOrEqual(steps - Math.max(1, first));
      expect(result.arrays["latest"]!.data).toEqual(new Float32Array(width).fill(steps));
    }

    // What goes over the bound is one packet: half a megabyte and at most one tile more.
    const bound = 8 * 2 ** 20 + 2 ** 19 + 4 * width + 10_000;
    expect(bound).toBeLessThan(runBytes / 3);
    expect(seen[10]!.result.finding).toBeNull();
    expect(largest.bytes).toBeLessThan(bound);
    const stalled = Math.max(...held().map(({ bytes }) => bytes));
    expect(stalled).toBeGreaterThan(2 ** 20);
    // Later runs tell everybody of their states: to the stalled one the latest of each waits outside its line.
    for (let i = 0; i < 5; i++) await server.ended((await server.startRun("counting", { steps: 20, everyMs: 2 })).id);
    expect(Math.max(...held().map(({ bytes }) => bytes))).toBeLessThan(bound);
    goOn();
  });
});
