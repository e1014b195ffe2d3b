/** Work in words that can be sent: the local queue tells each run's story in order, and the board needs nothing but the words. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import type { ProbeEvent } from "../../probes/result.ts";
import { LocalQueue } from "../../server/jobs/localQueue.ts";
import type { Queue, QueuedRun, QueueEvent } from "../../server/jobs/queue.ts";
import { RunBoard } from "../../server/jobs/runBoard.ts";
import { RunStore } from "../../server/jobs/runStore.ts";
import { startWorker } from "../../server/jobs/workerProcess.ts";

const folder = mkdtempSync(join(tmpdir(), "deltascope-queue-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const run = (id: string, probe: string, params: Record<string, unknown> = {}): QueuedRun => ({
  id,
  kind: "probe",
  request: { subject: { model: null, adapters: [] }, probe, params },
  folder,
});
const nothing = (): Promise<void> => Promise.resolve();

test("the local queue tells of each run from its start to its one end, and of one that waits only its end", async () => {
  const queue = new LocalQueue({ startWorker: () => startWorker(new URL("./fakeWorker.ts", import.meta.url), {}, []) });
  try {
    const seen: QueueEvent[] = [];
    queue.events((event) => seen.push(event));
    const story = (id: string): string[] => seen.filter((event) => event.id === id).map(({ type }) => type);
    await queue.enqueue(run("first", "counting", { steps: 400, everyMs: 5 }), nothing);
    await queue.enqueue(run("waiting", "counting"), nothing);
    await queue.enqueue(run("last", "counting"), nothing);
    expect(queue.counts).toEqual({ queued: 2, running: 1 });
    queue.cancel("waiting");
    while (!story("first").includes("told")) await delay(5);
    queue.cancel("first");
    while (!story("last").includes("ended")) await delay(5);
    expect(story("waiting")).toEqual(["failed"]);
    expect([story("first")[0], story("first").at(-1)]).toEqual(["started", "failed"]);
    expect(story("last").filter((type) => type !== "told")).toEqual(["started", "ended"]);
    expect(seen.flatMap((event) => (event.type === "failed" ? [event.error.code] : []))).toEqual(["job.cancelled", "job.cancelled"]);
    await expect(queue.enqueue(run("unprepared", "counting"), () => Promise.reject(new Error("no room")))).rejects.toThrow("no room");
    expect(story("unprepared")).toEqual([]);
  } finally {
    queue.close();
  }
});

/** A queue whose work is done elsewhere: whatever crosses it is copied as a message would be. */
class FarQueue implements Queue {
  readonly counts = { queued: 0, running: 0 };
  readonly cancelled: string[] = [];
  readonly #listeners = new Set<(event: QueueEvent) => void>();
  run: QueuedRun | null = null;
  async enqueue(queued: QueuedRun, prepare: () => Promise<void>): Promise<void> {
    await prepare();
    this.run = structuredClone(queued);
  }
  cancel(id: string): void {
    this.cancelled.push(id);
  }
  pause(id: string): void {
    this.cancelled.push(`pause ${id}`);
  }
  events(listener: (event: QueueEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  ask(): Promise<never> {
    return Promise.reject(new Error("no questions here"));
  }
  tell(event: QueueEvent): void {
    for (const listener of this.#listeners) listener(structuredClone(event));
  }
}

test("the board follows a run that is worked on elsewhere, and stops one whose numbers do not fit", async () => {
  const queue = new FarQueue();
  const { store, records } = await RunStore.open(folder, { kindOf: () => "probe" });
  const board = new RunBoard({ queue, store, records, version: "test", kindOf: () => "probe", logError: () => "logged" });
  const { id, request } = await board.submit(run("", "counting").request);
  expect(queue.run).toEqual({ id, kind: "probe", request, folder: store.folderOf(id) });
  expect(board.record(id).state).toBe("queued");
  const told = (event: ProbeEvent): void => queue.tell({ id, type: "told", event });
  queue.tell({ id, type: "started" });
  expect(board.record(id).state).toBe("running");
  told({ type: "array", name: "count", shape: [2], axes: ["step"] });
  told({ type: "tile", array: "count", offset: 0, data: new Float32Array([3, 4]) });
  queue.tell({ id, type: "ended", outcome: { engine: "far", hashes: {}, warnings: [], isPaused: false } });
  await board.idle();
  expect(board.record(id)).toMatchObject({ state: "done", provenance: { engine: "far" } });
  expect((await board.probeResult(id)).arrays["count"]?.data).toEqual(new Float32Array([3, 4]));

  const { id: broken } = await board.submit(request);
  queue.tell({ id: broken, type: "started" });
  queue.tell({ id: broken, type: "told", event: { type: "tile", array: "undeclared", offset: 0, data: new Float32Array(1) } });
  expect(queue.cancelled).toEqual([broken]);
  queue.tell({ id: broken, type: "failed", error: { code: "job.cancelled", message: "the job was cancelled", field: undefined, stack: undefined } });
  await board.idle();
  expect(board.record(broken)).toMatchObject({ state: "failed", error: { code: "internal" } });
});

test("a worker that was told what is likely opens it, runs the probe as far as its first numbers, and is free for the first run", async () => {
  const queue = new LocalQueue({ startWorker: () => startWorker(new URL("./fakeWorker.ts", import.meta.url), {}, []) });
  try {
    const seen: QueueEvent[] = [];
    queue.events((event) => seen.push(event));
    // Without end unless it is left at its first numbers; what it told before is nobody's.
    queue.warm({ subject: { model: null, adapters: [] }, run: { probe: "counting", params: { steps: 1_000_000, everyMs: 5 } } });
    expect(queue.counts).toEqual({ queued: 0, running: 0 });
    await queue.enqueue(run("first", "counting"), nothing);
    while (seen.at(-1)?.type !== "ended") await delay(5);
    expect([...new Set(seen.map(({ id }) => id))]).toEqual(["first"]);
    // What is wrong with it is for whoever asks for the same.
    const other = new LocalQueue({ startWorker: () => startWorker(new URL("./fakeWorker.ts", import.meta.url), {}, []) });
    other.warm({ subject: { model: "/no/such/model", adapters: [] }, run: { probe: "no such probe", params: {} } });
    await other.enqueue(run("second", "counting"), nothing);
    other.close();
  } finally {
    queue.close();
  }
});
