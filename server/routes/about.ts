/** What the server is: health, doctor, demo and the table of probes. */
import { Router } from "express";
import { endpoints } from "../endpoints.ts";
import type { AppDeps } from "./appDeps.ts";
import { noFields, serve } from "./serve.ts";

export function aboutRoutes({ version, engine, queue, demo, probeCards }: AppDeps): Router {
  const router = Router();
  serve(router, endpoints.health, noFields, () => ({
    ok: true,
    version,
    uptimeSeconds: Math.round(process.uptime()),
    engine: engine(),
    jobs: queue.counts,
  }));
  serve(router, endpoints.doctor, noFields, () => queue.ask({ kind: "doctor", input: null }));
  serve(router, endpoints.demo, noFields, () => demo);
  serve(router, endpoints.probes, noFields, () => probeCards);
  return router;
}
