/** Work for somebody who waits: when the connection closes, nobody does. */
import type { Response } from "express";

/** Aborts when the client goes before the reply is sent. */
export function whileConnected(response: Response): { readonly signal: AbortSignal } {
  const controller = new AbortController();
  response.on("close", () => {
    if (!response.writableEnded) controller.abort();
  });
  return { signal: controller.signal };
}
