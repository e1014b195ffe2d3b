/** Socket.io on the HTTP server, behind the same guard; one file per family of events. */
import { randomUUID } from "node:crypto";
import type { IncomingMessage, Server as HttpServer } from "node:http";
import { Server } from "socket.io";
import type { AppDeps } from "../routes/appDeps.ts";
import { wireError } from "../routes/errorReply.ts";
import type { ClientToServer, ServerToClient } from "../wire.ts";
import { LatestOnly } from "./backlog.ts";
import { watchRuns, type RunSocket } from "./watchRuns.ts";

/** @returns closes all sockets */
export function attachSockets(http: HttpServer, deps: AppDeps): () => Promise<void> {
  const { guard, board, log } = deps;
  const io = new Server<ClientToServer, ServerToClient>(http, {
    serveClient: false,
    maxHttpBufferSize: 100_000,
    // Socket.io applies no origin rule to WebSockets by itself.
    allowRequest: (request, answer) => {
      try {
        guard.checkHost(request);
        guard.checkOrigin(request);
        answer(null, true);
      } catch (error) {
        log.info({ err: error, url: request.url }, "socket refused");
        answer(wireError(error, "").message, false);
      }
    },
  });
  // A session that exists is asked again: each of its requests could come from elsewhere.
  io.engine.use((request: IncomingMessage, _response: unknown, next: (error?: unknown) => void) => {
    try {
      guard.checkHost(request);
      guard.checkOrigin(request);
      next();
    } catch (error) {
      // A handshake is refused with words, by allowRequest.
      next(request.url?.includes("sid=") ? error : undefined);
    }
  });
  io.use((socket, next) => {
    try {
      guard.checkToken(socket.request, socket.handshake.auth["token"]);
      next();
    } catch (error) {
      next(error instanceof Error ? error : new Error("internal"));
    }
  });
  const lines = new Map<RunSocket, LatestOnly>();
  io.on("connection", (socket: RunSocket) => {
    const line = new LatestOnly(socket);
    lines.set(socket, line);
    socket.on("disconnect", () => {
      line.stop();
      lines.delete(socket);
    });
    watchRuns(socket, board, (thrown, about) => {
      const requestId = randomUUID().slice(0, 8);
      log.info({ requestId, ...about, err: thrown });
      return wireError(thrown, requestId);
    });
  });
  const stopListening = board.listen({
    onRecord(record) {
      for (const [socket, line] of lines) line.send(record.id, () => socket.emit("run:record", record));
    },
    onRemoved(id) {
      for (const [socket, line] of lines) line.send(id, () => socket.emit("run:removed", id));
    },
  });
  return async () => {
    stopListening();
    await io.close();
  };
}
