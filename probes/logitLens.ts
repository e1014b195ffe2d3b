/** Logit lens: every layer's residual read straight through the final norm and the unembedding, base and adapted in one pass. */
import * as z from "zod";
import { logSumExp } from "../server/runs/metrics.ts";
import { layerHooks } from "../server/models/siteNames.ts";
import { baseSetting } from "../server/runs/worlds.ts";
import { float32, type FloatTensor } from "../server/tensors/hostTensor.ts";
import { layerAxis, positionAxis } from "./axes.ts";
import { defineProbe } from "./defineProbe.ts";
import { everyHookFired } from "./hooksFired.ts";
import { promptText, readPrompt } from "./promptPair.ts";
import type { Metric, ProbeEvent, TokenGridFigure } from "./result.ts";

const params = z.strictObject({
  prompt: promptText.describe("Prompt to read, text or token ids"),
  topK: z.int().min(1).max(50).default(10).describe("Tokens kept in each cell"),
});
type Params = z.infer<typeof params>;

const probability: Metric = { id: "probability", label: "probability of the top token", unit: "0 to 1", scale: "sequential", domain: [0, 1] };
const divergence: Metric = { id: "kl", label: "KL of adapted from base", unit: "nats", scale: "sequential" };

export const logitLens = defineProbe<Params>({
  title: "Lens",
  summary: "What would the model say if it stopped at each layer, with and without the adapter?",
  source: "nostalgebraist 2020, “interpreting GPT: the logit lens”",
  needs: "activations",
  adapters: { min: 0, max: 16 },
  params,
  async *run(subject, { prompt: text, topK }, signal): AsyncGenerator<ProbeEvent, void, void> {
    const runner = subject.runner!;
    const { nLayers, dModel, dVocab } = runner.model.config;
    const prompt = readPrompt(subject, text, "prompt");
    const positions = prompt.ids.length;
    const k = Math.min(topK, dVocab);
    const withAdapters = Object.values(subject.setting.strengths).some((strength) => strength !== 0);
    const settings = withAdapters ? [baseSetting, subject.setting] : [baseSetting];
    const panels = withAdapters ? (["base", "adapted", "difference"] as const) : (["base"] as const);
    for (const panel of panels) {
      yield { type: "array", name: `${panel}.value`, shape: [nLayers + 1, positions], axes: ["layer", "position"] };
      yield { type: "array", name: `${panel}.top_ids`, shape: [nLayers + 1, positions, k], axes: ["layer", "position", "rank"] };
      yield { type: "array", name: `${panel}.top_values`, shape: [nLayers + 1, positions, k], axes: ["layer", "position", "rank"] };
    }
    const hooks = [...layerHooks(runner.model.plan, "hook_resid_pre"), ...layerHooks(runner.model.plan, "hook_resid_post").slice(-1)];
    yield { type: "cost", worlds: settings.length, bytes: runner.tapBytes(hooks, settings.length, positions) + 4 * settings.length * positions * dVocab };
    yield { type: "progress", done: 0, total: nLayers + 1, unit: "layers" };
    const seen = new Set<number>();
    const { taps, logits: final } = await runner.forward({ tokens: settings.map(() => prompt.ids), settings, taps: hooks, logits: "all", signal });

    let lensError = Infinity;
    for (let row = nLayers; row >= 0; row--) {
      const resid = taps[hooks[row] ?? ""];
      if (!resid) continue;
      const logits = await runner.readOut(float32(resid.data, [settings.length, positions, dModel]), settings);
      if (row === nLayers) lensError = relativeError(logits, final!);
      for (const [panelIndex, panel] of panels.entries()) {
        const cells = Array.from({ length: positions }, (_, pos) => cellOf(panel, logits, panelIndex, pos, positions, dVocab, k));
        for (const cell of cells) cell.ids.forEach((id) => seen.add(id));
        yield { type: "tile", array: `${panel}.value`, offset: row * positions, data: Float32Array.from(cells, (cell) => cell.value) };
        yield { type: "tile", array: `${panel}.top_ids`, offset: row * positions * k, data: Float32Array.from(cells.flatMap((cell) => cell.ids)) };
        yield { type: "tile", array: `${panel}.top_values`, offset: row * positions * k, data: Float32Array.from(cells.flatMap((cell) => cell.values)) };
      }
      yield { type: "figure", figure: figure(panels, nLayers, prompt.tokens, Object.fromEntries([...seen].map((id) => [id, subject.tokenText(id)]))) };
      yield { type: "progress", done: nLayers + 1 - row, total: nLayers + 1, unit: "layers" };
    }
    yield { type: "check", check: { name: "last row is the model's output", ok: lensError <= 1e-4, value: lensError, expected: "logits equal within 1e-4" } };
    yield everyHookFired(hooks, taps);
  },
});

interface LensCell {
  readonly value: number;
  readonly ids: number[];
  readonly values: number[];
}

/** base, adapted: top tokens by probability. difference: KL(adapted ‖ base), tokens by their share of it. */
function cellOf(
  panel: "base" | "adapted" | "difference",
  logits: FloatTensor,
  row: number,
  pos: number,
  positions: number,
  dVocab: number,
  k: number,
): LensCell {
  const at = (batch: number) => logits.data.subarray((batch * positions + pos) * dVocab, (batch * positions + pos + 1) * dVocab);
  if (panel !== "difference") {
    const own = at(row);
    const logZ = logSumExp(own);
    const ids = topIndices(own, k);
    const values = ids.map((id) => Math.exp(own[id]! - logZ));
    return { value: values[0]!, ids, values };
  }
  const [base, adapted] = [at(0), at(1)];
  const [logZBase, logZAdapted] = [logSumExp(base), logSumExp(adapted)];
  const share = new Float32Array(dVocab);
  let kl = 0;
  for (let i = 0; i < dVocab; i++) {
    const logP = adapted[i]! - logZAdapted;
    share[i] = Math.exp(logP) * (logP - (base[i]! - logZBase));
    kl += share[i]!;
  }
  const ids = topIndices(share, k);
  return { value: Math.max(0, kl), ids, values: ids.map((id) => share[id]!) };
}

/** Indices of the k largest values, largest first. */
export function topIndices(values: Float32Array, k: number): number[] {
  const best: number[] = [];
  for (let i = 0; i < values.length; i++) {
    if (best.length === k && values[i]! <= values[best[k - 1]!]!) continue;
    let at = best.length;
    while (at > 0 && values[best[at - 1]!]! < values[i]!) at--;
    best.splice(at, 0, i);
    if (best.length > k) best.pop();
  }
  return best;
}

function relativeError(found: FloatTensor, expected: FloatTensor): number {
  let scale = 1e-9;
  let error = 0;
  for (let i = 0; i < expected.data.length; i++) {
    scale = Math.max(scale, Math.abs(expected.data[i]!));
    error = Math.max(error, Math.abs(expected.data[i]! - found.data[i]!));
  }
  return error / scale;
}

function figure(
  panels: readonly ("base" | "adapted" | "difference")[],
  nLayers: number,
  tokens: readonly string[],
  texts: Record<number, string>,
): TokenGridFigure {
  const titles = { base: "Base", adapted: "Adapted", difference: "Adapted − base" };
  return {
    kind: "tokenGrid",
    id: "lens",
    title: "Logit lens",
    subtitle:
      panels.length > 1
        ? "Residual before each block read as a prediction · base and adapted: top token and its probability · difference: KL in " +
          "nats, and the token that gains most"
        : "Residual before each block read as a prediction: top token and its probability",
    rows: layerAxis(nLayers, "out"),
    cols: positionAxis(tokens),
    panels: panels.map((panel) => ({
      id: panel,
      title: titles[panel],
      metric: panel === "difference" ? divergence : probability,
      values: { array: `${panel}.value` },
      topIds: { array: `${panel}.top_ids` },
      topValues: { array: `${panel}.top_values` },
    })),
    tokens: texts,
  };
}
