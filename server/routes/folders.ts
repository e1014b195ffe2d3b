/** Folders inside the opened roots, for the client's "open a folder". */
import { readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Router } from "express";
import * as z from "zod";
import { endpoints } from "../endpoints.ts";
import { WorkbenchError } from "../errors.ts";
import type { FolderListing } from "../wire.ts";
import type { AppDeps } from "./appDeps.ts";
import type { OpenedRoots } from "./openedRoots.ts";
import { serve } from "./serve.ts";

const maxEntries = 1000;

/** The path is one text; anything else is no path. */
const folderQuery = z.object({ path: z.string().optional().catch(undefined) });

export function folderRoutes({ roots }: AppDeps): Router {
  const router = Router();
  serve(router, endpoints.folders, folderQuery, ({ path = "" }) => (path === "" ? topListing(roots) : listing(roots, path)));
  return router;
}

/** The roots themselves, under the empty path. */
async function topListing(roots: OpenedRoots): Promise<FolderListing> {
  const entries = await Promise.all(roots.folders.map(async (path) => ({ name: path, path, kind: await kindOf(path) })));
  return { path: "", parent: null, entries };
}

async function listing(roots: OpenedRoots, asked: string): Promise<FolderListing> {
  const path = await roots.check(asked);
  const found = await readdir(path, { withFileTypes: true }).catch((cause: unknown) => {
    throw new WorkbenchError("file.unreadable", `${path} cannot be listed; expected a folder this user may read`, { cause });
  });
  const names = found
    .filter((entry) => (entry.isDirectory() || entry.isSymbolicLink()) && !entry.name.startsWith(".") && entry.name !== "node_modules")
    .map((entry) => entry.name)
    .toSorted((a, b) => a.localeCompare(b))
    .slice(0, maxEntries);
  const entries = await Promise.all(names.map(async (name) => ({ name, path: join(path, name), kind: await kindOf(join(path, name)) })));
  const parent = dirname(path);
  return { path, parent: roots.has(parent) && parent !== path ? parent : "", entries };
}

async function kindOf(path: string): Promise<FolderListing["entries"][number]["kind"]> {
  const names = await readdir(path).catch(() => null);
  if (!names) return "folder";
  if (names.includes("adapter_config.json")) return "adapter";
  return names.includes("config.json") && names.some((name) => name.endsWith(".safetensors")) ? "model" : "folder";
}
