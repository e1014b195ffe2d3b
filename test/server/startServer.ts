/** A listening server over fake probes in real worker processes, in a folder of its own. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { io, type Socket } from "socket.io-client";
import { attachApp } from "../../server/app.ts";
import { listen } from "../../server/commands/listen.ts";
import { jobKindOf, type JobKind } from "../../server/jobKinds/registry.ts";
import { LocalQueue } from "../../server/jobs/localQueue.ts";
import { RunBoard } from "../../server/jobs/runBoard.ts";
import { RunStore } from "../../server/jobs/runStore.ts";
import type { ProbeTable } from "../../server/jobs/runProbe.ts";
import { startWorker } from "../../server/jobs/workerProcess.ts";
import { createGuard } from "../../server/routes/guard.ts";
import { OpenedRoots } from "../../server/routes/openedRoots.ts";
import { probeCards } from "../../server/routes/probeCards.ts";
import type { ClientToServer, RunRecord, ServerToClient } from "../../server/wire.ts";
import { fakeProbes } from "./fakeProbes.ts";

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  readonly json: unknown;
}
export type TestSocket = Socket<ServerToClient, ClientToServer>;
export interface TestServer {
  readonly folder: string;
  readonly port: number;
  readonly queue: LocalQueue;
  readonly board: RunBoard;
  call(method: string, path: string, options?: { body?: unknown; raw?: string; headers?: Record<string, string> }): Promise<Reply>;
  startRun(probe: string, params?: object, model?: string | null): Promise<RunRecord>;
  ended(id: string): Promise<RunRecord>;
  connect(options?: object): TestSocket;
  close(): Promise<void>;
}

export interface TestServerOptions {
  readonly folder?: string;
  readonly token?: string | null;
  readonly host?: string;
  readonly clientFolder?: string | null;
  readonly cancelGraceMs?: number;
  readonly questionLimitMs?: number;
  /** The probes and a worker that has them; a small heap when they are the fake ones. */
  readonly probes?: ProbeTable;
  readonly worker?: URL;
  readonly roots?: readonly string[];
}

export async function startServer({
  folder = mkdtempSync(join(tmpdir(), "deltascope-test-")),
  token = null,
  host = "127.0.0.1",
  clientFolder = null,
  cancelGraceMs = 300,
  questionLimitMs = 60_000,
  probes = fakeProbes,
  worker,
  roots: more = [],
}: TestServerOptions = {}): Promise<TestServer> {
  const queue = new LocalQueue({
    startWorker: () =>
      worker ? startWorker(worker, { engine: "onnx-cpu" }) : startWorker(new URL("./fakeWorker.ts", import.meta.url), {}, ["--max-old-space-size=96"]),
    cancelGraceMs,
    questionLimitMs,
  });
  const kindOf = (name: string): JobKind => jobKindOf(probes[name] ?? { needs: "weights" });
  const { store, records } = await RunStore.open(join(folder, "log"), { kindOf });
  const board = new RunBoard({ queue, store, records, version: "test", kindOf, logError: () => "logged" });
  const server = createServer();
  const closeSockets = attachApp(server, {
    version: "test",
    engine: () => "fake",
    guard: createGuard({ host, token }),
    roots: new OpenedRoots([folder, ...more]),
    queue,
    board,
    probes,
    probeCards: probeCards(probes),
    demo: null,
    clientFolder,
    log: pino({ level: "silent" }),
  });
  const port = await listen(server, "127.0.0.1", 0);
  const sockets: TestSocket[] = [];

  const call: TestServer["call"] = (method, path, { body, raw, headers = {} } = {}) =>
    new Promise((resolve, reject) => {
      const payload = raw ?? (body === undefined ? undefined : JSON.stringify(body));
      const request = httpRequest(
        { port, host: "127.0.0.1", method, path, headers: { ...(payload === undefined ? {} : { "content-type": "application/json" }), ...headers } },
        (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("end", () => {
            const text = Buffer.concat(chunks).toString("utf8");
            resolve({
              status: response.statusCode!,
              headers: response.headers,
              text,
              get json() {
                return JSON.parse(text) as unknown;
              },
            });
          });
        },
      );
      request.on("error", reject);
      request.end(payload);
    });

  return {
    folder,
    port,
    queue,
    board,
    call,
    async startRun(probe, params = {}, model = null) {
      const reply = await call("POST", "/api/runs", { body: { subject: { model }, probe, params } });
      if (reply.status !== 201) throw new Error(`POST /api/runs answered ${reply.status}: ${reply.text}`);
      return reply.json as RunRecord;
    },
    async ended(id) {
      for (;;) {
        const record = board.record(id);
        if (record.endedAt !== null) return record;
        await delay(5);
      }
    },
    connect(options = {}) {
      const socket: TestSocket = io(`http://127.0.0.1:${port}`, { transports: ["websocket"], reconnection: false, forceNew: true, ...options });
      sockets.push(socket);
      return socket;
    },
    async close() {
      for (const socket of sockets) socket.disconnect();
      board.stopAll();
      queue.close();
      await board.idle();
      await closeSockets();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
