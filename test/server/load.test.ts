/** Many at once, and disks that do not take what they are given. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync, readFileSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { encodeSafetensors, parseSafetensors } from "../../server/formats/safetensors.ts";
import { LiveResult } from "../../server/jobs/liveResult.ts";
import { arrayBytes } from "../../server/jobs/resultFolder.ts";
import { RunStore } from "../../server/jobs/runStore.ts";
import type { RunRecord } from "../../server/wire.ts";
import { startServer, type TestServer, type TestSocket } from "./startServer.ts";

let server: TestServer;
beforeEach(async () => {
  server = await startServer();
});
afterEach(() => server.close());

const runsFolder = (): string => join(server.folder, "log", "runs");
const nothing = { subject: { model: null }, params: {} };
const watch = (socket: TestSocket, id: string): Promise<{ ok: boolean }> => new Promise((resolve) => socket.emit("run:watch", id, resolve));

describe("requests that come at once", () => {
  test("are refused with 429 when the queue is full, before anything is made", async () => {
    const asked = await Promise.all(Array.from({ length: 150 }, () => server.call("POST", "/api/runs", { body: { ...nothing, probe: "stuck" } })));
    const accepted = asked.filter(({ status }) => status === 201);
    expect(new Set(asked.map(({ status }) => status))).toEqual(new Set([201, 429]));
    expect(readdirSync(runsFolder())).toHaveLength(accepted.length);
    expect(server.board.list().map(({ state }) => state)).not.toContain("failed");
    expect(accepted.length).toBeLessThanOrEqual(65);
  });

  test("to remove one run find it once", async () => {
    const { id } = await server.startRun("counting");
    await server.ended(id);
    const statuses = await Promise.all(Array.from({ length: 8 }, async () => (await server.call("DELETE", `/api/runs/${id}`)).status));
    expect(statuses.toSorted()).toEqual([204, ...new Array<number>(7).fill(404)]);
  });

  test("with options nested thousands deep are malformed, and leave nothing", async () => {
    const deep = `${"[".repeat(5000)}${"]".repeat(5000)}`;
    const { status, json } = await server.call("POST", "/api/runs", { raw: `{"subject":{"model":null},"probe":"counting","params":{"options":${deep}}}` });
    expect(status).toBe(400);
    expect(json).toMatchObject({ error: { code: "request.malformed", message: expect.stringContaining("nested") as unknown } });
    expect(readdirSync(runsFolder())).toEqual([]);
  });

  test("list as many runs as asked for, then those that are older", async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.unshift((await server.startRun("counting")).id);
    const page = async (query: string): Promise<string[]> => ((await server.call("GET", `/api/runs?${query}`)).json as RunRecord[]).map(({ id }) => id);
    expect(await page("limit=2")).toEqual(ids.slice(0, 2));
    expect(await page(`limit=2&before=${ids[1]}`)).toEqual(ids.slice(2, 4));
    expect((await server.call("GET", "/api/runs?limit=1000000")).status).toBe(400);
  });
});

describe("a connection", () => {
  test("that watches one stored run a thousand times has it read a few times", async () => {
    const { id } = await server.startRun("counting");
    await server.ended(id);
    const read = vi.spyOn(RunStore.prototype, "probeResult");
    const socket = server.connect();
    await Promise.all(Array.from({ length: 1000 }, () => watch(socket, id)));
    expect(await watch(socket, id)).toMatchObject({ ok: true });
    expect(read.mock.calls.length).toBeLessThan(100);
    read.mockRestore();
  });

  test("watches no more than 32 runs", async () => {
    const ids: string[] = [];
    for (let i = 0; i < 33; i++) ids.push((await server.startRun("counting")).id);
    const socket = server.connect();
    const answers = await Promise.all(ids.map((id) => watch(socket, id)));
    expect(answers.slice(0, 32).every(({ ok }) => ok)).toBe(true);
    expect(answers[32]).toMatchObject({ ok: false, error: { code: "request.tooMany" } });
    socket.emit("run:unwatch", ids[0]!);
    expect(await watch(socket, ids[32]!)).toMatchObject({ ok: true });
  });

  test.each<Record<string, string>>([{ host: "evil.example" }, { origin: "http://evil.example" }])(
    "that exists is no way in for a request with %j",
    async (headers) => {
      const own = "/socket.io/?EIO=4&transport=polling";
      const { text } = await server.call("GET", own);
      const { sid } = JSON.parse(text.slice(1)) as { sid: string };
      expect((await server.call("POST", `${own}&sid=${sid}`, { raw: "40", headers: { ...headers, "content-type": "text/plain" } })).status).toBe(400);
      expect((await server.call("POST", `${own}&sid=${sid}`, { raw: "40", headers: { "content-type": "text/plain" } })).status).toBe(200);
    },
  );
});

describe("a result", () => {
  test("that cannot be written is told so, and can be read and saved while the server runs", async () => {
    const { id } = await server.startRun("counting", { steps: 300, everyMs: 1 });
    rmSync(join(runsFolder(), id), { recursive: true });
    expect(await server.ended(id)).toMatchObject({
      state: "failed",
      error: { code: "run.unwritable", message: expect.stringContaining("kept in memory") as unknown },
    });
    expect((await server.call("GET", `/api/runs/${id}`)).json).toMatchObject({ finding: "counted to 300", record: { state: "failed" } });
    const bytes = await fetch(`http://127.0.0.1:${server.port}/api/runs/${id}/arrays.safetensors`).then((reply) => reply.bytes());
    expect(parseSafetensors(bytes).tensors.get("count")?.data).toHaveLength(300);
    expect((await server.call("DELETE", `/api/runs/${id}`)).status).toBe(204);
    expect((await server.call("GET", `/api/runs/${id}`)).status).toBe(404);
  });

  test("whose array has eight gigabytes costs what was written of it, until all of it is asked for", () => {
    const result = new LiveResult();
    const before = process.memoryUsage().arrayBuffers;
    result.apply({ type: "array", name: "a", shape: [2 ** 15, 2 ** 16], axes: ["i", "j"] });
    result.apply({ type: "tile", array: "a", offset: 2 ** 31 - 2, data: Float32Array.of(1, 2) });
    result.apply({ type: "tile", array: "a", offset: 2 ** 16 - 1, data: Float32Array.of(3, 4) });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 22);
    const tiles = result.snapshot().flatMap((event) => (event.type === "tile" ? [event] : []));
    expect(tiles.map(({ offset }) => offset)).toEqual([0, 2 ** 16, 2 ** 31 - 2 ** 16]);
    expect(tiles.at(-1)?.data.subarray(-3)).toEqual(Float32Array.of(NaN, 1, 2));
    expect(() => result.apply({ type: "tile", array: "a", offset: 2 ** 31 - 1, data: Float32Array.of(1, 2) })).toThrow(/does not fit/);
  });

  test("is written in pieces as in one", async () => {
    const result = new LiveResult();
    result.apply({ type: "array", name: "a", shape: [200_000], axes: ["i"] });
    result.apply({ type: "array", name: "empty", shape: [0], axes: ["i"] });
    result.apply({ type: "tile", array: "a", offset: 60_000, data: Float32Array.from({ length: 20_000 }, (_, i) => i) });
    const { arrays } = await result.whole();
    expect(arrays["a"]?.data.subarray(59_999, 60_002)).toEqual(Float32Array.of(NaN, 0, 1));
    const whole = encodeSafetensors(Object.entries(arrays).map(([name, { shape, data }]) => ({ name, shape, data })));
    expect(Buffer.concat([...arrayBytes(result.arrays)]).equals(whole)).toBe(true);
  });
});

describe("a run folder", () => {
  test("whose numbers are gone says so over HTTP, and its figures do too", async () => {
    const { id } = await server.startRun("counting");
    await server.ended(id);
    rmSync(join(runsFolder(), id, "arrays.safetensors"));
    for (const path of ["arrays.safetensors", "figures/steps.svg"])
      expect(await server.call("GET", `/api/runs/${id}/${path}`)).toMatchObject({ status: 422, json: { error: { code: "file.unreadable" } } });
    const { ok, error } = await new Promise<{ ok: boolean; error?: unknown }>((resolve) => server.connect().emit("run:watch", id, resolve));
    expect({ ok, error }).toEqual({ ok: true, error: undefined });
  });

  test("whose result.json is torn is left as it is, and told to be damaged", async () => {
    const { id } = await server.startRun("counting");
    await server.ended(id);
    const file = join(runsFolder(), id, "result.json");
    const torn = readFileSync(file, "utf8").slice(0, 100);
    writeFileSync(file, torn);
    const { records } = await RunStore.open(join(server.folder, "log"), { kindOf: () => "probe" });
    expect(records).toMatchObject([{ id, state: "failed", error: { code: "file.unreadable" } }]);
    expect(readFileSync(file, "utf8")).toBe(torn);
  });

  test("that cannot be written is read all the same", async () => {
    const log = join(server.folder, "log");
    const { id } = await server.startRun("counting");
    await server.ended(id);
    const folder = join(log, "runs", id);
    rmSync(join(folder, "result.json"));
    // A folder under the temporary name: nothing can be written there, whoever tries.
    mkdirSync(join(folder, "result.json.tmp"));
    const { store, records } = await RunStore.open(log, { kindOf: () => "probe" });
    expect(records).toMatchObject([{ id, state: "failed", error: { code: "job.serverStopped" } }]);
    await expect(store.create({ ...records[0]!, id: "x/y" })).rejects.toMatchObject({ code: "run.unwritable" });
  });
});

describe("the index of runs", () => {
  test("is believed while a run's result is as it was, and torn or missing costs nothing but time", async () => {
    const { id } = await server.startRun("counting");
    await server.ended(id);
    const log = join(server.folder, "log");
    const index = join(log, "runs.jsonl");
    const opened = async (): Promise<RunRecord | undefined> => (await RunStore.open(log, { kindOf: () => "probe" })).records[0];
    const first = await opened();
    expect(first).toMatchObject({ id, kind: "probe", state: "done" });

    writeFileSync(index, readFileSync(index, "utf8").replace('"createdAt":"2', '"createdAt":"1'));
    expect((await opened())?.createdAt).toMatch(/^1/);
    // Another file under the name: the folder is read again.
    const result = join(log, "runs", id, "result.json");
    writeFileSync(`${result}.new`, readFileSync(result, "utf8").replace('"done"', '"failed"'));
    renameSync(`${result}.new`, result);
    expect(await opened()).toMatchObject({ state: "failed", createdAt: first?.createdAt });

    writeFileSync(index, '{"file":"1:2","rec');
    expect(await opened()).toMatchObject({ state: "failed" });
    rmSync(index);
    expect(await opened()).toMatchObject({ state: "failed" });
    expect(existsSync(index)).toBe(true);
  });

  test("opens runs of earlier versions, which say neither kind nor checkpoints", async () => {
    const log = mkdtempSync(join(tmpdir(), "deltascope-old-"));
    const { id } = await server.startRun("counting");
    await server.ended(id);
    renameSync(join(server.folder, "log", "runs"), join(log, "runs"));
    const file = join(log, "runs", id, "result.json");
    const later = new Set(["kind", "resumable", "checkpoints"]);
    const earlier = JSON.stringify(JSON.parse(readFileSync(file, "utf8")), (name, value: unknown) => (later.has(name) ? undefined : value));
    writeFileSync(file, earlier);
    const { records } = await RunStore.open(log, { kindOf: () => "train" });
    expect(records).toMatchObject([{ id, kind: "train", resumable: false, checkpoints: [] }]);
    rmSync(log, { recursive: true });
  });
});
