/** Every parameter that is a path is held to the opened folders, whichever probe or method it belongs to. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import * as z from "zod";
import { probes } from "../../probes/registry.ts";
import { trainings } from "../../server/adapters/registry.ts";
import { checkedPaths } from "../../server/routes/checkedPaths.ts";
import { OpenedRoots } from "../../server/routes/openedRoots.ts";
import { trainingParams } from "../../server/training/trainingParams.ts";

const folder = mkdtempSync(join(tmpdir(), "deltascope-paths-"));
afterAll(() => rmSync(folder, { recursive: true }));
for (const side of ["inside", "outside"]) {
  mkdirSync(join(folder, side, "run", "checkpoints"), { recursive: true });
  writeFileSync(join(folder, side, "data.jsonl"), "");
}
const roots = new OpenedRoots([join(folder, "inside")]);
const at = (side: string, name: string): string => join(folder, side, name);

describe("a training run's", () => {
  test.each([
    ["data.path", { data: { path: at("outside", "data.jsonl") } }],
    ["data.validationPath", { data: { path: at("inside", "data.jsonl"), validationPath: at("outside", "data.jsonl") } }],
    ["startFrom.folder", { startFrom: { folder: at("outside", "run"), step: 1 } }],
    ["options.earlier", { method: "oliera", options: { earlier: [at("inside", "run"), at("outside", "run")] } }],
  ])("%s outside the opened folders is refused by its name", async (name, params) => {
    await expect(checkedPaths(params, trainingParams, roots)).rejects.toThrow(new RegExp(`^${name}: .*outside the opened folders`));
  });

  test("paths inside stay, and what is no path is left as it is", async () => {
    const params = {
      data: { path: at("inside", "data.jsonl"), task: "text" },
      startFrom: null,
      method: "oliera",
      options: { earlier: [at("inside", "run")], rank: 4 },
      name: "../../etc/passwd",
    };
    expect(await checkedPaths(params, trainingParams, roots)).toEqual(params);
  });
});

test("a user's probe has its paths checked when its schema says so", async () => {
  const schema = z.strictObject({ texts: z.array(z.strictObject({ file: z.string().meta({ path: "file" }) })) });
  await expect(checkedPaths({ texts: [{ file: at("outside", "data.jsonl") }] }, schema, roots)).rejects.toThrow(/^texts\.file: /);
});

/** Names of parameters that a reader would take for a path. */
const pathLike = /path|folder|file|dir$|earlier/i;

test.each([
  ...Object.entries(probes).map(([name, { params }]) => [name, params] as const),
  ...Object.entries(trainings).map(([name, { schema }]) => [name, schema] as const),
])("%s has no parameter that is called like a path and not marked as one", (_, schema) => {
  const unmarked: string[] = [];
  const look = (node: unknown, name: string): void => {
    if (typeof node !== "object" || node === null) return;
    const {
      properties = {},
      items,
      anyOf = [],
      type,
      path,
    } = node as { properties?: Record<string, unknown>; items?: unknown; anyOf?: unknown[]; type?: string; path?: string };
    if (type === "string" && pathLike.test(name.split(".").at(-1) ?? "") && path === undefined) unmarked.push(name);
    for (const [field, inner] of Object.entries(properties)) look(inner, name === "" ? field : `${name}.${field}`);
    for (const inner of [items, ...anyOf]) look(inner, name);
  };
  look(z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }), "");
  expect(unmarked).toEqual([]);
});
