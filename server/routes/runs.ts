/** Runs: start, list, read, cancel, remove, and their figures as files. */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Router } from "express";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { endpoints } from "../endpoints.ts";
import { figureFileName } from "../reports/figureName.ts";
import { figureFormats, printSizeNames } from "../reports/figureRequest.ts";
import { figureMetadata } from "../jobs/provenance.ts";
import { runRequest } from "../wire.ts";
import { placeFromText } from "../placeText.ts";
import { didYouMean } from "../nearNames.ts";
import type { AppDeps } from "./appDeps.ts";
import { checkedRunRequest } from "./runRequests.ts";
import { noFields, serve, serveFile } from "./serve.ts";
import { whileConnected } from "./whileConnected.ts";

const figureName = z.string().regex(new RegExp(`^.+\\.(${figureFormats.join("|")})$`), `expected a figure's id and one of ${figureFormats.join(", ")}`);
const listQuery = z.object({ limit: z.coerce.number().int().min(1).max(1000).default(200), before: z.string().optional() });
const placeField = z.string().refine((text) => placeFromText(text) !== null, "expected a place such as layer:5!head:1");
const figureQuery = z.object({
  theme: z.enum(["light", "dark"]).default("light"),
  metric: z.string().optional(),
  width: z.coerce.number().int().min(200).max(4000).optional(),
  size: z.enum(printSizeNames).optional(),
  step: z.coerce.number().min(0).optional(),
  look: z.string().optional(),
  panel: z.string().optional(),
  pin: placeField.optional(),
  secondPin: placeField.optional(),
  marks: z.enum(["yes", "no"]).default("yes"),
});

export function runRoutes({ roots, queue, board, probes }: AppDeps): Router {
  const router = Router();
  serve(router, endpoints.runs, listQuery, ({ limit, before }) => board.list(limit, before));
  serve(router, endpoints.startRun, runRequest, async (asked) => board.submit(await checkedRunRequest(asked, probes, roots)));
  serve(router, endpoints.run, noFields, ({ id }) => board.result(id));
  serve(router, endpoints.cancelRun, noFields, ({ id }) => board.cancel(id));
  serve(router, endpoints.removeRun, noFields, ({ id }) => board.remove(id));
  serveFile(router, endpoints.arrays, noFields, async ({ id }, response) => {
    const pieces = await board.arrays(id);
    response.type("application/octet-stream").attachment("arrays.safetensors");
    await pipeline(Readable.from(pieces, { objectMode: false }), response).catch((error: unknown) => {
      // One who leaves in the middle has what they wanted.
      if (!response.closed) throw error;
    });
  });
  serveFile(router, endpoints.figure, figureQuery, async ({ id, name, theme, pin, secondPin, marks, ...shown }, response) => {
    const [figureId, format] = splitName(figureName.parse(name));
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
    const pins = [pin, secondPin].flatMap((text) => (text === undefined ? [] : (placeFromText(text) ?? [])));
    const drawing = { ...given(shown), pins, marks: marks === "yes" };
    const file = await queue.ask(
      { kind: "figure", input: { figure, arrays, format, theme, metadata: figureMetadata(record), ...drawing } },
      whileConnected(response),
    );
    response
      .type(file.contentType)
      .attachment(figureFileName({ run: id, model: record.request.subject.model, probe: record.request.probe, figure: figureId, format, ...given(shown) }));
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
