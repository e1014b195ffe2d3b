/** Binding a port: the default one moves on to the next free, one that was asked for is taken or refused. */
import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { WorkbenchError } from "../errors.ts";

export const defaultPort = 7860;
const portsToTry = 50;

/** @returns the port @throws "usage.portBusy" */
export async function listen(server: Server, host: string, asked: number | undefined): Promise<number> {
  if (asked !== undefined) {
    if (!(await bind(server, host, asked))) {
      throw new WorkbenchError(
        "usage.portBusy",
        `port ${asked} on ${host} is taken; choose another --port, leave it out for the next free one, or see who has it: lsof -i :${asked}`,
      );
    }
  } else {
    let port = defaultPort;
    while (!(await bind(server, host, port))) {
      port++;
      if (port >= defaultPort + portsToTry)
        throw new WorkbenchError("usage.portBusy", `ports ${defaultPort} to ${port - 1} on ${host} are all taken; choose one with --port`);
    }
  }
  return (server.address() as AddressInfo).port;
}

async function bind(server: Server, host: string, port: number): Promise<boolean> {
  server.listen(port, host);
  try {
    await once(server, "listening");
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EADDRINUSE") return false;
    throw new WorkbenchError("usage.badFlag", `cannot listen on ${host}, port ${port}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}
