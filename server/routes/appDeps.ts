/** What the application is given: everything that its routes and sockets work with. */
import type { Logger } from "pino";
import type { Queue } from "../jobs/queue.ts";
import type { RunBoard } from "../jobs/runBoard.ts";
import type { ProbeTable } from "../jobs/runProbe.ts";
import type { DemoCard, ProbeCard } from "../wire.ts";
import type { Guard } from "./guard.ts";
import type { OpenedRoots } from "./openedRoots.ts";

export interface AppDeps {
  readonly version: string;
  /** The engine in use, as far as is known. */
  readonly engine: () => string;
  readonly guard: Guard;
  readonly roots: OpenedRoots;
  readonly queue: Queue;
  readonly board: RunBoard;
  readonly probes: ProbeTable;
  readonly probeCards: readonly ProbeCard[];
  readonly demo: DemoCard | null;
  /** Folder of the built client; null serves the API alone. */
  readonly clientFolder: string | null;
  readonly log: Logger;
}
