/** One engine, the same weights, one config after the other: what a config says is never another's program. */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openSubject } from "../../server/runs/subject.ts";
import { baseSetting } from "../../server/runs/worlds.ts";
import { temporaryFolder } from "../formats/temporaryFolder.ts";
import { readGolden, referenceDir, relativeError } from "./goldens.ts";

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
    const subject = await openSubject({ model: folderOf(variant), adapters: [] }, { engine: "onnx-cpu" });
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
