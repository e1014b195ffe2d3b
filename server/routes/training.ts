/** Training: methods, preview, and what only a training run can do: pause, resume, branch, adapters and scalars. */
import { Router } from "express";
import * as z from "zod";
import { endpoints } from "../endpoints.ts";
import { WorkbenchError } from "../errors.ts";
import { runScalars, scalarsCsv, scalarsJsonl } from "../jobs/scalars.ts";
import { checkpointAdapter } from "../training/checkpoint.ts";
import { trainingParams } from "../training/trainingParams.ts";
import { branchRequest, previewRequest } from "../wire.ts";
import type { AppDeps } from "./appDeps.ts";
import { checkedRunRequest, checkParams } from "./runRequests.ts";
import { methodCards } from "./methodCards.ts";
import { checkedPaths } from "./checkedPaths.ts";
import { noFields, serve, serveFile } from "./serve.ts";
import { whileConnected } from "./whileConnected.ts";

const adapterQuery = z.object({ step: z.coerce.number().int().min(0).optional() });

export function trainingRoutes({ roots, queue, board, probes }: AppDeps): Router {
  const router = Router();
  serve(router, endpoints.trainingMethods, noFields, methodCards);
  serve(router, endpoints.trainingPreview, previewRequest, async ({ subject, params }, response) => {
    checkParams("train", trainingParams, params);
    const input = { subject: await roots.checkSubject(subject), params: await checkedPaths(params, trainingParams, roots) };
    return queue.ask({ kind: "preview", input }, whileConnected(response));
  });
  serve(router, endpoints.pauseRun, noFields, ({ id }) => board.pause(id));
  serve(router, endpoints.resumeRun, noFields, async ({ id }) => {
    const record = board.record(id);
    board.checkTrains(record);
    // The roots may be others than when it began.
    await checkedRunRequest(record.request, probes, roots);
    return board.resume(id);
  });
  serve(router, endpoints.branchRun, branchRequest, async ({ id, step, params }) => {
    const record = board.record(id);
    board.checkTrains(record);
    const folder = checkpointFolder(id, step);
    const asked = { ...record.request, params: { ...withChanges(record.request.params, params), startFrom: { folder, step } } };
    return board.submit(await checkedRunRequest(asked, probes, roots));
  });
  serve(router, endpoints.checkpointAdapter, adapterQuery, ({ id, step: asked }) => {
    board.checkTrains(board.record(id));
    const step = asked ?? board.checkpoints(id).at(-1) ?? 0;
    return { path: checkpointAdapter(checkpointFolder(id, step), step), step };
  });
  serveFile(router, endpoints.scalars, noFields, async ({ id, format }, response) => {
    board.checkTrains(board.record(id));
    const scalars = runScalars(await board.probeResult(id));
    if (format === "jsonl") response.type("application/jsonl").attachment(`${id}-scalars.jsonl`).send(scalarsJsonl(scalars));
    else if (format === "csv") response.type("text/csv").attachment(`${id}-scalars.csv`).send(scalarsCsv(scalars));
    else throw new WorkbenchError("request.notFound", `scalars are written as jsonl or csv; found "${format}"`);
  });

  /** The run's folder, once it is sure that the step has a checkpoint there. */
  function checkpointFolder(id: string, step: number): string {
    const there = board.checkpoints(id);
    if (!there.includes(step))
      throw new WorkbenchError(
        "training.noCheckpoint",
        `run "${id}" has no checkpoint of step ${step}; ${there.length === 0 ? "there is none yet" : `there are ${there.join(", ")}`}`,
      );
    return board.folderOf(id);
  }
  return router;
}

/** Objects are merged field by field; the options of a method are replaced, as another method has others. */
function withChanges(params: Readonly<Record<string, unknown>>, changes: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...params };
  for (const [name, value] of Object.entries(changes)) {
    const before = merged[name];
    merged[name] = isRecord(before) && isRecord(value) && name !== "options" ? { ...before, ...value } : value;
  }
  return merged;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
