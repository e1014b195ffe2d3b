/** Puts an endpoint on a router: reads the request that its table entry promises, and sends the response that it promises. */
import type { Response, Router } from "express";
import * as z from "zod";
import type { Endpoint, FieldsOf, FileEndpoint, PathParams, ResponseOf } from "../endpoints.ts";

const verbs = { GET: "get", POST: "post", DELETE: "delete" } as const;
/** For endpoints whose path says it all; what comes beside it is not looked at. */
export const noFields = z.object({}).catch({});

/** What a handler is asked: the parts of the path, and the query or body as its schema reads it. */
type Asked<E extends Endpoint, Fields> = PathParams<E["path"]> & Fields;

/** @param fields of the query of GET, of the body of POST; anything else is "request.malformed" */
export function serve<const E extends Endpoint, Fields extends FieldsOf<E>>(
  router: Router,
  endpoint: E,
  fields: z.ZodType<Fields>,
  answer: (asked: Asked<E, Fields>, response: Response) => Promise<ResponseOf<E>> | ResponseOf<E>,
): void {
  route(router, endpoint, fields, async (asked, response) => {
    const reply = await answer(asked, response);
    response.status(endpoint.status ?? 200);
    if (endpoint.status === 204) response.end();
    else response.json(reply);
  });
}

/** As `serve`, for what is no JSON. @param write sends it */
export function serveFile<const E extends FileEndpoint, Fields extends FieldsOf<E>>(
  router: Router,
  endpoint: E,
  fields: z.ZodType<Fields>,
  write: (asked: Asked<E, Fields>, response: Response) => Promise<void>,
): void {
  route(router, endpoint, fields, write);
}

function route<E extends Endpoint, Fields extends object>(
  router: Router,
  { method, path }: E,
  fields: z.ZodType<Fields>,
  handle: (asked: Asked<E, Fields>, response: Response) => Promise<void>,
): void {
  router[verbs[method]](path, async (request, response) => {
    const parsed = fields.parse(method === "GET" ? request.query : request.body);
    // Express has matched the path, so that its parameters are those that the path names.
    await handle({ ...parsed, ...(request.params as PathParams<E["path"]>) }, response);
  });
}
