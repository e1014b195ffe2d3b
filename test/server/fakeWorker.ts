/** Worker entry for tests: the real task loop over the fake subject and probes. */
import { serveTasks } from "../../server/jobs/workerLoop.ts";
import { workerTools } from "../../server/jobs/workerTools.ts";
import { fakeOpener, fakeProbes } from "./fakeProbes.ts";

serveTasks(workerTools(fakeProbes, fakeOpener(), {}));
