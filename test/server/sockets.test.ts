import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { applyEvent, emptyResult, type ProbeEvent, type ProbeResult } from "../../probes/result.ts";
import { unpackEvents, type PackedEvents } from "../../server/packedEvents.ts";
import { RunFeed, withMergedTiles } from "../../server/jobs/runFeed.ts";
import { watchRuns, type RunSocket } from "../../server/sockets/watchRuns.ts";
import type { RunRecord } from "../../server/wire.ts";
import { startServer, type TestServer, type TestSocket } from "./startServer.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.close());

interface Seen {
  result: ProbeResult;
  readonly seqs: number[];
  readonly times: number[];
}

function follow(socket: TestSocket, id: string): Seen {
  const seen: Seen = { result: emptyResult, seqs: [], times: [] };
  socket.on("run:events", ({ runId, seq, events, numbers }) => {
    if (runId !== id) return;
    seen.seqs.push(seq);
    seen.times.push(performance.now());
    seen.result = unpackEvents(events, numbers).reduce(applyEvent, seen.result);
  });
  return seen;
}
const watch = (socket: TestSocket, id: string): Promise<{ ok: boolean }> => new Promise((resolve) => socket.emit("run:watch", id, resolve));
const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await delay(5);
};

describe("watching a run", () => {
  test("streams every number, in order, at most 20 batches a second", async () => {
    const socket = server.connect();
    const records: RunRecord[] = [];
    socket.on("run:record", (record) => records.push(record));
    await new Promise<void>((resolve) => socket.on("connect", resolve));
    const { id } = await server.startRun("counting", { steps: 200, everyMs: 2, width: 3 });
    const seen = follow(socket, id);
    expect(await watch(socket, id)).toMatchObject({ ok: true, record: { id } });
    await server.ended(id);
    await until(() => seen.result.finding !== null && records.at(-1)?.state === "done");
    expect(seen.seqs).toEqual(seen.seqs.map((_, i) => i));
    expect(seen.result.arrays["count"]!.data).toEqual((await server.board.probeResult(id)).arrays["count"]!.data);
    const seconds = (seen.times.at(-1)! - seen.times[0]!) / 1000;
    // The first batch and the last come at once, whatever the clock says.
    expect(seen.seqs.length).toBeLessThanOrEqual(Math.ceil(seconds * 20) + 3);
    expect(records.map(({ state }) => state).filter((state, i, all) => state !== all[i - 1])).toEqual(["queued", "running", "done"]);
  });

  test("that has ended gives its stored result as one batch", async () => {
    const { id } = await server.startRun("counting", { steps: 6 });
    await server.ended(id);
    const socket = server.connect();
    const seen = follow(socket, id);
    await watch(socket, id);
    await until(() => seen.seqs.length > 0);
    expect(seen.seqs).toEqual([0]);
    expect(seen.result).toEqual(await server.board.probeResult(id));
  });

  test("late joins with a snapshot and goes on", async () => {
    const { id } = await server.startRun("counting", { steps: 100, everyMs: 3 });
    await until(() => (server.board.record(id).progress?.done ?? 0) > 30);
    const socket = server.connect();
    const seen = follow(socket, id);
    await watch(socket, id);
    await until(() => seen.result.finding !== null);
    expect([...seen.result.arrays["count"]!.data]).toEqual(Array.from({ length: 100 }, (_, k) => k));
  });

  test("of an unknown name is refused in words, and nonsense is ignored", async () => {
    const socket = server.connect();
    expect(await watch(socket, "nothing")).toMatchObject({ ok: false, error: { code: "run.unknown" } });
    socket.emit("run:watch", { toString: 1 } as unknown as string, 5 as unknown as () => void);
    socket.emit("run:unwatch", null as unknown as string);
    expect(await watch(socket, "nothing")).toMatchObject({ ok: false });
  });
});

describe("a client that is too slow", () => {
  test("loses batches, sees the gap, and gets the latest state once its line is free", async () => {
    // A socket whose line can be blocked at will: what is tested is the rule, not the network.
    const line = { writeBuffer: new Array<number>(), transport: {} };
    const sent: ({ seq: number } & PackedEvents)[] = [];
    const handlers = new Map<string, (...args: unknown[]) => void>();
    const socket = {
      conn: line,
      on: (name: string, handler: (...args: unknown[]) => void) => handlers.set(name, handler),
      emit: (_name: string, batch: { seq: number } & PackedEvents) => sent.push(batch),
    };
    const { id } = await server.startRun("counting", { steps: 300, everyMs: 2 });
    watchRuns(socket as unknown as RunSocket, server.board, () => ({ code: "internal", message: "", requestId: "" }));
    handlers.get("run:watch")!(id, () => undefined);
    await until(() => sent.length > 1);
    line.writeBuffer = new Array<number>(10_000).fill(0);
    const before = sent.length;
    await delay(250);
    expect(sent.length).toBe(before);
    line.writeBuffer = [];
    await server.ended(id);
    await until(() => sent.length > before);
    await delay(300);
    const gap = sent[before]!.seq - sent[before - 1]!.seq;
    expect(gap).toBeGreaterThan(1);
    const result = sent
      .slice(before)
      .flatMap(({ events, numbers }) => unpackEvents(events, numbers))
      .reduce(applyEvent, emptyResult);
    expect(result.arrays["count"]!.data).toEqual(Float32Array.from({ length: 300 }, (_, k) => k));
    handlers.get("disconnect")!();
  });
});

describe("a feed", () => {
  test("gives the first event at once and the rest together", async () => {
    const feed = new RunFeed();
    const batches: number[] = [];
    feed.listen((events) => batches.push(events.length));
    feed.push({ type: "array", name: "a", shape: [4], axes: ["i"] });
    // Listening flushed nothing, so the array waits for its batch like any other.
    for (let i = 0; i < 4; i++) feed.push({ type: "tile", array: "a", offset: i, data: Float32Array.of(i) });
    await delay(80);
    expect(batches.reduce((a, b) => a + b, 0)).toBe(2);
    expect(feed.result.snapshot().reduce(applyEvent, emptyResult)).toEqual(await feed.result.whole());
  });

  test("merges neighbouring tiles of each array, whatever lies between them, and keeps a declaration before what follows it", () => {
    const tile = (array: string, offset: number, ...data: number[]): ProbeEvent => ({ type: "tile", array, offset, data: Float32Array.from(data) });
    const merged = withMergedTiles([tile("a", 0, 1, 2), tile("a", 2, 3), tile("b", 3, 4), tile("a", 3, 5), tile("a", 5, 6)]);
    expect(merged).toEqual([tile("a", 0, 1, 2, 3, 5), tile("a", 5, 6), tile("b", 3, 4)]);
    const declared: ProbeEvent = { type: "array", name: "a", shape: [2], axes: ["i"] };
    expect(withMergedTiles([tile("a", 0, 1), declared, tile("a", 1, 2)])).toEqual([tile("a", 0, 1), declared, tile("a", 1, 2)]);
  });
});
