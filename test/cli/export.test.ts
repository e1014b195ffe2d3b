import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { dora } from "../../server/adapters/dora.ts";
import { exportLora } from "../../server/adapters/exportLora.ts";
import { loadAdapter } from "../../server/adapters/loadAdapter.ts";
import { lora } from "../../server/adapters/lora.ts";
import type { SiteAdapter } from "../../server/adapters/method.ts";
import { nearestLora } from "../../server/adapters/nearestLora.ts";
import { encodeSafetensors } from "../../server/formats/safetensors.ts";
import { loadModel } from "../../server/models/loadModel.ts";
import { openSubject, sharedEngine } from "../../server/runs/subject.ts";
import { factoredSvd, singularValues, type FactoredMatrix } from "../../server/linalg/factored.ts";
import { gaussians, randomStream } from "../../server/linalg/random.ts";
import { saveAdaptation } from "../../server/training/saveAdaptation.ts";
import { readGolden, referenceDir, relativeError } from "../laws/goldens.ts";
import { harness, lastPlaces, openedLogits, perturb, randomBatch } from "../laws/methods/harness.ts";

const bin = fileURLToPath(new URL("../../bin/deltascope.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "deltascope-export-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Float32 of factors and logits. */
const logitTolerance = 1e-4;
const engine = () => sharedEngine({ engine: "onnx-cpu" });
const adapters = readdirSync(join(referenceDir, "adapters"));
const baseOf = (name: string) => join(referenceDir, "families", readGolden("adapters", name, "golden.safetensors").metadata["base"]!);

async function deltascope(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [bin, ...args], { cwd: folder, env: { ...process.env, DELTASCOPE_SOURCE: "1" } });
  const text = { out: "", err: "" };
  child.stdout.on("data", (chunk: Buffer) => (text.out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (text.err += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, ...text };
}

/** Exports in this process and writes the two files that are opened again. */
async function exported(adapter: string, model: string | null, rank: number | null, out: string) {
  const loaded = model === null ? null : loadModel(model);
  const { config, tensors, sites } = await exportLora(loadAdapter(adapter, undefined, loaded), {
    model: loaded,
    rank,
    engine,
    signal: new AbortController().signal,
  });
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, "adapter_config.json"), JSON.stringify(config));
  writeFileSync(join(out, "adapter_model.safetensors"), encodeSafetensors([...tensors].map(([name, { shape, data }]) => ({ name, shape, data }))));
  return { config, tensors, sites };
}

describe("an adapter as the nearest LoRA", () => {
  it.each(adapters)("%s gives peft's logits of the original, when all directions are kept", async (name) => {
    const golden = readGolden("adapters", name, "golden.safetensors");
    const out = join(folder, `all-${name}`);
    const { config, sites } = await exported(join(referenceDir, "adapters", name), baseOf(name), 1000, out);
    expect(config).toMatchObject({ peft_type: "LORA" });
    for (const { site, residual } of sites) expect(residual, site).toBeLessThan(1e-5);
    const subject = await openSubject({ model: baseOf(name), adapters: [{ path: out, name: "a", strength: 1 }] }, { engine: "onnx-cpu" });
    const { logits } = await subject.runner!.forward({ tokens: golden.ids("ids"), settings: [subject.setting], logits: "all" });
    expect(relativeError(logits!.data, golden.floats("logits"))).toBeLessThan(logitTolerance);
    expect(subject.adapters[0]!.warnings).toEqual([]);
  });

  it("of a DoRA at an embedding gives peft's logits, and of one with a large vocabulary is refused by name", async () => {
    const path = join(referenceDir, "opened", "llama-dora-embedding");
    const golden = readGolden("opened", "llama-dora-embedding", "golden.safetensors");
    const model = join(referenceDir, "families", golden.metadata["base"] ?? "");
    const out = join(folder, "dora-embedding");
    await exported(path, model, 1000, out);
    const subject = await openSubject({ model, adapters: [{ path: out, name: "a", strength: 1 }] }, { engine: "onnx-cpu" });
    const found = await subject.runner?.forward({ tokens: golden.ids("ids"), settings: [subject.setting], logits: "all" });
    expect(relativeError(found?.logits?.data ?? new Float32Array(), golden.floats("logits"))).toBeLessThan(logitTolerance);

    const [small] = loadAdapter(path, undefined, loadModel(model)).sites.values();
    if (!small) throw new Error("the fixture has no site");
    const base = { weight: small.loraA, stored: "inOut" } as const;
    await expect(nearestLora({ method: dora, site: { ...small, dIn: 50_257 }, base, rank: null, engine })).rejects.toThrow(
      /embed_tokens" is DoRA .* 50257 inputs; expected at most 32768/,
    );
  });

  it("of low rank is exact without a base and without a rank being asked for", async () => {
    const path = join(referenceDir, "adapters", "gpt2-c_attn");
    const { sites, config } = await exported(path, null, null, join(folder, "alone"));
    const original = loadAdapter(path, undefined, null);
    expect(sites.map(({ rank }) => rank)).toEqual([...original.sites.values()].map((site) => site.rank));
    for (const { residual } of sites) expect(residual).toBeLessThan(1e-5);
    expect(config["lora_alpha"]).toBe(config["r"]);
  });

  it("of a lower rank leaves out exactly the smaller singular values", async () => {
    const path = join(referenceDir, "adapters", "gpt2-c_attn");
    const { sites } = await exported(path, null, 1, join(folder, "rank1"));
    for (const site of loadAdapter(path, undefined, null).sites.values()) {
      const { s } = factoredSvd(site.factors);
      const left = Math.hypot(...s.subarray(1)) / Math.hypot(...s);
      expect(sites.find(({ modulePath }) => modulePath === site.modulePath)!.residual).toBeCloseTo(left, 5);
      expect(left).toBeGreaterThan(0.1);
    }
  });

  it("keeps ranks that differ from site to site", async () => {
    const name = "llama-patterns";
    const { config, sites } = await exported(join(referenceDir, "adapters", name), null, null, join(folder, "patterns"));
    const ranks = new Set(sites.map(({ rank }) => rank));
    expect(ranks.size).toBeGreaterThan(1);
    const pattern = config["rank_pattern"] as Record<string, number>;
    for (const { modulePath, rank } of sites) expect(pattern[modulePath] ?? config["r"]).toBe(rank);
    expect(config["alpha_pattern"]).toEqual(pattern);
  });

  it.each(["l1ra", "structure", "oliera"] as const)("of %s gives that method's logits", async (method) => {
    const h = await harness(method, { options: { rank: 4, alpha: 8 } });
    perturb(h.adaptation, 0.2);
    const original = join(folder, `${method}-original`);
    saveAdaptation(original, h.adaptation);
    const out = join(folder, `${method}-lora`);
    const { sites } = await exported(original, h.model.path, 1000, out);
    const batch = randomBatch(h.model);
    const { logits, warnings } = await openedLogits(h.model, out, batch);
    expect(relativeError(logits, (await h.programs.logitsAt(batch, lastPlaces(batch))).data)).toBeLessThan(logitTolerance);
    expect(warnings).toEqual([]);
    expect(sites.every(({ rank }) => (method === "oliera" ? rank > 16 : rank === 4))).toBe(true);
  });

  it("of a site that learned nothing is zero, with nothing left out", async () => {
    const h = await harness("l1ra", { options: { rank: 4 } });
    const original = join(folder, "untrained");
    saveAdaptation(original, h.adaptation);
    const { sites } = await exported(original, null, null, join(folder, "untrained-lora"));
    expect(sites.map(({ rank, residual }) => [rank, residual])).toEqual(sites.map(() => [1, 0]));
  });

  it("of a large dense update is within a hundredth of the best that its rank allows", async () => {
    const [dOut, dIn, rank] = [300, 280, 12];
    const factors: FactoredMatrix = {
      left: gaussians(dOut * dIn, 1, randomStream(1)),
      right: gaussians(dIn * dIn, 1, randomStream(2)),
      dOut,
      dIn,
      rank: dIn,
      scale: 0.5,
    };
    const site: SiteAdapter = {
      site: "blocks.0.mlp.in",
      layer: 0,
      modulePath: "h.0.mlp",
      dIn,
      dOut,
      rank: dIn,
      alpha: 1,
      scaling: 0.5,
      factors,
      beyondLowRank: null,
      weights: () => ({}),
      loraA: { key: "large dense", shape: [dIn, dIn], data: () => factors.right },
    };
    const { residual, factors: found } = await nearestLora({ method: lora, site, base: null, rank, engine });
    const s = singularValues(factors);
    const best = Math.hypot(...s.subarray(rank)) / Math.hypot(...s);
    expect(found.rank).toBe(rank);
    expect(residual).toBeGreaterThanOrEqual(best * (1 - 1e-5));
    expect(residual).toBeLessThan(best * 1.01);
  });

  it("stops when it is cancelled", async () => {
    const controller = new AbortController();
    controller.abort();
    const adapter = loadAdapter(join(referenceDir, "adapters", "gpt2-c_attn"), undefined, null);
    await expect(exportLora(adapter, { model: null, rank: null, engine, signal: controller.signal })).rejects.toMatchObject({ code: "job.cancelled" });
  });
});

describe("deltascope export", () => {
  it("writes a folder that opens, prints what each site leaves out, and writes that too", async () => {
    const out = join(folder, "written");
    const { code, out: text } = await deltascope(
      "export",
      "--adapter",
      join(referenceDir, "adapters", "gpt2-dora"),
      "--model",
      baseOf("gpt2-dora"),
      "--rank",
      "8",
      "--out",
      out,
      "--engine",
      "onnx-cpu",
    );
    expect(code).toBe(0);
    expect(readdirSync(out).sort()).toEqual(["adapter_config.json", "adapter_model.safetensors", "nearest_lora.json"]);
    const about = JSON.parse(readFileSync(join(out, "nearest_lora.json"), "utf8")) as {
      method: string;
      sites: { site: string; rank: number; relativeResidual: number }[];
    };
    expect(about.method).toBe("DoRA");
    expect(about.sites.length).toBeGreaterThan(0);
    for (const { site, rank, relativeResidual } of about.sites) {
      expect(rank).toBeLessThanOrEqual(8);
      expect(relativeResidual).toBeGreaterThan(0);
      expect(relativeResidual).toBeLessThan(1);
      expect(text).toContain(site);
    }
    expect(text).toMatch(/is furthest, [\d.]+ % of ΔW left out/);
    expect(loadAdapter(out, undefined, null).sites.size).toBe(about.sites.length);
  });

  it("says exact where it is", async () => {
    const { code, out } = await deltascope("export", "-a", join(referenceDir, "adapters", "gpt2-c_attn"), "-o", join(folder, "exact"));
    expect(code).toBe(0);
    expect(out).toMatch(/exact at all \d+ sites/);
  });

  it("never writes into a folder that has files, the adapter's own among them", async () => {
    const adapter = join(referenceDir, "adapters", "gpt2-c_attn");
    const { code, err } = await deltascope("export", "--adapter", adapter, "--out", adapter);
    expect(code).toBe(2);
    expect(err).toContain("holds files already");
  });

  it("needs the base for a method that is more than a product, and names the module", async () => {
    const { code, err } = await deltascope("export", "--adapter", join(referenceDir, "adapters", "gpt2-dora"), "--out", join(folder, "never"));
    expect(code).toBe(1);
    expect(err).toMatch(/c_attn.*expected a model/);
    expect(readdirSync(folder)).not.toContain("never");
  });

  it.each([
    [["export"], "--adapter"],
    [["export", "-a", "x", "-o", "y", "--rank", "0"], "whole number"],
    [["export", "-a", "x", "-a", "z", "-o", "y"], "one adapter"],
  ])("%j is wrong usage", async (args, words) => {
    const { code, err } = await deltascope(...args);
    expect(code).toBe(2);
    expect(err).toContain(words);
  });

  it("shows examples in its help", async () => {
    const { code, out } = await deltascope("export", "--help");
    expect(code).toBe(0);
    expect(out).toContain("Examples:");
  });
});
