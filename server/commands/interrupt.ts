/** Ctrl-C, an end that was asked for, or a terminal that was closed, as an AbortSignal: the first lets the work stop cleanly, the second ends the process. */
import { exitCodes } from "./exitCodes.ts";

export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(exitCodes.cancelled);
    controller.abort();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  process.on("SIGHUP", onSignal);
  return controller.signal;
}
