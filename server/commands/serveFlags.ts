/** What the command line says of serving. */
import type { EngineFlags } from "./options.ts";

export interface ServeFlags extends EngineFlags {
  readonly adapter: readonly string[];
  readonly port?: number;
  readonly host: string;
  readonly open: boolean;
  readonly root: readonly string[];
  readonly logdir: string;
  readonly token?: string;
  readonly allowHost: readonly string[];
}
