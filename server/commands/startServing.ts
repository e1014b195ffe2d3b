/** Serving: opens the roots and the store, starts the workers, listens, and stops cleanly on Ctrl+C. */
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:http";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { probes } from "../../probes/registry.ts";
import { attachApp } from "../app.ts";
import { adapterText } from "../commandText.ts";
import { demoCard, demoFolder } from "../demo.ts";
import { WorkbenchError } from "../errors.ts";
import { jobKindOf, type JobKind } from "../jobKinds/registry.ts";
import { LocalQueue } from "../jobs/localQueue.ts";
import type { Likely } from "../jobs/messages.ts";
import { RunBoard } from "../jobs/runBoard.ts";
import type { ProbeTable } from "../jobs/runProbe.ts";
import { RunLock } from "../jobs/runLock.ts";
import { RunStore } from "../jobs/runStore.ts";
import { startWorker, workerModule } from "../jobs/workerProcess.ts";
import { packageVersion } from "../packageFolder.ts";
import { createGuard, isLoopback } from "../routes/guard.ts";
import { OpenedRoots } from "../routes/openedRoots.ts";
import { probeCards } from "../routes/probeCards.ts";
import type { SubjectRequest } from "../wire.ts";
import { ensureClientBuilt } from "./ensureClientBuilt.ts";
import { exitCodes } from "./exitCodes.ts";
import { interruptSignal } from "./interrupt.ts";
import { listen } from "./listen.ts";
import { engineChoice, subjectFromFlags } from "./options.ts";
import type { ServeFlags } from "./serveFlags.ts";

/** @param ahead a worker that was started while this module loaded */
export async function startServing(model: string | undefined, flags: ServeFlags, ahead: ChildProcess | null = null): Promise<void> {
  if (flags.token === "")
    throw new WorkbenchError("usage.badFlag", "--token is empty; expected a secret, or no --token: one is made where the network can reach the server");
  if (flags.host === "") throw new WorkbenchError("usage.badFlag", "--host is empty; expected an address, such as 127.0.0.1");
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  if (model === undefined && flags.adapter.length === 0 && flags.root.length === 0 && demoCard() === null)
    say("no demo fixture in this installation; open a model from the page");
  const opened =
    model === undefined && flags.adapter.length === 0 ? null : subjectFromFlags({ ...(model === undefined ? {} : { model }), adapter: flags.adapter });
  const roots = openedRoots(flags.root, opened);
  if (opened) await roots.checkSubject(opened);

  const log = pino({ level: process.env["DELTASCOPE_LOG"] ?? "warn" }, pino.destination({ dest: 2, sync: true }));
  const token = flags.token ?? (isLoopback(flags.host) ? null : randomBytes(16).toString("hex"));
  // Folder and port first: they are the likeliest refusals, and the client may take a while to build.
  const lease = await folderLease(resolve(flags.logdir), say);
  const server = createServer();
  const port = await listen(server, flags.host, flags.port);
  const clientFolder = await ensureClientBuilt(say);
  const choice = engineChoice(flags);
  let started = ahead;
  const nextWorker = (): ChildProcess => {
    const worker = started?.connected ? started : startWorker(workerModule, choice);
    started = null;
    return worker;
  };
  const queue = new LocalQueue({ startWorker: nextWorker });
  const table: ProbeTable = probes;
  const kindOf = (name: string): JobKind => jobKindOf(table[name] ?? { needs: "weights" });
  const { store, records } = await RunStore.open(resolve(flags.logdir), { kindOf });
  roots.allow(store.folder);
  const board = new RunBoard({
    queue,
    store,
    records,
    version: packageVersion,
    kindOf,
    logError: (error, about) => {
      const requestId = randomBytes(4).toString("hex");
      log.info({ requestId, ...about, err: error });
      return requestId;
    },
  });
  const closeSockets = attachApp(server, {
    version: packageVersion,
    engine: () => board.lastEngine ?? choice.engine ?? "auto",
    guard: createGuard({ host: flags.host, allowedHosts: flags.allowHost, token }),
    roots,
    queue,
    board,
    probes,
    probeCards: probeCards(probes),
    demo: demoCard(),
    clientFolder,
    log,
  });
  queue.warm(likely(opened));
  // Before the address is told: whoever reads it may stop the server at once.
  const signal = interruptSignal();
  const url = address(flags.host, port, token, opened);
  process.stdout.write(`Deltascope ${packageVersion} at ${url} (press Ctrl+C to quit)\n`);
  if (flags.open && process.stdout.isTTY && hasDisplay()) await openBrowser(url);

  if (!signal.aborted) await once(signal, "abort");
  board.stopAll();
  // Long enough for a cancelled run to be written down and a step of training to end; a second Ctrl+C does not wait.
  await Promise.race([board.idle(), delay(5000)]);
  queue.close();
  lease?.release();
  // A browser that does not read would hold its socket open.
  await Promise.race([closeSockets(), delay(2000)]);
  process.exit(exitCodes.ok);
}

/** What the page opens with: the subject that was named, or the demo and its probe. */
function likely(opened: SubjectRequest | null): Likely | null {
  if (opened) return { subject: opened, run: null };
  const demo = demoCard();
  return demo && { subject: demo.subject, run: { probe: demo.probe, params: demo.params } };
}

/**
 * One server a folder: two would show each other's running work as ended, and remove it.
 * @throws "usage.badFlag" when another server has it, or it is no folder
 */
async function folderLease(folder: string, say: (line: string) => void): Promise<RunLock | null> {
  try {
    mkdirSync(folder, { recursive: true });
    return await RunLock.take(folder, 0);
  } catch (cause) {
    if (cause instanceof WorkbenchError)
      throw new WorkbenchError("usage.badFlag", `another server works on ${folder}: ${cause.message}; give this one a --logdir of its own`, { cause });
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
    if (["ENOSPC", "EROFS", "EDQUOT", "EACCES", "EPERM"].includes(code) && existsSync(join(folder, "runs"))) {
      say(`${folder} cannot be written (${code}); what is there can be read, and nothing new is kept`);
      return null;
    }
    throw new WorkbenchError(
      "usage.badFlag",
      `--logdir ${folder} cannot be used: ${cause instanceof Error ? cause.message : String(cause)}; expected a folder that can be written`,
      { cause },
    );
  }
}

function openedRoots(given: readonly string[], opened: SubjectRequest | null): OpenedRoots {
  const folders = given.length > 0 ? [...given] : [process.cwd(), homedir()];
  if (existsSync(demoFolder)) folders.push(demoFolder);
  if (opened?.model) folders.push(opened.model);
  for (const { path } of opened?.adapters ?? []) folders.push(path);
  return new OpenedRoots(folders);
}

function address(host: string, port: number, token: string | null, opened: SubjectRequest | null): string {
  const name = host === "0.0.0.0" || host === "::" ? "localhost" : host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
  const query = new URLSearchParams();
  if (token !== null) query.set("token", token);
  if (opened?.model) query.set("model", opened.model);
  for (const { path, name: adapterName, strength } of opened?.adapters ?? [])
    query.append("adapter", adapterText({ path, strength, name: adapterName ?? null }));
  const text = query.toString();
  return `http://${name}:${port}/${text === "" ? "" : `?${text}`}`;
}

function hasDisplay(): boolean {
  return process.platform !== "linux" || process.env["DISPLAY"] !== undefined || process.env["WAYLAND_DISPLAY"] !== undefined;
}

async function openBrowser(url: string): Promise<void> {
  try {
    const { default: open } = await import("open");
    const child = await open(url);
    child.on("error", () => undefined);
  } catch (cause) {
    throw new WorkbenchError("internal", "the browser could not be started; use --no-open", { cause });
  }
}
