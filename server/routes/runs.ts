/** Runs: start, list, read, cancel, remove, and their figures as files. */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Router } from "express";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { figureFormats } from "../reports/figureRequest.ts";
import { figureMetadata } from "../jobs/provenance.ts";
import { runRequest } from "../wire.ts";
import { didYouMean } from "../nearNames.ts";
import type { AppDeps } from "./appDeps.ts";
import { checkedRunRequest } from "./runRequests.ts";
import { whileConnected } from "./whileConnected.ts";

const figureName = z.string().regex(new RegExp(`^.+\\.(${figureFormats.join("|")})$`), `expected a figure's id and one of ${figureFormats.join(", ")}`);
const listQuery = z.object({ limit: z.coerce.number().int().min(1).max(1000).default(200), before: z.string().optional() });
const figureQuery = z.object({
  theme: z.enum(["light", "dark"]).default("light"),
  metric: z.string().optional(),
  width: z.coerce.number().int().min(200).max(4000).optional(),
  step: z.coerce.number().min(0).optional(),
  look: z.string().optional(),
  panel: z.string().optional(),
});

export function runRoutes({ roots, jobs, board, probes }: AppDeps): Router {
  const router = Router();
  router.get("/runs", (request, response) => {
    const { limit, before } = listQuery.parse(request.query);
    response.json(board.list(limit, before));
  });
  router.post("/runs", async (request, response) => {
    const asked = runRequest.parse(request.body);
    response.status(201).json(await board.submit(await checkedRunRequest(asked, probes, roots)));
  });
  router.get("/runs/:id", async (request, response) => {
    response.json(await board.result(request.params.id));
  });
  router.get("/runs/:id/arrays.safetensors", async (request, response) => {
    const pieces = await board.arrays(request.params.id);
    response.type("application/octet-stream").attachment("arrays.safetensors");
    await pipeline(Readable.from(pieces, { objectMode: false }), response).catch((error: unknown) => {
      // One who leaves in the middle has what they wanted.
      if (!response.closed) throw error;
    });
  });
  router.post("/runs/:id/cancel", (request, response) => {
    response.json(board.cancel(request.params.id));
  });
  router.delete("/runs/:id", async (request, response) => {
    await board.remove(request.params.id);
    response.status(204).end();
  });
  router.get("/runs/:id/figures/:name", async (request, response) => {
    const { id, name } = request.params;
    const [figureId, format] = splitName(figureName.parse(name));
    const { theme, ...drawing } = figureQuery.parse(request.query);
    const record = board.record(id);
    const { figures, arrays } = await board.probeResult(id);
    const figure = figures.find((candidate) => candidate.id === figureId);
    if (!figure)
      throw new WorkbenchError(
        "figure.unknown",
        `run "${id}" has no figure "${figureId}"; ${didYouMean(
          figureId,
          figures.map((candidate) => candidate.id),
        )}`,
      );
    const metadata = figureMetadata(record);
    const file = await jobs.execute({ kind: "figure", input: { figure, arrays, format, theme, metadata, ...given(drawing) } }, whileConnected(response));
    response.type(file.contentType).attachment(`${record.request.probe}-${name}`);
    response.send(typeof file.body === "string" ? file.body : Buffer.from(file.body));
  });
  return router;
}

/** Without the fields that were left out. */
const given = <T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as { [K in keyof T]?: Exclude<T[K], undefined> };

function splitName(name: string): [id: string, format: (typeof figureFormats)[number]] {
  const dot = name.lastIndexOf(".");
  const format = figureFormats.find((candidate) => candidate === name.slice(dot + 1));
  if (!format) throw new Error("internal: the schema lets no other format through");
  return [name.slice(0, dot), format];
}
