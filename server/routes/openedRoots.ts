/** The folders this server may read models and adapters from; every path a client names is checked against them. */
import { realpathSync } from "node:fs";
import { readdir, realpath } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, isAbsolute, join, relative, resolve } from "node:path";
import { WorkbenchError } from "../errors.ts";
import { subjectFiles } from "../runs/subjectFiles.ts";
import type { SubjectRequest } from "../wire.ts";

export class OpenedRoots {
  /** Real paths, symbolic links resolved. */
  readonly folders: readonly string[];
  readonly #unlisted: string[] = [];

  /** @throws "file.notFound" when a root is not there */
  constructor(folders: Iterable<string>) {
    const real = [...folders].map((folder) => {
      try {
        return realpathSync(resolve(withHome(folder)));
      } catch (cause) {
        throw new WorkbenchError("file.notFound", `${folder} does not exist; expected a folder to open`, { cause });
      }
    });
    this.folders = [...new Set(real)];
  }

  /** Lets a folder be read that is not for browsing: where runs keep their adapters. */
  allow(folder: string): void {
    this.#unlisted.push(realpathSync(folder));
  }

  /**
   * The real path of what a client named.
   * @throws "file.outsideRoots" saying how to open more, "file.notFound"
   */
  async check(path: string, kind: "folder" | "file" = "folder"): Promise<string> {
    if (path.includes("\0")) throw new WorkbenchError("file.notFound", `a path holds a zero byte; expected a ${kind}`);
    const asked = resolve(withHome(path));
    const real = await realpath(asked).catch(() => null);
    // Outside the roots nothing is told, not even whether the path exists.
    if (!this.has(real ?? asked)) throw this.#outside(asked);
    if (real === null) throw new WorkbenchError("file.notFound", `${asked} does not exist; expected a ${kind}`);
    return real;
  }

  /** The same request with checked, real paths. */
  async checkSubject(request: SubjectRequest): Promise<SubjectRequest> {
    const checked = {
      model: request.model === null ? null : await this.check(request.model),
      adapters: await Promise.all(request.adapters.map(async (adapter) => ({ ...adapter, path: await this.check(adapter.path) }))),
    };
    for (const file of subjectFiles(checked)) await this.#checkLink(file);
    return checked;
  }

  /** Everything in a folder stays in the roots. @throws "file.outsideRoots" */
  async checkLinks(folder: string): Promise<void> {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
    for (const entry of entries) if (entry.isSymbolicLink()) await this.#checkLink(join(entry.parentPath, entry.name));
  }

  /** A folder inside the roots may hold links that lead out of them, as one from a stranger's repository. */
  async #checkLink(file: string): Promise<void> {
    const real = await realpath(file).catch(() => null);
    if (real !== null && !this.has(real))
      throw new WorkbenchError(
        "file.outsideRoots",
        `${file} is a link that leads out of the opened folders (${this.folders.join(", ")}); to open it, start with --root for the folder it leads to`,
      );
  }

  has(realPath: string): boolean {
    return [...this.folders, ...this.#unlisted].some((root) => {
      const inside = relative(root, realPath);
      return inside === "" || (inside !== ".." && !inside.startsWith("../") && !inside.startsWith("..\\") && !isAbsolute(inside));
    });
  }

  #outside(path: string): WorkbenchError {
    return new WorkbenchError(
      "file.outsideRoots",
      `${path} is outside the opened folders (${this.folders.join(", ")}); to open it, start with --root ${dirname(path)}`,
    );
  }
}

function withHome(path: string): string {
  return path === "~" || path.startsWith("~/") ? homedir() + path.slice(1) : path;
}
