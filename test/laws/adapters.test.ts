/** Every PEFT layout against peft itself: unmerged logits, our own merge, and the singular values of ΔW. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openSubject } from "../../server/runs/subject.ts";
import { baseSetting } from "../../server/runs/worlds.ts";
import { factoredSvd } from "../../server/linalg/factored.ts";
import { readGolden, referenceDir, relativeError } from "./goldens.ts";
import { lawEngine } from "../lawEngine.ts";

const logitTolerance = 1e-4;
const names = readdirSync(join(referenceDir, "adapters"));

async function open(name: string) {
  const golden = readGolden("adapters", name, "golden.safetensors");
  const subject = await openSubject(
    { model: join(referenceDir, "families", golden.metadata["base"]!), adapters: [{ path: join(referenceDir, "adapters", name), name: "a", strength: 1 }] },
    { engine: lawEngine },
  );
  return { golden, subject, runner: subject.runner! };
}

describe.each(names)("%s", (name) => {
  it("gives peft's logits, unmerged and merged", async () => {
    const { golden, subject, runner } = await open(name);
    const { logits } = await runner.forward({ tokens: golden.ids("ids"), settings: [subject.setting], logits: "all" });
    expect(relativeError(logits!.data, golden.floats("logits"))).toBeLessThan(logitTolerance);
    expect(relativeError(logits!.data, golden.floats("merged"))).toBeLessThan(logitTolerance);
    expect(subject.adapters[0]!.warnings).toEqual([]);
  });

  it("leaves the base alone at strength 0, also beside adapted rows of the same batch", async () => {
    const { golden, subject, runner } = await open(name);
    const row = golden.ids("ids")[0]!;
    const base = await runner.forward({ tokens: [row], settings: [baseSetting], logits: "all" });
    const both = await runner.forward({ tokens: [row, row], settings: [baseSetting, subject.setting], logits: "all" });
    const half = both.logits!.data.length / 2;
    expect(relativeError(both.logits!.data.slice(0, half), base.logits!.data)).toBeLessThan(logitTolerance);
    expect(relativeError(both.logits!.data.slice(half), golden.floats("logits").slice(0, half))).toBeLessThan(logitTolerance);
    expect(relativeError(both.logits!.data.slice(half), base.logits!.data)).toBeGreaterThan(10 * logitTolerance);
  });

  it("has the singular values of W_adapted − W_base at every purely low-rank site", async () => {
    const { golden, subject } = await open(name);
    const values = golden.names.filter((key) => key.startsWith("singular_values."));
    for (const site of subject.adapters[0]!.sites.values()) {
      if (subject.adapters[0]!.method.title === "DoRA") continue;
      const key = values.find((candidate) => candidate === `singular_values.${site.modulePath}`);
      expect(key, `${site.site}: ${values.join(", ")}`).toBeDefined();
      const { s } = factoredSvd(site.factors);
      expect(relativeError(Float32Array.from(s), golden.floats(key!).slice(0, s.length))).toBeLessThan(1e-5);
    }
  });
});

describe.each(readdirSync(join(referenceDir, "additive")))("%s", (file) => {
  it("gives peft's logits with both adapters on, in their order, and with each alone beside them in one batch", async () => {
    const golden = readGolden("additive", file);
    const part = (name: string) => ({ path: join(referenceDir, "adapters", golden.metadata[name]!), name, strength: 1 });
    const subject = await openSubject(
      { model: join(referenceDir, "families", golden.metadata["base"]!), adapters: [part("first"), part("second")] },
      { engine: lawEngine },
    );
    const row = golden.ids("ids")[0]!;
    const settings = [{ strengths: { first: 1 } }, { strengths: { second: 1 } }, { strengths: { first: 1, second: 1 } }];
    const { logits } = await subject.runner!.forward({ tokens: settings.map(() => row), settings, logits: "all" });
    const size = logits!.data.length / 3;
    ["first", "second", "first_second"].forEach((name, i) =>
      expect(relativeError(logits!.data.slice(i * size, (i + 1) * size), golden.floats(name).slice(0, size)), name).toBeLessThan(1e-5),
    );
  });
});
