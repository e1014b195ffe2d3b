/** The HTTP application over what it is given. It does not listen, so tests and the command line can. */
import { randomUUID } from "node:crypto";
import type { Server } from "node:http";
import { join } from "node:path";
import express, { type Express } from "express";
import helmet from "helmet";
import { WorkbenchError } from "./errors.ts";
import type { AppDeps } from "./routes/appDeps.ts";
import { aboutRoutes } from "./routes/about.ts";
import { errorReply, unknownRoute } from "./routes/errorReply.ts";
import { folderRoutes } from "./routes/folders.ts";
import { runRoutes } from "./routes/runs.ts";
import { subjectRoutes } from "./routes/subjects.ts";
import { trainingRoutes } from "./routes/training.ts";
import { deepestNesting, isTooDeep } from "./formats/strictJson.ts";
import { attachSockets } from "./sockets/attachSockets.ts";
import { apiPrefix } from "./endpoints.ts";

export function createApp(deps: AppDeps): Express {
  const { guard } = deps;
  const app = express();
  app.disable("x-powered-by");
  app.set("etag", false);
  app.use((_request, response, next) => {
    response.locals["requestId"] = randomUUID().slice(0, 8);
    next();
  });
  app.use(contentPolicy());
  app.use((request, response, next) => {
    guard.checkHost(request);
    if (request.method !== "GET" && request.method !== "HEAD") guard.checkOrigin(request);
    const cookie = guard.cookieFor(request);
    if (cookie !== null) response.setHeader("Set-Cookie", cookie);
    next();
  });

  const api = express.Router();
  api.use((request, response, next) => {
    guard.checkToken(request);
    response.setHeader("Cache-Control", "no-store");
    next();
  });
  api.use(express.json({ limit: "1mb", verify: (_request, _response, body) => checkNesting(body) }));
  for (const routes of [aboutRoutes, folderRoutes, subjectRoutes, runRoutes, trainingRoutes]) api.use(routes(deps));
  api.use(unknownRoute);
  app.use(apiPrefix, api);

  const { clientFolder } = deps;
  if (clientFolder !== null) {
    app.use(express.static(clientFolder, { index: false }));
    // Every view has an address of its own; the one page reads it.
    app.get("/{*splat}", (request, response, next) => {
      if (request.accepts("html")) response.sendFile(join(clientFolder, "index.html"));
      else next();
    });
  }
  app.use(unknownRoute);
  app.use(errorReply(deps.log));
  return app;
}

/** Puts the application and its sockets on a server. @returns closes the sockets, and with them the server */
export function attachApp(server: Server, deps: AppDeps): () => Promise<void> {
  server.on("request", createApp(deps));
  return attachSockets(server, deps);
}

/** What is nested deeper overflows the stack of those who walk it. @throws "request.malformed" */
function checkNesting(body: Buffer): void {
  if (isTooDeep(body.toString("utf8")))
    throw new WorkbenchError("request.malformed", `the request body is nested more than ${deepestNesting} deep; expected less`);
}

function contentPolicy(): ReturnType<typeof helmet> {
  return helmet({
    strictTransportSecurity: false,
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'self'"],
        scriptSrc: ["'self'", "'wasm-unsafe-eval'"],
        // D3 and Svelte write style attributes.
        styleSrc: ["'self'", "'unsafe-inline'"],
        imgSrc: ["'self'", "data:", "blob:"],
        connectSrc: ["'self'"],
        workerSrc: ["'self'", "blob:"],
        objectSrc: ["'none'"],
        baseUri: ["'none'"],
        formAction: ["'none'"],
        frameAncestors: ["'none'"],
      },
    },
  });
}
