/** What the server is: health, doctor, demo and the table of probes. */
import { Router } from "express";
import type { AppDeps } from "./appDeps.ts";

export function aboutRoutes({ version, engine, jobs, demo, probeCards }: AppDeps): Router {
  const router = Router();
  router.get("/health", (_request, response) => {
    response.json({ ok: true, version, uptimeSeconds: Math.round(process.uptime()), engine: engine(), jobs: jobs.counts });
  });
  router.get("/doctor", async (_request, response) => {
    response.json(await jobs.execute({ kind: "doctor", input: null }));
  });
  router.get("/demo", (_request, response) => {
    response.json(demo);
  });
  router.get("/probes", (_request, response) => {
    response.json(probeCards);
  });
  return router;
}
