import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseSafetensors } from "../../server/formats/safetensors.ts";
import { RunStore } from "../../server/jobs/runStore.ts";
import { startServer, type TestServer } from "./startServer.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.close());

describe("a job", () => {
  test("runs to its end and leaves a complete run folder", async () => {
    const { id } = await server.startRun("counting", { steps: 5 });
    const record = await server.ended(id);
    expect(record).toMatchObject({ state: "done", error: null, progress: { done: 5, total: 5 } });
    expect(record.provenance).toMatchObject({
      version: "test",
      command: expect.stringContaining("deltascope probe counting --params '{\"steps\":5}'") as unknown,
    });
    const folder = join(server.folder, "log", "runs", id);
    expect(readdirSync(folder).toSorted()).toEqual(["arrays.safetensors", "environment.json", "request.json", "result.json"]);
    const stored = JSON.parse(readFileSync(join(folder, "result.json"), "utf8")) as object;
    expect(stored).toMatchObject({
      finding: "counted to 5",
      checks: [{ name: "counted", ok: true }],
      arrays: { count: { shape: [5, 1], axes: ["step", "copy"] } },
    });
    const bytes = await fetch(`http://127.0.0.1:${server.port}/api/runs/${id}/arrays.safetensors`).then((reply) => reply.bytes());
    expect([...parseSafetensors(bytes).tensors.get("count")!.data]).toEqual([0, 1, 2, 3, 4]);
  });

  test.each(["exiting", "killed", "uncaught", "outOfMemory"])("whose worker dies (%s) fails with words, and the next one runs", async (probe) => {
    const { id } = await server.startRun(probe);
    expect(await server.ended(id)).toMatchObject({ state: "failed", error: { code: "job.workerDied" } });
    expect((await server.call("GET", "/api/health")).status).toBe(200);
    const next = await server.startRun("counting");
    expect(await server.ended(next.id)).toMatchObject({ state: "done" });
  });

  test("that throws fails with the thrown words", async () => {
    const { id } = await server.startRun("refusing");
    expect(await server.ended(id)).toMatchObject({
      state: "failed",
      error: { code: "prompt.tooLong", message: "the prompt has 9 tokens; expected at most 8" },
    });
  });

  test("that writes outside its arrays fails, and the server lives", async () => {
    const { id } = await server.startRun("overflowing");
    expect(await server.ended(id)).toMatchObject({ state: "failed", error: { code: "internal" } });
  });

  test("is cancelled between tiles, keeps what it had, and a waiting one is cancelled before it starts", async () => {
    const running = await server.startRun("counting", { steps: 10_000, everyMs: 2 });
    const waiting = await server.startRun("counting");
    while (server.board.record(running.id).progress === null) await delay(5);
    expect(server.board.record(waiting.id).state).toBe("queued");
    await server.call("POST", `/api/runs/${waiting.id}/cancel`);
    expect(await server.ended(waiting.id)).toMatchObject({ state: "cancelled", startedAt: null });
    const asked = performance.now();
    await server.call("POST", `/api/runs/${running.id}/cancel`);
    expect(await server.ended(running.id)).toMatchObject({ state: "cancelled", error: null });
    expect(performance.now() - asked).toBeLessThan(250);
    expect((await server.board.probeResult(running.id)).arrays["count"]!.data[0]).toBe(0);
  });

  test("that does not listen loses its worker after the grace time", async () => {
    const { id } = await server.startRun("stuck");
    while (server.board.record(id).progress === null) await delay(5);
    server.board.cancel(id);
    expect(await server.ended(id)).toMatchObject({ state: "cancelled" });
    expect(await server.ended((await server.startRun("counting")).id)).toMatchObject({ state: "done" });
  });

  test("can be removed once it has ended, not before", async () => {
    const { id } = await server.startRun("counting", { steps: 1000, everyMs: 2 });
    expect((await server.call("DELETE", `/api/runs/${id}`)).status).toBe(409);
    server.board.cancel(id);
    await server.ended(id);
    expect((await server.call("DELETE", `/api/runs/${id}`)).status).toBe(204);
    expect((await server.call("GET", `/api/runs/${id}`)).status).toBe(404);
    expect(existsSync(join(server.folder, "log", "runs", id))).toBe(false);
  });
});

describe("while a job blocks its worker", () => {
  test("health answers fast and a card does not wait", async () => {
    const tokenize = () => server.call("POST", "/api/tokenize", { body: { subject: { model: null }, text: "ab" } });
    await tokenize();
    const { id } = await server.startRun("busy", { blockMs: 1500 });
    while (server.board.record(id).state !== "running") await delay(5);
    const latencies: number[] = [];
    while (server.board.record(id).state === "running") {
      const asked = performance.now();
      await server.call("GET", "/api/health");
      latencies.push(performance.now() - asked);
      if (latencies.length === 5) expect((await tokenize()).json).toEqual({ ids: [97, 98], tokens: ["a", "b"] });
      await delay(5);
    }
    const p95 = latencies.toSorted((a, b) => a - b)[Math.floor(latencies.length * 0.95)]!;
    expect(latencies.length).toBeGreaterThan(20);
    // Generous: this machine's cores are shared with the rest of the suite.
    expect(p95).toBeLessThan(250);
    if (process.env["DELTASCOPE_REPORT"]) process.stderr.write(`health p95 ${p95.toFixed(1)} ms of ${latencies.length}\n`);
  });
});

describe("the run store", () => {
  test("shows finished runs after a restart, and one in flight at the kill as failed", async () => {
    const folder = mkdtempSync(join(tmpdir(), "deltascope-store-"));
    const first = await startServer({ folder });
    const done = await first.startRun("counting");
    await first.ended(done.id);
    // What a killed server leaves: a request without a result, and half-written files.
    const inFlight = "20260101-000000-counting-abcdef";
    const request = { subject: { model: null, adapters: [] }, probe: "counting", params: {} };
    mkdirSync(join(folder, "log", "runs", inFlight));
    writeFileSync(join(folder, "log", "runs", inFlight, "request.json"), JSON.stringify({ id: inFlight, createdAt: "2026-01-01T00:00:00.000Z", request }));
    writeFileSync(join(folder, "log", "runs", inFlight, "result.json.tmp"), '{"rec');
    mkdirSync(join(folder, "log", "runs", ".tmp-20260101-000001-counting-abcdef"));
    mkdirSync(join(folder, "log", "runs", "a folder of somebody else"));

    const { records } = await RunStore.open(join(folder, "log"), { kindOf: () => "probe" });
    expect(records.map(({ id, state }) => [id, state])).toEqual([
      [done.id, "done"],
      [inFlight, "failed"],
    ]);
    expect(records[1]!.error).toMatchObject({ code: "job.serverStopped", message: expect.stringContaining("server stopped") as unknown });
    expect(existsSync(join(folder, "log", "runs", ".tmp-20260101-000001-counting-abcdef"))).toBe(false);
    const again = await RunStore.open(join(folder, "log"), { kindOf: () => "probe" });
    expect(again.records).toEqual(records);
    expect((await again.store.probeResult(done.id)).arrays["count"]!.data).toEqual(Float32Array.of(0, 1, 2, 3));
    await first.close();
  });
});
