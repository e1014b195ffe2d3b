/**
 * What watching costs: one training run on the demo with nothing looked at, with the default looks and nobody watching,
 * with ten browsers, and with ten of which one never reads. `tsx bench/watching.ts [repeats]`; alternating, medians.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { io, type Socket } from "socket.io-client";
import type { ClientToServer, RunRecord, ServerToClient } from "../server/wire.ts";

const repeats = Number(process.argv[2] ?? 3);
const root = fileURLToPath(new URL("..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "deltascope-watching-"));
const server = spawn(process.execPath, [join(root, "bin/deltascope.js"), "serve", "--no-open", "--port", "0", "--logdir", folder, "--root", root], {
  env: { ...process.env, DELTASCOPE_SOURCE: "1" },
  stdio: ["ignore", "pipe", "pipe"],
});
let said = "";
for (const stream of [server.stdout, server.stderr]) stream.on("data", (chunk: Buffer) => (said += chunk.toString()));
while (!/http:\/\/\S+/.test(said)) await delay(50);
const address = new URL(/http:\/\/[^\s"]+/.exec(said)![0]).origin;

const post = async (path: string, body?: object): Promise<RunRecord> => {
  const reply = await fetch(`${address}/api/${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  if (!reply.ok) throw new Error(`${path} answered ${reply.status}: ${await reply.text()}`);
  return (await reply.json()) as RunRecord;
};
const residentBytes = (): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))![1]) * 1024;

interface Case {
  readonly name: string;
  readonly looks: boolean;
  readonly watchers: number;
  readonly stalled: number;
}
const cases: readonly Case[] = [
  { name: "nothing looked at", looks: false, watchers: 0, stalled: 0 },
  { name: "default looks, nobody watches", looks: true, watchers: 0, stalled: 0 },
  { name: "default looks, 10 watch", looks: true, watchers: 10, stalled: 0 },
  { name: "default looks, 10 watch, 1 more never reads", looks: true, watchers: 10, stalled: 1 },
];

/** Seconds that all steps took, from the first to the last, looks and everything between included. */
async function measure({ looks, watchers, stalled }: Case): Promise<{ seconds: number; events: number; grown: number }> {
  let events = 0;
  const sockets = await Promise.all(
    Array.from({ length: watchers + stalled }, async (_, i) => {
      const socket: Socket<ServerToClient, ClientToServer> = io(address, { transports: ["websocket"], forceNew: true });
      await new Promise<void>((resolve) => socket.on("connect", resolve));
      if (i < watchers) socket.on("run:events", (batch) => (events += batch.events.length));
      return socket;
    }),
  );
  const before = residentBytes();
  const run = await post("runs", {
    subject: { model: join(root, "fixtures/demo/base"), adapters: [] },
    probe: "train",
    params: {
      data: { path: join(root, "fixtures/tasks/reversal.txt") },
      steps: 250,
      batchSize: 16,
      checkpointEvery: 250,
      evaluateEvery: 250,
      probes: looks ? {} : { maxShare: 0 },
    },
  });
  for (const [i, socket] of sockets.entries()) {
    await new Promise<void>((resolve) => socket.emit("run:watch", run.id, () => resolve()));
    if (i >= watchers) pauseReading(socket);
  }
  let record = run;
  const marks: { readonly done: number; readonly at: number }[] = [];
  while (!["done", "failed", "cancelled"].includes(record.state)) {
    await delay(100);
    record = ((await (await fetch(`${address}/api/runs`)).json()) as RunRecord[]).find(({ id }) => id === run.id)!;
    if (record.progress) marks.push({ done: record.progress.done, at: performance.now() });
  }
  if (record.state !== "done") throw new Error(JSON.stringify(record.error));
  const grown = residentBytes() - before;
  for (const socket of sockets) socket.disconnect();
  const first = marks.find(({ done }) => done >= 20)!;
  const last = marks.find(({ done }) => done >= 240) ?? marks.at(-1)!;
  return { seconds: (last.at - first.at) / 1000 / (last.done - first.done), events, grown };
}

/** As a browser whose tab is frozen: the connection stays and nothing is taken from it. */
function pauseReading(socket: Socket<ServerToClient, ClientToServer>): void {
  const transport: object = socket.io.engine.transport;
  const ws: unknown = "ws" in transport ? transport.ws : null;
  if (typeof ws !== "object" || ws === null || !("pause" in ws) || typeof ws.pause !== "function") throw new Error("the socket cannot be paused");
  ws.pause();
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
try {
  await measure(cases[0]!);
  const found = new Map<string, Awaited<ReturnType<typeof measure>>[]>(cases.map(({ name }) => [name, []]));
  for (let i = 0; i < repeats; i++) for (const each of cases) found.get(each.name)!.push(await measure(each));
  const plain = median(found.get(cases[0]!.name)!.map(({ seconds }) => seconds));
  process.stdout.write("| run | ms a step | beside nothing looked at | events received | server grew by |\n|---|--:|--:|--:|--:|\n");
  for (const { name } of cases) {
    const all = found.get(name)!;
    const seconds = median(all.map((one) => one.seconds));
    process.stdout.write(
      `| ${name} | ${(1000 * seconds).toFixed(1)} | ${(100 * (seconds / plain - 1)).toFixed(1)} % | ` +
        `${median(all.map(({ events }) => events))} | ${(median(all.map(({ grown }) => grown)) / 2 ** 20).toFixed(1)} MiB |\n`,
    );
  }
} finally {
  server.kill();
  rmSync(folder, { recursive: true, force: true });
}
