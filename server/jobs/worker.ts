/** Entry module of a worker thread: the real subject opener and probes, behind the task loop. */
import { parentPort, workerData } from "node:worker_threads";
import { probes } from "../../probes/registry.ts";
import { openSubject } from "../runs/subject.ts";
import { workerTools } from "./workerTools.ts";
import { serveTasks } from "./workerLoop.ts";
import type { EngineChoice } from "./messages.ts";

if (!parentPort) throw new Error("internal: worker.ts runs only as a worker thread");
// What the thread is given by startWorker, and nobody else.
const choice = workerData as EngineChoice;
serveTasks(parentPort, workerTools(probes, (request) => openSubject(request, choice), choice));
