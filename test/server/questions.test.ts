/** Cards, tokens and previews share one worker: what is stuck there must not keep the next person waiting. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, test, vi } from "vitest";
import { startServer, type Reply, type TestServer } from "./startServer.ts";

let server: TestServer;
afterEach(() => server.close());

const endless = (): string => {
  const folder = join(server.folder, "endless");
  mkdirSync(folder, { recursive: true });
  return folder;
};
const tokenize = (text: string, model: string | null = null): Promise<Reply> => server.call("POST", "/api/tokenize", { body: { subject: { model }, text } });

describe("a question that never ends", () => {
  test("is stopped after its time, in words, and those behind it are answered by a new worker", async () => {
    server = await startServer({ questionLimitMs: 3000 });
    const [stuck, ...next] = await Promise.all([tokenize("a", endless()), tokenize("ab"), tokenize("b")]);
    expect(stuck).toMatchObject({ status: 504, json: { error: { code: "job.tookTooLong", message: expect.stringContaining("3 s") as unknown } } });
    expect(next.map(({ json }) => json)).toEqual([
      { ids: [97, 98], tokens: ["a", "b"] },
      { ids: [98], tokens: ["b"] },
    ]);
  });

  test("is stopped when the one who asked has gone", async () => {
    // A limit that is not reached: only the closed connection can free the lane.
    server = await startServer({ questionLimitMs: 600_000 });
    await tokenize("a");
    const ask = server.queue.ask.bind(server.queue);
    const started = new Promise<void>((onStart) => {
      vi.spyOn(server.queue, "ask").mockImplementationOnce((question, hooks) => ask(question, { ...hooks, onStart }));
    });
    const asked = httpRequest({ port: server.port, host: "127.0.0.1", method: "POST", path: "/api/tokenize", headers: { "content-type": "application/json" } });
    asked.on("error", () => undefined);
    asked.end(JSON.stringify({ subject: { model: endless() }, text: "a" }));
    await started;
    const next = tokenize("b");
    asked.destroy();
    expect((await next).json).toEqual({ ids: [98], tokens: ["b"] });
  });
});

describe("a worker", () => {
  test("that is stuck ends when its server is killed", async () => {
    server = await startServer();
    const [queues, processes, worker] = ["jobs/localQueue.ts", "jobs/workerProcess.ts"]
      .map((path) => new URL(`../../server/${path}`, import.meta.url).href)
      .concat(new URL("./fakeWorker.ts", import.meta.url).href);
    const script = `
      const { LocalQueue } = await import(${JSON.stringify(queues)});
      const { startWorker } = await import(${JSON.stringify(processes)});
      let pid = 0;
      const queue = new LocalQueue({ startWorker: () => { const child = startWorker(new URL(${JSON.stringify(worker)}), {}, []); pid = child.pid; return child; } });
      const request = { subject: { model: null, adapters: [] }, probe: "stuck", params: {} };
      queue.events(({ type }) => type === "told" && process.stdout.write(String(pid)));
      await queue.enqueue({ id: "stuck", kind: "probe", request, folder: "/" }, async () => {});`;
    const parent = spawn(process.execPath, ["--import", import.meta.resolve("tsx"), "--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [said] = (await once(parent.stdout, "data")) as [Buffer];
    const pid = Number(said.toString());
    expect(isAlive(pid)).toBe(true);
    parent.kill("SIGKILL");
    await once(parent, "exit");
    while (isAlive(pid)) await delay(20);
    expect(isAlive(pid)).toBe(false);
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
