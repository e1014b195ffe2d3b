/** Adapters as peft saves them unasked against what peft computes when it opens them: tied ends, token rows, starts that changed the base, two at once. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openSubject } from "../../server/runs/subject.ts";
import { readGolden, referenceDir, relativeError } from "./goldens.ts";
import { lawEngine } from "../lawEngine.ts";

const tolerance = 1e-4;
/** DoRA at embeddings: no start that changed the base loosens them. */
const closely = 1e-5;
/** Warned of, though PEFT's numbers hold: a start that is taken off the base again. */
const changedBase = /pissa|olora/i;

describe.each(readdirSync(join(referenceDir, "opened")).toSorted())("%s", (name) => {
  it("gives the logits of peft's reopened model", async () => {
    const golden = readGolden("opened", name, "golden.safetensors");
    const subject = await openSubject(
      {
        model: join(referenceDir, "families", golden.metadata["base"] ?? ""),
        adapters: [{ path: join(referenceDir, "opened", name), name: "a", strength: 1 }],
      },
      { engine: lawEngine },
    );
    const found = await subject.runner?.forward({ tokens: golden.ids("ids"), settings: [subject.setting], logits: "all" });
    expect(relativeError(found?.logits?.data ?? new Float32Array(), golden.floats("logits"))).toBeLessThan(name.includes("dora") ? closely : tolerance);
    const warnings = subject.adapters.flatMap((adapter) => adapter.warnings);
    if (changedBase.test(name)) expect(warnings.join()).toMatch(/taken off/);
    else expect(warnings).toEqual([]);
  });
});

describe("what PEFT refuses or what is not computed", () => {
  const open = (base: string, ...adapters: readonly string[]) =>
    openSubject(
      { model: join(referenceDir, "families", base), adapters: adapters.map((name, i) => ({ path: join(referenceDir, name), name: `a${i}`, strength: 1 })) },
      { engine: lawEngine },
    );

  it.each([
    ["qwen2", "opened/qwen2-save-head", "opened/qwen2-save-both"],
    ["gpt2", "opened/gpt2-save-embedding", "opened/gpt2-rows"],
  ])("two adapters that replace one parameter of %s are refused with both names", async (base, first, second) => {
    await expect(open(base, first, second)).rejects.toThrow(/"a0" and "a1" both replace/);
    expect((await open(base, first)).adapters).toHaveLength(1);
  });
});
