/** An earlier revision, built in a folder of its own, so that its figures can be taken beside today's. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

/**
 * @param revision a name that git knows
 * @returns the folder of its checkout, with its own dependencies installed; made once
 */
export function checkoutOf(repository: string, root: string, revision: string): string {
  const commit = told("git", ["rev-parse", "--short", `${revision}^{commit}`], repository).trim();
  const folder = join(root, `at-${commit}`);
  if (existsSync(join(folder, "node_modules", ".package-lock.json"))) return folder;
  if (!existsSync(folder)) told("git", ["clone", "--quiet", "--shared", repository, folder], repository);
  told("git", ["checkout", "--quiet", commit], folder);
  told("npm", ["ci", "--no-audit", "--no-fund"], folder);
  return folder;
}

function told(command: string, args: readonly string[], cwd: string): string {
  const done = spawnSync(command, args, { cwd, encoding: "utf8", maxBuffer: 2 ** 26 });
  if (done.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${done.stderr.trim().split("\n").at(-1) ?? "failed"}`);
  return done.stdout;
}
