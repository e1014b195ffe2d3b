/** The demo fixture as a card: a model, its adapters and the finding the first screen tells. */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import * as z from "zod";
import { packageFolder } from "./packageFolder.ts";
import { subjectRequest, type DemoCard } from "./wire.ts";

export const demoFolder: string = join(packageFolder, "fixtures", "demo");

const demoFile = z.object({
  subject: subjectRequest,
  finding: z.string(),
  probe: z.string(),
  params: z.record(z.string(), z.unknown()),
  prompts: z.array(z.object({ label: z.string(), clean: z.string(), corrupted: z.string(), answer: z.string(), counterAnswer: z.string() })),
});

const demoTrainingFile = z.looseObject({ data: z.looseObject({ path: z.string(), validationPath: z.string().nullish() }) });

/** `demo.json` beside the fixture's model; its paths are relative to it. Null in an installation without fixtures. */
export function demoCard(folder: string = demoFolder): DemoCard | null {
  const file = join(folder, "demo.json");
  if (!existsSync(file)) return null;
  const demo = demoFile.parse(JSON.parse(readFileSync(file, "utf8")));
  const { model, adapters } = demo.subject;
  return {
    ...demo,
    training: demoTraining(),
    subject: {
      model: model === null ? null : resolve(folder, model),
      adapters: adapters.map((adapter) => ({ ...adapter, path: resolve(folder, adapter.path) })),
    },
  };
}

/** Beside the demo's own folder; in a checkout and in the package. */
const tasksFolder = join(packageFolder, "fixtures", "tasks");

/** A short training run on the demo's model: facts that it does not know yet, with prompts to follow while it learns them. */
function demoTraining(): Record<string, unknown> | null {
  const file = join(tasksFolder, "demo.json");
  if (!existsSync(file)) return null;
  const { data, ...params } = demoTrainingFile.parse(JSON.parse(readFileSync(file, "utf8")));
  const beside = (path: string): string => resolve(tasksFolder, path);
  return { ...params, data: { ...data, path: beside(data.path), ...(data.validationPath ? { validationPath: beside(data.validationPath) } : {}) } };
}
