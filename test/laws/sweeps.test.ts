/** The sweep planner against one forward pass a world, against TransformerLens's patching, and on a mechanism planted by hand. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { writeSafetensors } from "../../server/formats/safetensors.ts";
import { gpt2 } from "../../server/models/gpt2.ts";
import { openSubject, type Subject } from "../../server/runs/subject.ts";
import { naiveSweep, sweep, type SweepRequest } from "../../server/runs/sweep.ts";
import { baseSetting, type World } from "../../server/runs/worlds.ts";
import { sizeOf } from "../../server/tensors/hostTensor.ts";
import { applyEvent, emptyResult, type ProbeResult } from "../../probes/result.ts";
import { activationPatching } from "../../probes/activationPatching.ts";
import { readGolden, referenceDir, relativeError } from "./goldens.ts";
import { rows } from "./sweepRows.ts";
import { lawEngine } from "../lawEngine.ts";

const tolerance = 1e-4;

async function runProbe(subject: Subject, params: Record<string, unknown>): Promise<ProbeResult> {
  let result = emptyResult;
  for await (const event of activationPatching.run(subject, params, new AbortController().signal)) result = applyEvent(result, event);
  return result;
}

describe.each([
  ["gpt2", "gpt2-all"],
  ["llama", "llama-all-linear"],
])("on %s with %s", (family, adapter) => {
  it("a sweep over every hook kind, head, position and component equals one forward pass a world", async () => {
    const subject = await openSubject(
      { model: join(referenceDir, "families", family), adapters: [{ path: join(referenceDir, "adapters", adapter), name: "a", strength: 1 }] },
      { engine: lawEngine },
    );
    const runner = subject.runner!;
    const tokens = [5, 9, 3, 44, 21, 60];
    const { taps } = await runner.forward({
      tokens: [[8, 9, 3, 40, 21, 61]],
      settings: [subject.setting],
      taps: [...runner.hooks.keys()].filter((name) => !name.startsWith("ln_final")),
      logits: "none",
    });
    const hooks = [
      "hook_embed",
      "blocks.0.hook_resid_pre",
      "blocks.1.hook_resid_mid",
      "blocks.1.hook_attn_out",
      "blocks.0.hook_mlp_out",
      "blocks.1.mlp.hook_post",
      "blocks.1.hook_resid_post",
    ];
    const worlds: World[] = hooks.flatMap((hook) =>
      [0, 3, 5].map((position) => ({ setting: subject.setting, edits: [{ hook, position, head: null, source: "from" }] })),
    );
    for (const head of [0, 1])
      for (const hook of ["attn.hook_z", "attn.hook_q", "attn.hook_v", "attn.hook_pattern"])
        worlds.push({ setting: subject.setting, edits: [{ hook: `blocks.1.${hook}`, position: null, head, source: "from" }] });
    for (const site of subject.adapters[0]!.sites.values())
      worlds.push({ setting: { ...subject.setting, components: [{ adapter: "a", site: site.site, component: 0, value: 0 }] }, edits: [] });
    worlds.push({ setting: baseSetting, edits: [] }, { setting: { strengths: { a: 0.5 } }, edits: [] });
    const request: SweepRequest = { runner, tokens, setting: subject.setting, worlds, sources: { from: taps }, position: tokens.length - 1 };
    const dVocab = runner.model.config.dVocab;
    const fast = await rows(sweep(request), worlds.length, dVocab);
    const naive = await rows(naiveSweep(request), worlds.length, dVocab);
    expect(relativeError(fast, naive)).toBeLessThan(tolerance);
  });
});

it("the patching probe has the numbers of TransformerLens's patching functions", async () => {
  const golden = readGolden("patching.safetensors");
  const subject = await openSubject({ model: join(referenceDir, "families", "gpt2"), adapters: [] }, { engine: lawEngine });
  const result = await runProbe(subject, {
    clean: golden.ids("clean")[0],
    corrupted: golden.ids("corrupted")[0],
    answer: Number(golden.metadata["answer"]),
    counterAnswer: Number(golden.metadata["counter_answer"]),
    contrast: "cleanIntoCorrupted",
    activations: ["resid_pre", "resid_mid", "attn_out", "mlp_out", "heads"],
  });
  const diff = result.arrays["logit_diff"]!;
  const size = diff.data.length / 4;
  ["resid_pre", "resid_mid", "attn_out", "mlp_out"].forEach((kind, panel) => {
    expect(relativeError(diff.data.slice(panel * size, (panel + 1) * size), golden.floats(kind)), kind).toBeLessThan(tolerance);
  });
  expect(relativeError(result.arrays["heads.logit_diff"]!.data, golden.floats("attn_head_out_all_pos"))).toBeLessThan(tolerance);
  expect(result.checks.filter((check) => !check.ok)).toEqual([]);
});

it("clean patched into clean changes nothing", async () => {
  const subject = await openSubject({ model: join(referenceDir, "families", "gpt2"), adapters: [] }, { engine: lawEngine });
  const runner = subject.runner!;
  const tokens = [5, 9, 3, 44];
  const { taps, logits } = await runner.forward({
    tokens: [tokens],
    settings: [baseSetting],
    taps: ["blocks.1.hook_resid_pre", "blocks.2.hook_mlp_out"],
    logits: { position: 3 },
  });
  const worlds: World[] = ["blocks.1.hook_resid_pre", "blocks.2.hook_mlp_out"].flatMap((hook) =>
    tokens.map((_, position) => ({ setting: baseSetting, edits: [{ hook, position, head: null, source: "self" }] })),
  );
  const found = await rows(sweep({ runner, tokens, setting: baseSetting, worlds, sources: { self: taps }, position: 3 }), worlds.length, logits!.data.length);
  worlds.forEach((_, i) => expect(relativeError(found.slice(i * logits!.data.length, (i + 1) * logits!.data.length), logits!.data)).toBeLessThan(1e-6));
});

it("a world's edits of one hook all count, and where two meet the later stands", async () => {
  const subject = await openSubject({ model: join(referenceDir, "families", "gpt2"), adapters: [] }, { engine: lawEngine });
  const runner = subject.runner!;
  const tokens = [5, 9, 3, 44, 21];
  const hook = "blocks.1.hook_resid_mid";
  const tapsOf = async (ids: number[]) => (await runner.forward({ tokens: [ids], settings: [baseSetting], taps: [hook], logits: "none" })).taps;
  const [own, one, other] = [await tapsOf(tokens), await tapsOf([8, 2, 7, 40, 20]), await tapsOf([1, 3, 6, 41, 22])];
  const edit = (position: number, source: string) => ({ hook, position, head: null, source });
  const worlds = [
    [edit(1, "one"), edit(3, "one")],
    [edit(1, "one"), edit(3, "other")],
    [edit(2, "one"), edit(2, "other")],
  ].map((edits): World => ({ setting: baseSetting, edits }));
  // The same by one edit at all positions, of values put together here.
  const width = own[hook]!.data.length / tokens.length;
  const patched = worlds.map(({ edits }) => {
    const data = own[hook]!.data.slice();
    for (const { position, source } of edits) {
      const from = (source === "one" ? one : other)[hook]!.data;
      data.set(from.subarray(position! * width, (position! + 1) * width), position! * width);
    }
    return { ...own[hook]!, data };
  });
  const whole = worlds.map((_, i): World => ({ setting: baseSetting, edits: [{ hook, position: null, head: null, source: `by hand ${i}` }] }));
  const sources = { one, other, ...Object.fromEntries(patched.map((values, i) => [`by hand ${i}`, { [hook]: values }])) };
  const request = { runner, tokens, setting: baseSetting, sources, position: 4 };
  const dVocab = runner.model.config.dVocab;
  const expected = await rows(sweep({ ...request, worlds: whole }), worlds.length, dVocab);
  expect(relativeError(await rows(sweep({ ...request, worlds }), worlds.length, dVocab), expected)).toBeLessThan(1e-6);
  expect(relativeError(await rows(naiveSweep({ ...request, worlds }), worlds.length, dVocab), expected)).toBeLessThan(1e-6);
});

describe("a mechanism planted by hand", () => {
  // Every map is zero but L1H1's value and output: that head copies what the differing token (position 2) holds to wherever it is read.
  const [nLayers, nHeads, d, dHead, vocab, planted] = [3, 2, 16, 8, 12, { layer: 1, head: 1, position: 2 }];
  function plantedModel(): string {
    const dir = mkdtempSync(join(tmpdir(), "planted-"));
    const raw = { model_type: "gpt2", n_layer: nLayers, n_head: nHeads, n_embd: d, vocab_size: vocab, n_positions: 8 };
    writeFileSync(join(dir, "config.json"), JSON.stringify(raw));
    const config = gpt2.parseConfig(raw, "planted");
    const specs = gpt2.plan(config).flatMap(({ layer, params }) => params.map((spec) => ({ ...spec, layer })));
    const tensors = specs
      .filter((spec) => spec.name !== "W_U")
      .map((spec) => {
        const data = new Float32Array(sizeOf(spec.shape));
        if (/ln.*\.w$/.test(spec.name)) data.fill(1);
        if (spec.name === "W_E") for (let token = 0; token < vocab; token++) data[token * d + token] = 2;
        // v = first dHead inputs
        if (spec.name === "attn.W_qkv" && spec.layer === planted.layer) for (let i = 0; i < dHead; i++) data[i * 3 * d + 2 * d + planted.head * dHead + i] = 1;
        if (spec.name === "attn.W_O" && spec.layer === planted.layer)
          for (let i = 0; i < dHead; i++) data[(planted.head * dHead + i) * d + ((i + 4) % vocab)] = 8; // writes token i + 4
        return { name: `transformer.${spec.key}`, shape: spec.shape, data };
      });
    writeSafetensors(join(dir, "model.safetensors"), tensors);
    return dir;
  }

  it("is found at exactly that head, and on exactly that token's path", async () => {
    const subject = await openSubject({ model: plantedModel(), adapters: [] }, { engine: lawEngine });
    const result = await runProbe(subject, {
      clean: [9, 10, 2, 11, 8],
      corrupted: [9, 10, 3, 11, 8],
      answer: 6,
      counterAnswer: 7,
      contrast: "cleanIntoCorrupted",
      activations: ["resid_pre", "attn_out", "mlp_out", "heads"],
    });
    const at = (name: string, index: readonly number[]) => {
      const array = result.arrays[name]!;
      return array.data[index.reduce((flat, i, axis) => flat * array.shape[axis]! + i, 0)]!;
    };
    for (let layer = 0; layer < nLayers; layer++) {
      for (let head = 0; head < nHeads; head++)
        expect(at("heads.normalized", [layer, head])).toBeCloseTo(layer === planted.layer && head === planted.head ? 1 : 0, 4);
      for (let position = 0; position < 5; position++) {
        const carries = layer <= planted.layer ? position === planted.position : position === 4;
        expect(at("normalized", [0, layer, position]), `resid_pre ${layer} ${position}`).toBeCloseTo(carries ? 1 : 0, 4);
        expect(at("normalized", [1, layer, position]), `attn_out ${layer} ${position}`).toBeCloseTo(layer === planted.layer && position === 4 ? 1 : 0, 4);
        expect(at("normalized", [2, layer, position])).toBeCloseTo(0, 4);
      }
    }
    expect(result.checks.filter((check) => !check.ok)).toEqual([]);
    expect(result.finding).toMatch(/brings back 100 %/);
  });
});
