/** The command that a result carries gives the same numbers again: with names, strengths and folders that a shell or a reader could take for something else. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { commandOf } from "../../client/state/command.ts";
import { viewFromQuery, viewQuery } from "../../client/state/view.ts";
import { parseSafetensors } from "../../server/formats/safetensors.ts";
import { recomputeCommand } from "../../server/jobs/provenance.ts";
import type { RunRequest } from "../../server/wire.ts";
import { bin, demoBase } from "./deltascope.ts";

const facts = fileURLToPath(new URL("../../fixtures/demo/facts-edit", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "deltascope-recompute-"));
afterAll(() => rmSync(folder, { recursive: true }));

const params = { clean: "The capital of Arvenia is", answer: " Tolm", counterAnswer: " Krest", nullSamples: 4 };

/** Runs a shell command in which deltascope is the one of this checkout. */
function arraysOf(command: string, out: string): Record<string, number[]> {
  const program = `'${process.execPath}' '${bin}'`;
  const text = command.replace(/^(npx )?deltascope/, program).replace(/--out \S+$/, `--out '${out}'`);
  const ended = spawnSync("sh", ["-c", text], { cwd: folder, env: { ...process.env, DELTASCOPE_SOURCE: "1" }, encoding: "utf8" });
  expect(ended.status, `${text}\n${ended.stderr}`).toBe(0);
  const { tensors } = parseSafetensors(readFileSync(join(out, "arrays.safetensors")));
  return Object.fromEntries([...tensors].map(([name, { data }]) => [name, [...data]]));
}

test.each([
  [`it's a "lora" $HOME@2`, 1],
  ["a=b länge 漢", 0.5],
])("of an adapter in %s at strength %d, from the server and from the page alike", (name, strength) => {
  const path = join(folder, name);
  cpSync(facts, path, { recursive: true });
  const request: RunRequest = { subject: { model: demoBase, adapters: [{ path, name: "edit", strength }] }, probe: "componentAblation", params };
  const first = arraysOf(recomputeCommand({ kind: "probe", request }), join(folder, `${strength}-1`));
  expect(arraysOf(commandOf("probe", request), join(folder, `${strength}-2`))).toEqual(first);

  const record = (
    JSON.parse(readFileSync(join(folder, `${strength}-1`, "result.json"), "utf8")) as { record: { request: RunRequest; provenance: { command: string } } }
  ).record;
  expect(record.request.subject.adapters).toEqual([{ path, name: "edit", strength }]);
  expect(arraysOf(record.provenance.command, join(folder, `${strength}-3`))).toEqual(first);

  const view = { ...viewFromQuery(""), model: demoBase, adapters: [{ path, name: "edit", strength, isOn: true }] };
  expect(viewFromQuery(viewQuery(view))).toEqual(view);
});

test("strength changes the numbers, so a command without it would not give them again", () => {
  const request = (strength: number): RunRequest => ({
    subject: { model: demoBase, adapters: [{ path: facts, strength }] },
    probe: "componentAblation",
    params,
  });
  expect(arraysOf(recomputeCommand({ kind: "probe", request: request(0.5) }), join(folder, "half"))).not.toEqual(
    arraysOf(recomputeCommand({ kind: "probe", request: request(1) }), join(folder, "whole")),
  );
});
