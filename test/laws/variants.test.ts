/** One engine, the same weights, one config after the other: what a config says is never another's program. */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openSubject } from "../../server/runs/subject.ts";
import { baseSetting } from "../../server/runs/worlds.ts";
import { temporaryFolder } from "../formats/temporaryFolder.ts";
import { readGolden, referenceDir, relativeError } from "./goldens.ts";
import { lawEngine } from "../lawEngine.ts";

interface Variant {
  readonly family: string;
  readonly change: Readonly<Record<string, unknown>>;
}
const variants = JSON.parse(readFileSync(join(referenceDir, "variants", "variants.json"), "utf8")) as readonly Variant[];
const golden = readGolden("variants", "variants.safetensors");

function folderOf({ family, change }: Variant): string {
  const folder = temporaryFolder();
  cpSync(join(referenceDir, "families", family), folder, { recursive: true });
  const raw = { ...(JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as object), ...change };
  writeFileSync(join(folder, "config.json"), JSON.stringify(Object.fromEntries(Object.entries(raw).filter(([, value]) => value !== "<absent>"))));
  return folder;
}

describe("configs of equal shapes, opened in one engine one after the other", () => {
  it.each(variants.map((variant, i) => ({ ...variant, i })))("$family $change has the logits of transformers", async ({ i, ...variant }) => {
    const subject = await openSubject({ model: folderOf(variant), adapters: [] }, { engine: lawEngine });
    const result = await subject.runner?.forward({ tokens: golden.ids("ids"), settings: [baseSetting], logits: "all" });
    const last = result?.logits?.data.slice(-97) ?? new Float32Array();
    expect(relativeError(last, golden.floats(String(i).padStart(2, "0")))).toBeLessThan(1e-4);
  });

  it("are told apart: most have logits of their own", () => {
    const rows = variants.map((_, i) => golden.floats(String(i).padStart(2, "0")));
    const ownRows = rows.filter((row, i) => rows.every((other, j) => i === j || relativeError(row, other) > 1e-3));
    expect(ownRows.length).toBeGreaterThan(35);
  });
});

describe("a tied checkpoint that stores only its head", () => {
  it("has the logits of the one that stores its embedding", async () => {
    const folder = folderOf({ family: "llama-mha-tied", change: {} });
    const file = join(folder, "model.safetensors");
    const bytes = readFileSync(file);
    const end = 8 + Number(bytes.readBigUInt64LE(0));
    const header = bytes.toString("utf8", 8, end);
    expect(header).toContain('"model.embed_tokens.weight"');
    bytes.write(header.replace("model.embed_tokens.weight", "lm_head.weight").padEnd(end - 8), 8, "utf8");
    writeFileSync(file, bytes);
    const subject = await openSubject({ model: folder, adapters: [] }, { engine: lawEngine });
    const reference = readGolden("families", "llama-mha-tied", "golden.safetensors");
    const result = await subject.runner?.forward({ tokens: reference.ids("ids_a"), settings: [baseSetting], logits: "all" });
    expect(relativeError(result?.logits?.data ?? new Float32Array(), reference.floats("logits_a"))).toBeLessThan(1e-4);
    expect(subject.model?.config.tiedHead).toBe(true);
  });
});

describe("settings that are not used", () => {
  const notesOf = async (variant: Variant): Promise<readonly string[]> =>
    (await openSubject({ model: folderOf(variant), adapters: [] }, { engine: lawEngine })).card.model?.warnings ?? [];

  it.each(["gpt2", "llama", "mistral", "qwen2", "qwen3", "llama-old-config"])("none in %s as transformers saves it", async (family) => {
    expect(await notesOf({ family, change: {} })).toEqual([]);
  });

  it.each<[string, Variant["change"], RegExp]>([
    ["llama", { sliding_window: 4, logit_scale: 0.5 }, /no such setting: sliding_window = 4, logit_scale = 0.5/],
    ["llama", { partial_rotary_factor: 0.5 }, /partial_rotary_factor = 0.5/],
    ["llama", { rope_parameters: { rope_type: "default", rope_theta: 500, partial_rotary_factor: 0.5 } }, /rope_parameters.partial_rotary_factor = 0.5/],
    ["gpt2", { n_ctx: 32, my_notes: "from a cluster" }, /n_ctx = 32, my_notes = "from a cluster"/],
    ["mistral", { mlp_bias: true }, /mlp_bias = true/],
    ["qwen3", { auto_map: { AutoModelForCausalLM: "modeling.Own" } }, /auto_map.*never run/],
  ])("of %s %j stand on the model's card", async (family, change, words) => {
    expect((await notesOf({ family, change })).join("\n")).toMatch(words);
  });

  it.each(["mlp_bias", "attention_bias", "sliding_window", "use_mrope"])("%s that is off says nothing", async (key) => {
    expect(await notesOf({ family: "llama", change: { [key]: key === "sliding_window" ? null : false } })).toEqual([]);
  });

  it("per_layer_config is refused by name", async () => {
    await expect(notesOf({ family: "llama", change: { per_layer_config: { 0: { num_attention_heads: 2 } } } })).rejects.toThrow(/per_layer_config/);
  });
});
