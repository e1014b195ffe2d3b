/** `--out` means the same in every command: what is not there is made, what is in the way is told before the work begins. */
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { deltascope, demoBase, temporaryFolder } from "./deltascope.ts";

const folder = temporaryFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));
writeFileSync(join(folder, "file"), "as it was");
mkdirSync(join(folder, "folder"));
writeFileSync(join(folder, "run.json"), "{}");
const adapter = fileURLToPath(new URL("../../fixtures/demo/facts-edit", import.meta.url));

const activations = ["activations", "--model", demoBase, "--tokens", "[[1,2]]", "--hooks", "blocks.0.hook_resid_pre"];
const exported = ["export", "--adapter", adapter];
const probe = ["probe", "deltaSpectrum", "--adapter", adapter];
const train = ["train", "--config", "run.json"];
const compare = ["compare", "no-run"];

test.each([
  ["a file below a file", activations, "file/x.safetensors", /--out .*file\/x\.safetensors: .*\/file is no folder; expected a folder/],
  ["a file that is a folder", activations, "folder", /--out .*folder: .*\/folder is a folder; expected the name of a file/],
  ["a table below a file", compare, "file/x.csv", /file is no folder; expected a folder/],
  ["a folder that is a file", exported, "file", /--out .*file: .*\/file is no folder; expected a folder/],
  ["a result below a file", probe, "file/deep/er", /--out .*er: .*\/file is no folder; expected a folder/],
  ["a run below a file", train, "file/run", /file is no folder; expected a folder/],
])("%s is a mistake in the command, and nothing is written", async (_name, command, out, words) => {
  const before = readdirSync(folder);
  const { code, err } = await deltascope(folder, ...command, "--out", out).ended;
  expect(err).toMatch(words);
  expect(err).toContain("name another place");
  expect(err).not.toMatch(/^\s+at |ENOENT|ENOTDIR|EEXIST/m);
  expect(code).toBe(2);
  expect(readdirSync(folder)).toEqual(before);
});

test.each([
  ["activations", activations, "a/new/x.safetensors", "a/new/x.safetensors"],
  ["export", exported, "b/new", "b/new/adapter_model.safetensors"],
  ["probe", probe, "c/new", "c/new/result.json"],
])("%s makes the folders that are not there", async (_name, command, out, written) => {
  expect(await deltascope(folder, ...command, "--out", out).ended).toMatchObject({ code: 0 });
  expect(existsSync(join(folder, written))).toBe(true);
});
