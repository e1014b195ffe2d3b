/** New weights under a path that was opened before: the usual loop of training over a folder and looking again. */
import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { encodeSafetensors, parseSafetensors } from "../../server/formats/safetensors.ts";
import { provenanceHashes } from "../../server/jobs/provenanceHashes.ts";
import { componentAblation } from "../../probes/componentAblation.ts";
import { applyEvent, emptyResult, type ProbeResult } from "../../probes/result.ts";
import { executeRun } from "../../server/jobs/executeRun.ts";
import { Pause } from "../../server/jobs/pause.ts";
import { SubjectCache, type OpenSubject } from "../../server/jobs/subjectCache.ts";
import { openSubject, type Subject } from "../../server/runs/subject.ts";
import type { SubjectRequest } from "../../server/wire.ts";

const demo = fileURLToPath(new URL("../../fixtures/demo", import.meta.url));
let folder: string;
let request: SubjectRequest;
let weights: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "deltascope-subject-"));
  cpSync(join(demo, "base"), join(folder, "base"), { recursive: true });
  cpSync(join(demo, "facts-edit"), join(folder, "adapter"), { recursive: true });
  weights = join(folder, "adapter", "adapter_model.safetensors");
  request = { model: join(folder, "base"), adapters: [{ path: join(folder, "adapter"), name: "a", strength: 1 }] };
});
afterEach(() => rmSync(folder, { recursive: true }));

const open = (asked: SubjectRequest): Promise<Subject> => openSubject(asked, { engine: "onnx-cpu" });

async function logitsOf(subject: Subject): Promise<Float32Array> {
  const forward = await subject.runner?.forward({ tokens: [[5, 6, 7]], settings: [subject.setting], logits: "all" });
  return forward?.logits?.data ?? new Float32Array();
}

/** Every tensor of the file times three. */
function tripled(file: string): Uint8Array {
  const { tensors, metadata } = parseSafetensors(readFileSync(file));
  return encodeSafetensors(
    [...tensors].map(([name, { shape, data }]) => ({ name, shape, data: Float32Array.from(data, (value) => 3 * value) })),
    metadata,
  );
}

describe("a worker that has a subject open", () => {
  test.each([
    [
      "by another renamed to its name",
      (): void => {
        writeFileSync(`${weights}.new`, tripled(weights));
        renameSync(`${weights}.new`, weights);
      },
    ],
    ["in place", (): void => writeFileSync(weights, tripled(weights))],
    [
      "after it was deleted",
      (): void => {
        const bytes = tripled(weights);
        rmSync(weights);
        writeFileSync(weights, bytes);
      },
    ],
    [
      "by that of another base",
      (): void => {
        const base = join(folder, "base", "model.safetensors");
        writeFileSync(base, tripled(base));
      },
    ],
    [
      "by another scaling",
      (): void => {
        const config = join(folder, "adapter", "adapter_config.json");
        writeFileSync(config, readFileSync(config, "utf8").replace(/"lora_alpha":\s*16/, '"lora_alpha": 160'));
      },
    ],
  ])("gives the new file's numbers when a file is replaced %s, and another hash", async (_, replace) => {
    const cache = new SubjectCache(open);
    const before = await logitsOf(await cache.get(request));
    const hashes = JSON.stringify(provenanceHashes(request));
    replace();
    const after = await logitsOf(await cache.get(request));
    const copy = join(folder, "copy");
    cpSync(join(folder, "base"), join(copy, "base"), { recursive: true });
    cpSync(join(folder, "adapter"), join(copy, "adapter"), { recursive: true });
    const fresh = await logitsOf(await open({ model: join(copy, "base"), adapters: [{ path: join(copy, "adapter"), name: "a", strength: 1 }] }));
    expect(after).toEqual(fresh);
    expect(after).not.toEqual(before);
    expect(JSON.stringify(provenanceHashes(request))).not.toBe(hashes);
  });

  test("says what is missing when the weights are gone, and opens nothing twice while they stay", async () => {
    const cache = new SubjectCache(open);
    const first = await cache.get(request);
    expect((await cache.get(request)).model).toBe(first.model);
    rmSync(weights);
    await expect(cache.get(request)).rejects.toThrow(/adapter_model\.safetensors is missing/);
  });

  test("opens the files once for runs at two strengths, which get the numbers they get alone", async () => {
    const at = (strength: number): SubjectRequest => ({ ...request, adapters: request.adapters.map((adapter) => ({ ...adapter, strength })) });
    let opened = 0;
    const cache = new SubjectCache((asked) => {
      opened++;
      return open(asked);
    });
    const run = async (asked: SubjectRequest, openSubject: OpenSubject): Promise<ProbeResult> => {
      const params = { clean: "The capital of Arvenia is", answer: " Tolm", counterAnswer: " Krest", nullSamples: 2 };
      let result = emptyResult;
      await executeRun(
        { subject: asked, probe: "componentAblation", params },
        { probes: { componentAblation }, openSubject },
        (event) => (result = applyEvent(result, event)),
        new AbortController().signal,
        { folder, pause: new Pause() },
      );
      return result;
    };
    const [half, whole] = [await run(at(0.5), (asked) => cache.get(asked)), await run(at(1), (asked) => cache.get(asked))];
    expect(opened).toBe(1);
    expect(half).toEqual(await run(at(0.5), open));
    expect(whole).toEqual(await run(at(1), open));
    expect(half.arrays).not.toEqual(whole.arrays);
    const { card, setting } = await cache.get(at(0.25));
    expect(card).toEqual((await open(at(0.25))).card);
    expect([card.request, setting]).toEqual([at(0.25), { strengths: { a: 0.25 } }]);
    expect(opened).toBe(1);
    await cache.get({ ...request, adapters: [{ path: join(folder, "adapter"), name: "b", strength: 1 }] });
    expect(opened).toBe(2);
  });

  test("refuses values of a file that was written over since its header was read", async () => {
    const subject = await open(request);
    const base = join(folder, "base", "model.safetensors");
    writeFileSync(base, tripled(base));
    await expect(logitsOf(subject)).rejects.toThrow(/was changed after it had been opened/);
  });
});
