/** The two probes that need weights only, on every reference adapter, and on adapters spoiled on purpose. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { adapterHealth } from "../../probes/adapterHealth.ts";
import { deltaSpectrum } from "../../probes/deltaSpectrum.ts";
import type { Probe } from "../../probes/probe.ts";
import { applyEvent, emptyResult, type ProbeResult, type TableFigure } from "../../probes/result.ts";
import { baseWeight } from "../../server/adapters/loadAdapter.ts";
import { parseSafetensors, writeSafetensors } from "../../server/formats/safetensors.ts";
import { modelSites } from "../../server/models/modelSites.ts";
import { openSubject, type Subject } from "../../server/runs/subject.ts";
import { denseProduct } from "../../server/linalg/factored.ts";
import { readGolden, referenceDir, relativeError } from "../laws/goldens.ts";
import { lawEngine } from "../lawEngine.ts";

const names = readdirSync(join(referenceDir, "adapters"));
const scratch = mkdtempSync(join(tmpdir(), "deltascope-weight-probes-"));
afterAll(() => rmSync(scratch, { recursive: true }));

const open = (path: string, base: string | null, others: readonly string[] = []) =>
  openSubject(
    {
      model: base === null ? null : join(referenceDir, "families", base),
      adapters: [path, ...others].map((each, i) => ({ path: each, name: `a${i}`, strength: 1 })),
    },
    { engine: lawEngine },
  );

async function run(probe: Probe, subject: Subject, params: Record<string, unknown> = {}): Promise<ProbeResult> {
  let result = emptyResult;
  for await (const event of probe.run(subject, params, new AbortController().signal)) result = applyEvent(result, event);
  return result;
}

const table = (result: ProbeResult, id: string) => result.figures.find((figure): figure is TableFigure => figure.kind === "table" && figure.id === id)!;

/** A copy of a reference adapter with tensors changed in place. */
function spoiled(name: string, change: (tensor: string, values: Float32Array, shape: readonly number[]) => void): string {
  const folder = join(scratch, `${name}-${readdirSync(scratch).length}`);
  cpSync(join(referenceDir, "adapters", name), folder, { recursive: true });
  const file = join(folder, "adapter_model.safetensors");
  const { tensors, metadata } = parseSafetensors(readFileSync(file));
  writeSafetensors(
    file,
    [...tensors].map(([tensor, { shape, data }]) => {
      const values = Float32Array.from(data as Float32Array);
      change(tensor, values, shape);
      return { name: tensor, shape, data: values };
    }),
    metadata,
  );
  return folder;
}

describe.each(names)("%s", (name) => {
  const path = join(referenceDir, "adapters", name);

  it("has one named spectrum a site, the same with and without its base, and every self-check passes", async () => {
    const golden = readGolden("adapters", name, "golden.safetensors");
    const subject = await open(path, golden.metadata["base"]!);
    const withBase = await run(deltaSpectrum, subject);
    expect(withBase.checks.filter((check) => !check.ok)).toEqual([]);
    for (const site of subject.adapters[0]!.sites.values()) expect(withBase.arrays[`${site.site}.singular_values`]?.shape, site.site).toEqual([site.rank]);

    const alone = await open(path, null);
    const without = await run(deltaSpectrum, alone);
    const byModule = new Map([...subject.adapters[0]!.sites.values()].map((site) => [site.modulePath, site.site]));
    expect(alone.adapters[0]!.sites.size).toBe(byModule.size);
    for (const site of alone.adapters[0]!.sites.values()) {
      const [found, expected] = [without.arrays[`${site.site}.singular_values`]!, withBase.arrays[`${byModule.get(site.modulePath)!}.singular_values`]!];
      expect(found.data).toEqual(expected.data);
    }
  });

  it("is healthy: every site trained and finite, norms relative to W as computed from the whole matrices", async () => {
    const golden = readGolden("adapters", name, "golden.safetensors");
    const subject = await open(path, golden.metadata["base"]!);
    const { arrays, checks, figures, finding } = await run(adapterHealth, subject, { prompt: golden.ids("ids")[0] });
    expect(checks.filter((check) => !check.ok)).toEqual([]);
    expect(finding).toBeNull();
    expect(table({ ...emptyResult, figures }, "loaded").rows[0]!.cells["notLoaded"]).toBe("everything was loaded");
    expect(Math.max(...arrays["kl"]!.data)).toBeGreaterThan(0);
    const known = new Map(modelSites(subject.model!.family, subject.model!.config).map((site) => [site.fullName, site]));
    const expected = [...subject.adapters[0]!.sites.values()].map(
      (site) => Math.hypot(...denseProduct(site.factors)) / Math.hypot(...baseWeight(subject.model!, known.get(site.site)!).data()),
    );
    const found = table({ ...emptyResult, figures }, "sites").rows.map(({ cells }) => Number(cells["relative"]));
    // Norms of float32 products.
    expect(relativeError(Float32Array.from(found), Float32Array.from(expected))).toBeLessThan(1e-5);
  });
});

describe("deltaSpectrum", () => {
  it("puts the adapter's name before the site's only when there are several", async () => {
    const golden = readGolden("adapters", "llama-list", "golden.safetensors");
    const both = await open(join(referenceDir, "adapters", "llama-list"), golden.metadata["base"]!, [join(referenceDir, "adapters", "llama-rslora")]);
    const { arrays } = await run(deltaSpectrum, both, { alignWith: 0 });
    const spectra = Object.keys(arrays).filter((array) => array.endsWith(".singular_values"));
    expect(spectra.length).toBe(both.adapters[0]!.sites.size + both.adapters[1]!.sites.size);
    expect(spectra.every((array) => /^a[01]\.blocks\./.test(array))).toBe(true);
  });

  it("shows an adapter of zeros as zeros, and says so", async () => {
    const untrained = spoiled("gpt2-all", (tensor, values) => {
      if (tensor.includes("lora_B")) values.fill(0);
    });
    const { arrays, checks, finding, figures } = await run(deltaSpectrum, await open(untrained, "gpt2"));
    expect(checks.every((check) => check.ok)).toBe(true);
    for (const [array, { data }] of Object.entries(arrays)) if (array.endsWith(".singular_values")) expect(data.every((value) => value === 0)).toBe(true);
    expect(finding).toContain("0 at every site");
    expect(table({ ...emptyResult, figures }, "table").rows.every((row) => row.warning?.includes("not trained"))).toBe(true);
  });

  it("names the site whose weights are NaN, and shows the others", async () => {
    const broken = spoiled("gpt2-all", (tensor, values) => {
      if (tensor.includes("h.1.") && tensor.includes("c_fc") && tensor.includes("lora_A")) values[0] = NaN;
    });
    const subject = await open(broken, null);
    expect(subject.card.adapters[0]?.warnings.join()).toMatch(/h\.1\..*c_fc.*lora_A.* holds 1 NaN/);
    const { figures } = await run(deltaSpectrum, subject);
    const rows = figures.flatMap((figure) => (figure.kind === "table" ? figure.rows : []));
    expect(rows.filter(({ warning }) => /NaN/.test(warning ?? "")).map(({ cells }) => cells["site"])).toEqual([expect.stringMatching(/L1\..*c_fc/)]);
    expect(rows.filter(({ cells }) => Number(cells["norm"]) > 0).length).toBe(rows.length - 1);
  });

  it("finds ΔW along W when it was made of W's own leading direction, and far from it otherwise", async () => {
    const subject = await open(join(referenceDir, "adapters", "gpt2-c_attn"), "gpt2");
    const [site] = subject.adapters[0]!.sites.values();
    const spec = modelSites(subject.model!.family, subject.model!.config).find(({ fullName }) => fullName === site!.site)!;
    const w = baseWeight(subject.model!, spec).data();
    // u = W v after a few steps of the power method: ΔW = u vᵀ lies in W's leading pair of directions.
    let v: number[] = Array.from({ length: site!.dIn }, (_, i) => Math.sin(i + 1));
    const at = (o: number, i: number) => (spec.stored === "outIn" ? w[o * site!.dIn + i]! : w[i * site!.dOut + o]!);
    const forth = (x: readonly number[]) => Array.from({ length: site!.dOut }, (_, o) => x.reduce((sum, value, i) => sum + at(o, i) * value, 0));
    for (let step = 0; step < 200; step++) {
      const u = forth(v);
      const back = v.map((_, i) => u.reduce((sum, value, o) => sum + at(o, i) * value, 0));
      v = back.map((value) => value / Math.hypot(...back));
    }
    const u = forth(v);
    const planted = spoiled("gpt2-c_attn", (tensor, values, shape) => {
      if (!tensor.includes("h.0.")) return;
      const columns = shape[1]!;
      values.fill(0);
      if (tensor.includes("lora_A")) values.set(v);
      else
        u.forEach((value, o) => {
          values[o * columns] = value;
        });
    });
    const { arrays } = await run(deltaSpectrum, await open(planted, "gpt2"), { alignWith: 2 });
    for (const id of ["align_in", "align_out"]) {
      expect(arrays[id]!.data[0]).toBeGreaterThan(0.999);
      expect(arrays[id]!.data[1]).toBeLessThan(0.9);
    }
  });
});

describe("adapterHealth", () => {
  it("counts sites with B = 0 and rank-one terms that are 0, and says which", async () => {
    const path = spoiled("gpt2-all", (tensor, values, shape) => {
      if (tensor.includes("h.0.") && tensor.includes("c_fc") && tensor.includes("lora_B")) values.fill(0);
      if (tensor.includes("h.1.") && tensor.includes("c_fc") && tensor.includes("lora_A")) values.fill(0, 0, shape[1]);
    });
    const result = await run(adapterHealth, await open(path, "gpt2"));
    expect(result.checks.filter((check) => !check.ok).map((check) => check.value)).toEqual([1]);
    expect(result.finding).toMatch(/^1 of \d+ sites have ΔW = 0/);
    const notes = table(result, "sites")
      .rows.filter((row) => row.warning)
      .map(({ cells, warning }) => `${cells["site"]}: ${warning}`);
    expect(notes).toEqual(["L0.mlp.in: B is 0: not trained, does nothing", expect.stringMatching(/^L1\.mlp\.in: 1 of \d+ rank-one terms are 0$/)]);
  });

  it("reports NaN as a failed check and a named site, and finishes", async () => {
    const path = spoiled("gpt2-all", (tensor, values) => {
      if (tensor.includes("h.2.") && tensor.includes("c_attn") && tensor.includes("lora_A")) values[1] = Infinity;
    });
    const result = await run(adapterHealth, await open(path, null));
    expect(result.checks.find((check) => check.name === "every weight is finite")).toMatchObject({ ok: false, value: 1 });
    expect(
      table(result, "sites")
        .rows.filter((row) => row.warning)
        .map(({ warning }) => warning),
    ).toEqual(["holds NaN or infinity"]);
  });
});
