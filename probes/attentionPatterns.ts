/** Attention patterns of every head, base and adapted, and where they differ. */
import * as z from "zod";
import { WorkbenchError } from "../server/errors.ts";
import { layerHooks } from "../server/models/siteNames.ts";
import { baseSetting } from "../server/runs/worlds.ts";
import { defineProbe } from "./defineProbe.ts";
import { everyHookFired } from "./hooksFired.ts";
import { promptText, readPrompt } from "./promptPair.ts";
import type { AttentionFigure, Metric, ProbeEvent } from "./result.ts";

const params = z.strictObject({
  prompt: promptText.describe("Prompt to read, text or token ids"),
});
type Params = z.infer<typeof params>;

/** The server and every page that watches hold the whole of it. */
const mostArrayBytes = 512 * 2 ** 20;

const weightMetric: Metric = { id: "attention", label: "attention", unit: "share of the row, 0 to 1", scale: "sequential", domain: [0, 1] };
const changeMetric: Metric = { id: "change", label: "change in attention", unit: "adapted − base", scale: "diverging", domain: [-1, 1] };

export const attentionPatterns = defineProbe<Params>({
  title: "Attention",
  summary: "Where does each head look, and which heads did the adapter turn?",
  source: "attn.hook_pattern of TransformerLens; total variation between rows",
  needs: "activations",
  adapters: { min: 0, max: 16 },
  params,
  async *run(subject, { prompt: text }, signal): AsyncGenerator<ProbeEvent, void, void> {
    const runner = subject.runner!;
    const { nLayers, nHeads } = runner.model.config;
    const prompt = readPrompt(subject, text, "prompt");
    const positions = prompt.ids.length;
    const withAdapters = Object.values(subject.setting.strengths).some((strength) => strength !== 0);
    const settings = withAdapters ? [baseSetting, subject.setting] : [baseSetting];
    const names = withAdapters ? (["base", "adapted", "difference"] as const) : (["base"] as const);
    const perHead = positions * positions;
    const arrayBytes = 4 * names.length * nLayers * nHeads * perHead;
    if (arrayBytes > mostArrayBytes)
      throw new WorkbenchError(
        "run.overBudget",
        `all patterns of ${nLayers} × ${nHeads} heads over ${positions} tokens are ${(arrayBytes / 2 ** 20).toFixed(0)} MiB; ` +
          `expected at most ${mostArrayBytes / 2 ** 20} MiB. Use a prompt of at most ` +
          `${Math.floor(Math.sqrt(mostArrayBytes / 4 / names.length / nLayers / nHeads))} tokens`,
      );
    for (const name of names) yield { type: "array", name, shape: [nLayers, nHeads, positions, positions], axes: ["layer", "head", "destination", "source"] };
    if (withAdapters) yield { type: "array", name: "turn", shape: [nLayers, nHeads], axes: ["layer", "head"] };
    yield { type: "figure", figure: figure(names, nLayers, nHeads, prompt.tokens) };
    const hooks = layerHooks(runner.model.plan, "attn.hook_pattern");
    yield { type: "cost", worlds: settings.length, bytes: runner.tapBytes(hooks, settings.length, positions) };

    const { taps } = await runner.forward({ tokens: settings.map(() => prompt.ids), settings, taps: hooks, logits: "none", signal });
    let rowError = 0;
    for (const [layer, hook] of hooks.entries()) {
      const both = taps[hook]?.data;
      if (!both) continue;
      const size = nHeads * perHead;
      const base = both.subarray(0, size);
      rowError = rowSums(both, positions).reduce((worst, sum) => Math.max(worst, Math.abs(sum - 1)), rowError);
      yield { type: "tile", array: "base", offset: layer * size, data: base.slice() };
      if (!withAdapters) continue;
      const adapted = both.subarray(size, 2 * size);
      const difference = adapted.map((value, i) => value - base[i]!);
      yield { type: "tile", array: "adapted", offset: layer * size, data: adapted.slice() };
      yield { type: "tile", array: "difference", offset: layer * size, data: difference };
      yield {
        type: "tile",
        array: "turn",
        offset: layer * nHeads,
        data: Float32Array.from({ length: nHeads }, (_, head) => totalVariation(difference.subarray(head * perHead, (head + 1) * perHead), positions)),
      };
    }
    yield { type: "check", check: { name: "attention rows sum to 1", ok: rowError <= 1e-4, value: rowError, expected: "0 within 1e-4" } };
    yield everyHookFired(hooks, taps);
  },
});

/** Mean over destinations of ½ Σ |difference|: 0 = same rows, 1 = no overlap. */
function totalVariation(difference: Float32Array, positions: number): number {
  return difference.reduce((sum, value) => sum + Math.abs(value), 0) / (2 * positions);
}

function rowSums(patterns: Float32Array, positions: number): number[] {
  return Array.from({ length: patterns.length / positions }, (_, row) =>
    patterns.subarray(row * positions, (row + 1) * positions).reduce((sum, value) => sum + value, 0),
  );
}

function figure(names: readonly ("base" | "adapted" | "difference")[], layers: number, heads: number, tokens: readonly string[]): AttentionFigure {
  const titles = { base: "Base", adapted: "Adapted", difference: "Adapted − base" };
  return {
    kind: "attention",
    id: "attention",
    title: "Attention patterns",
    subtitle: names.length > 1 ? "Heads ordered by how far the adapter turned them · rows look, columns are looked at" : "Rows look, columns are looked at",
    tokens,
    layers,
    heads,
    panels: names.map((name) => ({ id: name, title: titles[name], metric: name === "difference" ? changeMetric : weightMetric, values: { array: name } })),
    ...(names.length > 1 ? { order: { array: "turn" } } : {}),
  };
}
