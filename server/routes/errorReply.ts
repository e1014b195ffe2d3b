/** Where every failed HTTP request ends: logged in full under its id, told in words. */
import type { ErrorRequestHandler, RequestHandler } from "express";
import type { Logger } from "pino";
import * as z from "zod";
import { errorStatus, fieldOfIssue, WorkbenchError, type ErrorCode } from "../errors.ts";
import { toldError } from "../jobs/taskError.ts";
import type { WireError } from "../wire.ts";

/** What was thrown as a code and words; anything unlisted is "internal", and its own words stay in the log. */
export function wireError(thrown: unknown, requestId: string): WireError {
  if (thrown instanceof WorkbenchError) return toldError(thrown, requestId);
  if (thrown instanceof z.ZodError)
    return toldError({ code: "request.malformed", message: z.prettifyError(thrown), field: fieldOfIssue(thrown.issues) }, requestId);
  const refusal = bodyRefusal(thrown);
  if (refusal) return { ...refusal, requestId };
  return { code: "internal", message: `internal: something went wrong in the server; its log has the details under ${requestId}`, requestId };
}

/** What Express and its body parser throw for a request that is not well formed. */
function bodyRefusal(thrown: unknown): { code: ErrorCode; message: string } | null {
  if (!(thrown instanceof Error) || !("status" in thrown) || typeof thrown.status !== "number" || thrown.status >= 500) return null;
  if ("type" in thrown && thrown.type === "entity.too.large")
    return { code: "request.tooLarge", message: "the request body is larger than 1 MB; expected less" };
  if ("type" in thrown && thrown.type === "entity.parse.failed")
    return { code: "request.malformed", message: `the request body is not JSON: ${thrown.message}` };
  if (thrown.status === 404) return { code: "file.notFound", message: "no such file" };
  return { code: "request.malformed", message: thrown.message };
}

export function errorReply(log: Logger): ErrorRequestHandler {
  return (thrown, request, response, next) => {
    const requestId = String(response.locals["requestId"] ?? "");
    const error = wireError(thrown, requestId);
    const status = errorStatus[error.code];
    log[status >= 500 ? "error" : "info"]({ requestId, method: request.method, url: request.originalUrl, code: error.code, err: thrown as unknown });
    if (response.headersSent) {
      next(thrown);
      return;
    }
    response.status(status).json({ error });
  };
}

export const unknownRoute: RequestHandler = (request) => {
  throw new WorkbenchError("request.notFound", `nothing is at ${request.method} ${request.originalUrl.slice(0, 200)}`);
};
