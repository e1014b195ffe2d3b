/** `deltascope [MODEL]` and `deltascope serve`: the workbench in a browser, on this machine. */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Command } from "commander";
import { pino } from "pino";
import { probes } from "../../probes/registry.ts";
import { createHttpServer } from "../app.ts";
import { demoCard, demoFolder } from "../demo.ts";
import { WorkbenchError } from "../errors.ts";
import { Jobs } from "../jobs/jobs.ts";
import { RunBoard } from "../jobs/runBoard.ts";
import { RunStore } from "../jobs/runStore.ts";
import { startWorker, workerModule } from "../jobs/workerEntry.ts";
import { packageVersion } from "../packageFolder.ts";
import { createGuard, isLoopback } from "../routes/guard.ts";
import { OpenedRoots } from "../routes/openedRoots.ts";
import { probeCards } from "../routes/probeCards.ts";
import type { SubjectRequest } from "../wire.ts";
import { ensureClientBuilt } from "./ensureClientBuilt.ts";
import { exitCodes } from "./exitCodes.ts";
import { interruptSignal } from "./interrupt.ts";
import { listen } from "./listen.ts";
import { adapterOption, collect, engineChoice, engineOption, portNumber, subjectFromFlags, threadsOption, type EngineFlags } from "./options.ts";

interface Flags extends EngineFlags {
  readonly adapter: readonly string[];
  readonly port?: number;
  readonly host: string;
  readonly open: boolean;
  readonly root: readonly string[];
  readonly logdir: string;
  readonly token?: string;
  readonly allowHost: readonly string[];
}

/** The flags of serving, on the program itself and on `serve`. */
export function withServeFlags(command: Command): Command {
  return command
    .argument("[model]", "base model folder; the demo when left out")
    .addOption(adapterOption())
    .option("--port <n>", "port; 7860 or the next free one when left out, 0 for any", portNumber)
    .option("--host <address>", "address to listen on; any other than this machine's own needs a token", "127.0.0.1")
    .option("--no-open", "do not open the browser")
    .option("--root <folder>", "folder that models may be opened from; repeatable; this folder and your home when left out", collect, [])
    .option("--logdir <folder>", "where runs are kept", ".deltascope")
    .option("--token <secret>", "ask every visitor for this token")
    .option("--allow-host <name>", "further name by which this machine may be called; repeatable", collect, [])
    .addOption(engineOption())
    .addOption(threadsOption())
    .action(serve);
}

export function serveCommand(): Command {
  return withServeFlags(new Command("serve")).description("serve the workbench and open it in the browser").addHelpText("after", `
Examples:
  deltascope serve ./gpt2 --adapter ./my-lora
  deltascope serve ./gpt2 --adapter step100=./run/checkpoint-100 --adapter step900=./run/checkpoint-900 --no-open`);
}

async function serve(model: string | undefined, flags: Flags): Promise<void> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  if (model === undefined && flags.adapter.length === 0 && flags.root.length === 0 && demoCard() === null) say("no demo fixture in this installation; open a model from the page");
  const opened = model === undefined && flags.adapter.length === 0 ? null : subjectFromFlags({ ...(model === undefined ? {} : { model }), adapter: flags.adapter });
  const roots = openedRoots(flags.root, opened);
  if (opened) await roots.checkSubject(opened);

  const log = pino({ level: process.env["DELTASCOPE_LOG"] ?? "warn" }, pino.destination({ dest: 2, sync: true }));
  const token = flags.token ?? (isLoopback(flags.host) ? null : randomBytes(16).toString("hex"));
  const clientFolder = await ensureClientBuilt(say);
  const choice = engineChoice(flags);
  const jobs = new Jobs({ startWorker: () => startWorker(workerModule, choice) });
  const { store, records } = await RunStore.open(resolve(flags.logdir));
  const board = new RunBoard({
    jobs, store, records, version: packageVersion,
    logError: (error, about) => {
      const requestId = randomBytes(4).toString("hex");
      log.info({ requestId, ...about, err: error });
      return requestId;
    },
  });
  const { server, closeSockets } = createHttpServer({
    version: packageVersion,
    engine: () => board.lastEngine ?? choice.engine ?? "auto",
    guard: createGuard({ host: flags.host, allowedHosts: flags.allowHost, token }),
    roots, jobs, board, probes, probeCards: probeCards(probes), demo: demoCard(), clientFolder, log,
  });
  const port = await listen(server, flags.host, flags.port);
  jobs.warm();
  const url = address(flags.host, port, token, opened);
  process.stdout.write(`Deltascope ${packageVersion} at ${url} (press Ctrl+C to quit)\n`);
  if (flags.open && process.stdout.isTTY && hasDisplay()) await openBrowser(url);

  const signal = interruptSignal();
  await new Promise<void>((done) => signal.addEventListener("abort", () => done(), { once: true }));
  board.cancelAll();
  // Long enough for a cancelled run to be written down; a second Ctrl+C does not wait.
  await Promise.race([board.idle(), delay(3000)]);
  await jobs.close();
  await closeSockets();
  process.exit(exitCodes.ok);
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
  for (const { path, name: adapterName, strength } of opened?.adapters ?? []) query.append("adapter", `${adapterName === undefined ? "" : `${adapterName}=`}${path}${strength === 1 ? "" : `@${strength}`}`);
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
