/** The files and folders that parameters name, checked against the opened folders. Which parameters are paths their schema says: `.meta({ path: "file" })`. */
import { join } from "node:path";
import * as z from "zod";
import { trainings } from "../adapters/registry.ts";
import { WorkbenchError } from "../errors.ts";
import type { OpenedRoots } from "./openedRoots.ts";

/** What is read of each kind of path. "run": all checkpoints of a run; "adapter": the folder of an adapter. */
const pathKinds = {
  file: (path: string, roots: OpenedRoots) => roots.check(path, "file"),
  folder: (path: string, roots: OpenedRoots) => roots.check(path),
  async run(path: string, roots: OpenedRoots) {
    const real = await roots.check(path);
    await roots.checkLinks(join(real, "checkpoints"));
    return real;
  },
  async adapter(path: string, roots: OpenedRoots) {
    const real = await roots.check(path);
    await roots.checkLinks(real);
    return real;
  },
} as const;
type PathKind = keyof typeof pathKinds;

/** As much of a JSON schema as leads to paths. */
const schemaNode = z.looseObject({
  path: z.string().optional(),
  /** The field beside it that names the training method whose options these are. */
  optionsOf: z.string().optional(),
  properties: z.record(z.string(), z.unknown()).optional(),
  items: z.unknown().optional(),
  anyOf: z.array(z.unknown()).optional(),
});

/**
 * The same parameters with real paths.
 * @throws "file.outsideRoots", "file.notFound", both beginning with the parameter's name
 */
export async function checkedPaths(params: Readonly<Record<string, unknown>>, schema: z.ZodType, roots: OpenedRoots): Promise<Record<string, unknown>> {
  const checked = await walked(jsonSchemaOf(schema), params, "", roots);
  return isRecord(checked) ? checked : {};
}

const jsonSchemaOf = (schema: z.ZodType): unknown => z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });

async function walked(schema: unknown, value: unknown, name: string, roots: OpenedRoots): Promise<unknown> {
  const node = schemaNode.safeParse(schema).data;
  if (!node || value === undefined || value === null) return value;
  if (node.path !== undefined && typeof value === "string") return await checkedPath(node.path, value, name, roots);
  let found: unknown = value;
  for (const option of node.anyOf ?? []) found = await walked(option, found, name, roots);
  if (Array.isArray(found) && node.items !== undefined) return await Promise.all(found.map((one: unknown) => walked(node.items, one, name, roots)));
  if (!isRecord(found) || !node.properties) return found;
  const entries = await Promise.all(
    Object.entries(found).map(
      async ([field, held]) => [field, await walked(schemaOf(node.properties?.[field], found), held, name === "" ? field : `${name}.${field}`, roots)] as const,
    ),
  );
  return Object.fromEntries(entries);
}

/** The options of a method have the method's schema. */
function schemaOf(schema: unknown, beside: Readonly<Record<string, unknown>>): unknown {
  const method = schemaNode.safeParse(schema).data?.optionsOf;
  if (method === undefined) return schema;
  // Without a method the schema's default holds, whose options are no paths; all weights have none; an unknown one is told by whoever opens it.
  const training = Object.entries(trainings).find(([name]) => name === beside[method])?.[1];
  return training && jsonSchemaOf(training.schema);
}

async function checkedPath(kind: string, path: string, name: string, roots: OpenedRoots): Promise<string> {
  if (!isPathKind(kind))
    throw new WorkbenchError("internal", `internal: parameter "${name}" is a path of the kind "${kind}"; expected one of ${Object.keys(pathKinds).join(", ")}`);
  try {
    return await pathKinds[kind](path, roots);
  } catch (error) {
    if (error instanceof WorkbenchError) throw new WorkbenchError(error.code, `${name}: ${error.message}`, { cause: error, field: name });
    throw error;
  }
}

const isPathKind = (kind: string): kind is PathKind => Object.hasOwn(pathKinds, kind);

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
