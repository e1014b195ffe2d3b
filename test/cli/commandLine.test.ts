import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";

const bin = fileURLToPath(new URL("../../bin/deltascope.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "deltascope-cli-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}
/** The sources, not a build that may be older than they are. */
function deltascope(...args: string[]): { ended: Promise<Ended>; child: ReturnType<typeof spawn> } {
  const child = spawn(process.execPath, [bin, ...args], { cwd: folder, env: { ...process.env, DELTASCOPE_SOURCE: "1" } });
  const text = { out: "", err: "" };
  child.stdout.on("data", (chunk: Buffer) => (text.out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (text.err += chunk.toString()));
  return { child, ended: once(child, "close").then(([code]) => ({ code: code as number | null, ...text })) };
}

describe("the command line", () => {
  test("tells its version and helps, with status 0", async () => {
    const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
    expect(await deltascope("--version").ended).toMatchObject({ code: 0, out: `${version}\n` });
    const help = await deltascope("--help").ended;
    expect(help.code).toBe(0);
    for (const word of ["serve", "inspect", "probe", "activations", "doctor", "Examples:", "Exit status"]) expect(help.out).toContain(word);
  });

  test.each(["serve", "inspect", "train", "compare", "methods", "probe", "probes", "activations", "doctor"])("%s --help shows examples", async (name) => {
    const { code, out } = await deltascope(name, "--help").ended;
    expect(code).toBe(0);
    expect(out).toContain("Examples:");
  });

  test.each([
    [["--no-such-flag"], "no-such-flag"],
    [["probe", "nope", "--out", "x"], "probe.unknown"],
    [["probe", "logitLens"], "--out"],
    [["probe", "logitLens", "--out", "x", "--params", "{oops"], "--params"],
    [["probe", "logitLens", "--out", "x", "--params", "@missing.json"], "missing.json"],
    [["inspect"], "--adapter"],
    [["activations", "--hooks", "a", "--out", "x"], "--model"],
    [["activations", "--model", ".", "--hooks", "a", "--out", "x"], "--tokens or --text"],
    [["activations", "--model", ".", "--tokens", "[1,2]", "--hooks", "a", "--out", "x"], "rows of token ids"],
    [["serve", "--port", "99999"], "port"],
    [["doctor", "--engine", "abacus"], "abacus"],
  ])("%j is wrong usage: status 2, and words on stderr", async (args, words) => {
    const { code, out, err } = await deltascope(...args).ended;
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain(words);
  });

  test.each([
    [["probe", "logitLens", "--model", "./missing", "--params", '{"prompt":"a"}', "--out", "x"]],
    [["inspect", "--adapter", "./missing"]],
    [["./missing-model", "--no-open"]],
  ])("%j fails: status 1, naming the folder", async (args) => {
    const { code, err } = await deltascope(...args).ended;
    expect(code).toBe(1);
    expect(err).toContain("missing");
  });

  test("a port that was asked for and is taken fails with a hint", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const address = taken.address();
    const port = typeof address === "object" && address ? address.port : 0;
    const { code, err } = await deltascope("serve", "--no-open", "--port", String(port)).ended;
    taken.close();
    expect(code).toBe(1);
    expect(err).toMatch(/taken.*--port/s);
  });

  test("serves until Ctrl+C, and prints its address", async () => {
    const { child, ended } = deltascope("serve", "--no-open", "--port", "0");
    const url = await new Promise<string>((resolve) => {
      let text = "";
      child.stdout!.on("data", (chunk: Buffer) => {
        text += chunk.toString();
        const found = /http:\/\/\S+/.exec(text)?.[0];
        if (found !== undefined) resolve(found);
      });
    });
    const health = (await fetch(new URL("/api/health", url)).then((reply) => reply.json())) as object;
    expect(health).toMatchObject({ ok: true });
    const page = await fetch(new URL("/any/view", url), { headers: { accept: "text/html" } });
    expect(await page.text()).toContain("<div id=");
    child.kill("SIGINT");
    expect((await ended).code).toBe(0);
  });
});
