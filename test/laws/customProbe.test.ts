/** A causal probe of eighty lines, over the parts that all causal probes share: its checks hold, and a planted term is the only one that matters. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { applyEvent, emptyResult, type ProbeResult } from "../../probes/result.ts";
import { encodeSafetensors, parseSafetensors } from "../../server/formats/safetensors.ts";
import { openSubject } from "../../server/runs/subject.ts";
import { termAblation } from "../fixtures/termAblation.ts";
import { referenceDir } from "./goldens.ts";
import { lawEngine } from "../lawEngine.ts";

const folder = mkdtempSync(join(tmpdir(), "deltascope-terms-"));
afterAll(() => rmSync(folder, { recursive: true }));

async function run(adapter: string): Promise<ProbeResult> {
  const subject = await openSubject(
    { model: join(referenceDir, "families", "gpt2"), adapters: [{ path: adapter, name: "a", strength: 1 }] },
    { engine: lawEngine },
  );
  let result = emptyResult;
  const params = { clean: [5, 6, 7, 8], answer: 4, counterAnswer: 9 };
  for await (const event of termAblation.run(subject, params, new AbortController().signal)) result = applyEvent(result, event);
  return result;
}

const source = join(referenceDir, "adapters", "gpt2-all");

it("gives a number for every site and token, with a null and checks that hold", async () => {
  const { arrays, checks, figures } = await run(source);
  expect(arrays["lost"]?.data.every(Number.isFinite)).toBe(true);
  expect(checks.map(({ ok }) => ok)).toEqual([true, true]);
  expect(figures[0]?.nulls?.[0]?.words).toBe("95 % of 24 random terms of equal norm");
});

it("finds that only the site whose adapter is not 0 matters", async () => {
  const planted = "h.2.attn.c_proj";
  const adapter = join(folder, "planted");
  mkdirSync(adapter);
  writeFileSync(join(adapter, "adapter_config.json"), readFileSync(join(source, "adapter_config.json")));
  const { tensors } = parseSafetensors(readFileSync(join(source, "adapter_model.safetensors")));
  const made = [...tensors].map(([name, { shape, data }]) => ({ name, shape, data: Float32Array.from(data, (value) => (name.includes(planted) ? value : 0)) }));
  writeFileSync(join(adapter, "adapter_model.safetensors"), encodeSafetensors(made));
  const { arrays, figures } = await run(adapter);
  const figure = figures.find(({ id }) => id === "terms");
  const sites = figure?.kind === "heatmap" ? (figure.panels[0]?.rows.labels ?? []) : [];
  const at = sites.indexOf("blocks.2.attn.o");
  const values = [...(arrays["lost"]?.data ?? [])];
  const positions = values.length / sites.length;
  expect(at).toBeGreaterThanOrEqual(0);
  values.forEach((value, index) => {
    if (Math.floor(index / positions) !== at) expect(Math.abs(value)).toBeLessThan(1e-4); // what rounding leaves, as in the self-checks
  });
  // In the last layer's attention output only the asked token's own term reaches the answer, and with it all of the effect.
  expect(values[(at + 1) * positions - 1]).toBeCloseTo(1, 3);
});
