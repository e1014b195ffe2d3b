/** Folders as strangers have them: each opens with the reference's numbers, or is refused in words that name the cause. */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { adapterHealth } from "../../probes/adapterHealth.ts";
import { deltaSpectrum } from "../../probes/deltaSpectrum.ts";
import type { Probe } from "../../probes/probe.ts";
import { applyEvent, emptyResult, type ProbeResult, type TableFigure } from "../../probes/result.ts";
import { answerToken } from "../../server/formats/answerToken.ts";
import { parseSafetensors } from "../../server/formats/safetensors.ts";
import { openTokenizer } from "../../server/formats/tokenizer.ts";
import { executeRun } from "../../server/jobs/executeRun.ts";
import { Pause } from "../../server/jobs/pause.ts";
import { figureMetadata, provenance } from "../../server/jobs/provenance.ts";
import { openSubject, type Subject } from "../../server/runs/subject.ts";
import type { RunRequest } from "../../server/wire.ts";
import { siteLayout } from "../../server/training/monitors/siteLayout.ts";
import { relativeError } from "./goldens.ts";
import { lawEngine } from "../lawEngine.ts";

const cases = fileURLToPath(new URL("../../fixtures/cases", import.meta.url));
const tokens = [[3, 17, 8, 29, 5, 31]];
const folder = (...path: string[]): string => join(cases, ...path);

async function open(name: string, parts: { base?: boolean; adapter?: string | null } = {}): Promise<Subject> {
  const { base = existsSync(folder(name, "base")), adapter = existsSync(folder(name, "adapter")) ? "adapter" : null } = parts;
  return await openSubject(
    { model: base ? folder(name, "base") : null, adapters: adapter === null ? [] : [{ path: folder(name, adapter), name: "a", strength: 1 }] },
    { engine: lawEngine },
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

describe("what a reader must know", () => {
  it("is in the outcome of a run, which records and figures carry, with the adapter's name", async () => {
    const request: RunRequest = {
      subject: {
        model: folder("config-narrower-than-file", "base"),
        adapters: [{ path: folder("config-narrower-than-file", "adapter"), name: "a", strength: 1 }],
      },
      probe: "deltaSpectrum",
      params: {},
    };
    const open = (asked: RunRequest["subject"]) => openSubject(asked, { engine: lawEngine });
    const place = { folder: "", pause: new Pause() };
    const outcome = await executeRun(request, { probes: { deltaSpectrum }, openSubject: open }, () => undefined, new AbortController().signal, place);
    expect(outcome.warnings.join()).toMatch(/^a: 2 modules have tensors .* left out/);
    const about = provenance("0", { kind: "probe", request }, outcome, 1);
    expect(about.warnings).toEqual(outcome.warnings);
    expect(figureMetadata({ kind: "probe", request, provenance: about })).toMatch(/^deltascope probe deltaSpectrum .*\n# a: 2 modules/s);
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
      { engine: lawEngine },
    );
    expect(subject.adapters[0]?.sites.size).toBeGreaterThan(0);
  });
});

/** What a probe says, all at once. */
async function resultOf(probe: Probe, subject: Subject, params: object): Promise<ProbeResult> {
  let result = emptyResult;
  for await (const event of probe.run(subject, params, new AbortController().signal)) result = applyEvent(result, event);
  return result;
}

describe("one NaN in one tensor", () => {
  it("is named with its tensor, and every other site is shown", async () => {
    const subject = await open("nan-in-one-tensor");
    expect(warnings(subject)).toMatch(/layers\.0\.self_attn\.v_proj.* holds 1 NaN and 0 infinite of 16 values/);
    for (const probe of [deltaSpectrum, adapterHealth]) {
      const { figures, finding } = await resultOf(probe, subject, {});
      const table = figures.find((figure): figure is TableFigure => figure.kind === "table" && figure.rows.length === 4);
      expect(table?.rows.filter(({ warning }) => /NaN/.test(warning ?? ""))).toHaveLength(1);
      expect(finding ?? "").not.toMatch(/NaN[^ ]|norm NaN|Infinity/);
    }
  });

  it("names its site where the whole model has to run", async () => {
    const subject = await open("nan-in-one-tensor");
    await expect(subject.runner?.forward({ tokens, settings: [subject.setting], logits: "all" })).rejects.toThrow(/layers\.0\.self_attn\.v_proj.*NaN/);
  });
});

describe("sites of several stacks", () => {
  it("have a cell and a name each", async () => {
    const { figures, arrays } = await resultOf(deltaSpectrum, await open("encoder-and-decoder-share-cells"), {});
    const table = figures.find((figure): figure is TableFigure => figure.kind === "table");
    const names = table?.rows.map(({ cells }) => cells["site"]) ?? [];
    expect(new Set(names).size).toBe(8);
    expect(names).toContain("encoder L0.self_attn.q_proj");
    const norms = [...(arrays["norm"]?.data ?? [])];
    expect(norms.filter(Number.isFinite)).toHaveLength(8);
    expect(norms.toSorted()).toEqual((table?.rows ?? []).map(({ cells }) => Math.fround(Number(cells["norm"]))).toSorted());
  });

  it("are told apart in a UNet, in two towers and among experts", () => {
    const named = (names: readonly string[]) => siteLayout(names.map((name) => ({ name, layer: Number(/\.(\d+)\./.exec(name)?.[1] ?? 0) })));
    for (const names of [
      [
        "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q",
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
        "mid_block.attentions.0.transformer_blocks.0.attn1.to_q",
        "up_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q",
      ],
      ["vision_model.encoder.layers.0.self_attn.q_proj", "text_model.encoder.layers.0.self_attn.q_proj", "visual_projection"],
      ["model.layers.1.experts.0.w1", "model.layers.1.experts.3.w1", "model.layers.2.experts.0.w1", "model.layers.1.self_attn.q_proj"],
    ]) {
      const { cells, labels } = named(names);
      expect(new Set(cells).size).toBe(names.length);
      expect(new Set(labels).size, labels.join()).toBe(names.length);
    }
  });
});

describe("tokenizers", () => {
  it.each([" Paris", " Rome"])("an answer is read without the token that begins a text: %s", (answer) => {
    const tokenizer = openTokenizer(folder("bos-answer", "base"));
    expect(tokenizer.encode(answer).ids).toHaveLength(2);
    expect(tokenizer.tokenText(answerToken(tokenizer, answer, "answer"))).toBe(answer);
  });

  it("white space is Unicode's, not JavaScript's", () => {
    const tokenizer = openTokenizer(folder("whitespace-of-javascript", "base"));
    const expected = JSON.parse(readFileSync(folder("whitespace-of-javascript", "expected-ids.json"), "utf8")) as Record<string, number[]>;
    for (const [text, ids] of Object.entries(expected)) expect(tokenizer.encode(text).ids, JSON.stringify(text)).toEqual(ids);
  });
});
