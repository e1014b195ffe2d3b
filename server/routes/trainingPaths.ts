/** The files that a training run's parameters name, checked against the opened folders. */
import { join } from "node:path";
import { WorkbenchError } from "../errors.ts";
import type { OpenedRoots } from "./openedRoots.ts";

/** By their place in the parameters. Options are a method's own; those that are paths are listed here. */
const filePlaces = [
  ["data", "path"],
  ["data", "validationPath"],
  ["startFrom", "folder"],
  ["options", "earlier"],
] as const;

/**
 * The same parameters with real paths.
 * @throws "file.outsideRoots", "file.notFound", both beginning with the parameter's name
 */
export async function checkTrainingPaths(params: Readonly<Record<string, unknown>>, roots: OpenedRoots): Promise<Record<string, unknown>> {
  const checked: Record<string, unknown> = { ...params };
  for (const [group, field] of filePlaces) {
    const held = checked[group];
    if (!isRecord(held)) continue;
    checked[group] = { ...held, [field]: await checkedValue(held[field], `${group}.${field}`, roots) };
    // A field that was left out stays so, and the schema's default holds.
    if (held[field] === undefined) checked[group] = held;
  }
  return checked;
}

async function checkedValue(value: unknown, name: string, roots: OpenedRoots): Promise<unknown> {
  if (Array.isArray(value)) return Promise.all(value.map((one: unknown) => checkedValue(one, name, roots)));
  if (typeof value !== "string") return value;
  try {
    const real = await roots.check(value, name.startsWith("data.") ? "file" : "folder");
    // What is read of these folders: all checkpoints of a run, and the adapter of an earlier task.
    if (name === "startFrom.folder") await roots.checkLinks(join(real, "checkpoints"));
    if (name === "options.earlier") await roots.checkLinks(real);
    return real;
  } catch (error) {
    if (error instanceof WorkbenchError) throw new WorkbenchError(error.code, `${name}: ${error.message}`, { cause: error, field: name });
    throw error;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
