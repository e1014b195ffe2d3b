/** Entry module of a worker process: the real subject opener and probes, behind the task loop. */
import { probes } from "../../probes/registry.ts";
import { openSubject } from "../runs/subject.ts";
import type { EngineChoice } from "./messages.ts";
import { serveTasks } from "./workerLoop.ts";
import { workerTools } from "./workerTools.ts";

// What startWorker passes, and nobody else.
const choice = JSON.parse(process.argv[2] ?? "{}") as EngineChoice;
serveTasks(workerTools(probes, (request, begunOn = null) => openSubject(request, { ...choice, begunOn }), choice));
