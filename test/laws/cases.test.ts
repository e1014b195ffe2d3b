/** Folders as strangers have them: each opens with the reference's numbers, or is refused in words that name the cause. */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { parseSafetensors } from "../../server/formats/safetensors.ts";
import { openTokenizer } from "../../server/formats/tokenizer.ts";
import { openSubject, type Subject } from "../../server/runs/subject.ts";
import { relativeError } from "./goldens.ts";

const cases = fileURLToPath(new URL("../../fixtures/cases", import.meta.url));
const tokens = [[3, 17, 8, 29, 5, 31]];
const folder = (...path: string[]): string => join(cases, ...path);

async function open(name: string, parts: { base?: boolean; adapter?: string | null } = {}): Promise<Subject> {
  const { base = existsSync(folder(name, "base")), adapter = existsSync(folder(name, "adapter")) ? "adapter" : null } = parts;
  return await openSubject(
    { model: base ? folder(name, "base") : null, adapters: adapter === null ? [] : [{ path: folder(name, adapter), name: "a", strength: 1 }] },
    { engine: "onnx-cpu" },
  );
}

async function logitError(name: string): Promise<{ error: number; subject: Subject }> {
  const subject = await open(name);
  const expected = parseSafetensors(readFileSync(folder(name, "expected.safetensors")))
    .tensors.values()
    .next().value;
  if (!subject.runner || !expected) throw new Error(`${name} has no base or no reference`);
  const { logits } = await subject.runner.forward({ tokens, settings: [subject.setting], logits: "all" });
  return { error: logits ? relativeError(logits.data, Float32Array.from(expected.data)) : Infinity, subject };
}

/** The words of the refusal. */
async function refusal(name: string, parts: Parameters<typeof open>[1] = {}): Promise<string> {
  return await open(name, parts).then(
    () => "it opened",
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
}
const warnings = (subject: Subject): string =>
  [...(subject.card.model?.warnings ?? []), ...subject.card.adapters.flatMap(({ warnings: all }) => all)].join("\n");

describe("what opens, and with the reference's logits", () => {
  it.each([
    ["tied-config-distinct-head", /differs/],
    ["tied-target-lm_head", /^$/],
    ["tied-modules_to_save", /^$/],
    ["qlora-config-beside-adapter", /^$/],
    ["qwen2-kv-heads-null", /^$/],
    ["value-head-on-the-base", /v_head.*not used/],
    ["config-narrower-than-file", /2 modules have tensors .* left out/],
  ])("%s", async (name, said) => {
    const { error, subject } = await logitError(name);
    expect(error).toBeLessThan(1e-4);
    expect(warnings(subject)).toMatch(said);
  });

  it("OLoRA in any spelling is taken relative to the base, as peft does when it loads it, and says so", async () => {
    const { error, subject } = await logitError("olora-in-capitals");
    expect(error).toBeLessThan(1e-4);
    expect(warnings(subject)).toMatch(/OLoRA.*taken off/);
  });

  it("names of training wrappers in keys are taken out, with a warning that names them", async () => {
    const subject = await open("orig_mod-prefix");
    expect(subject.adapters[0]?.sites.size).toBe(4);
    expect(warnings(subject)).toMatch(/_orig_mod.*wrapper/);
  });
});

describe("what is refused, and in which words", () => {
  it.each<[string, Parameters<typeof open>[1], RegExp]>([
    ["is_causal-false", {}, /is_causal is false/],
    ["classifier-base-untied", {}, /classifier.*score\.weight.*no "lm_head\.weight"/],
    ["lfs-pointer", { base: false }, /Git LFS pointer.*git lfs pull/],
    ["missing-weights-blamed-on-optimizer", { base: false }, /adapter_model\.safetensors is missing/],
    ["rank-differs-from-config", { base: false }, /rank 2.*adapter_config\.json gives this module rank 16/],
    ["rank-differs-from-config", {}, /rank 2.*adapter_config\.json gives this module rank 16/],
    ["zero3-empty-tensors", { base: false }, /is empty.*ZeRO-3/],
    ["zero3-empty-saved-module", { base: false }, /is empty.*ZeRO-3/],
    ["zero3-empty-saved-module", {}, /is empty.*ZeRO-3/],
    ["folder-one-level-off", { adapter: "run" }, /there is one in run\/checkpoint-100/],
  ])("%s %j", async (name, parts, words) => {
    const found = await refusal(name, parts);
    expect(found).toMatch(words);
    expect(found).not.toMatch(/another base/);
  });
});

describe("one folder of several", () => {
  it("a file of an adapter stands for its folder", async () => {
    const subject = await open("folder-one-level-off", { adapter: "run/checkpoint-100/adapter_model.safetensors" });
    expect(subject.adapters[0]?.sites.size).toBe(4);
  });

  const dirs: string[] = [];
  afterAll(() => dirs.forEach((dir) => rmSync(dir, { recursive: true })));
  it("weights of the base beside an adapter are never taken for the adapter's", async () => {
    const dir = mkdtempSync(join(tmpdir(), "deltascope-neighbours-"));
    dirs.push(dir);
    cpSync(folder("tied-target-lm_head", "base"), dir, { recursive: true });
    cpSync(folder("tied-target-lm_head", "adapter"), dir, { recursive: true });
    const subject = await openSubject(
      { model: folder("tied-target-lm_head", "base"), adapters: [{ path: dir, name: "a", strength: 1 }] },
      { engine: "onnx-cpu" },
    );
    expect(subject.adapters[0]?.sites.size).toBeGreaterThan(0);
  });
});

describe("tokenizers", () => {
  it("white space is Unicode's, not JavaScript's", () => {
    const tokenizer = openTokenizer(folder("whitespace-of-javascript", "base"));
    const expected = JSON.parse(readFileSync(folder("whitespace-of-javascript", "expected-ids.json"), "utf8")) as Record<string, number[]>;
    for (const [text, ids] of Object.entries(expected)) expect(tokenizer.encode(text).ids, JSON.stringify(text)).toEqual(ids);
  });
});
