/** Logit lens: every layer's residual read straight through the final norm and the unembedding, base and adapted in one pass. */
import * as z from "zod";
import { layerHooks } from "../server/models/siteNames.ts";
import { baseSetting } from "../server/runs/worlds.ts";
import { float32, type FloatTensor } from "../server/tensors/hostTensor.ts";
import { defineProbe } from "./defineProbe.ts";
import { everyHookFired } from "./hooksFired.ts";
import { changeCell, predictionCell, type LensCell } from "./lens/lensCells.ts";
import { lensArrays, lensFigure, lensRow, type LensPanel } from "./lens/lensFigure.ts";
import { promptText, readPrompt } from "./promptPair.ts";
import type { ProbeEvent } from "./result.ts";

export const logitLens = defineProbe({
  title: "Lens",
  summary: "What would the model say if it stopped at each layer, with and without the adapter?",
  source: "nostalgebraist 2020, “interpreting GPT: the logit lens”",
  needs: "activations",
  adapters: { min: 0, max: 16 },
  params: z.strictObject({
    prompt: promptText.describe("Prompt to read, text or token ids"),
    topK: z.int().min(1).max(50).default(10).describe("Tokens kept in each cell"),
  }),
  async *run(subject, { prompt: text, topK }, signal): AsyncGenerator<ProbeEvent, void, void> {
    const runner = subject.runner!;
    const { nLayers, dModel, dVocab } = runner.model.config;
    const prompt = readPrompt(subject, text, "prompt");
    const positions = prompt.ids.length;
    const k = Math.min(topK, dVocab);
    const withAdapters = Object.values(subject.setting.strengths).some((strength) => strength !== 0);
    const settings = withAdapters ? [baseSetting, subject.setting] : [baseSetting];
    const panels: readonly LensPanel[] = withAdapters ? ["base", "adapted", "difference"] : ["base"];
    yield* lensArrays(panels, nLayers + 1, positions, k);
    const hooks = [...layerHooks(runner.model.plan, "hook_resid_pre"), ...layerHooks(runner.model.plan, "hook_resid_post").slice(-1)];
    yield { type: "cost", worlds: settings.length, bytes: runner.tapBytes(hooks, settings.length, positions) + 4 * settings.length * positions * dVocab };
    yield { type: "progress", done: 0, total: nLayers + 1, unit: "layers" };
    const texts: Record<number, string> = {};
    const { taps, logits: final } = await runner.forward({ tokens: settings.map(() => prompt.ids), settings, taps: hooks, logits: "all", signal });

    let lensError = Infinity;
    for (let row = nLayers; row >= 0; row--) {
      const resid = taps[hooks[row] ?? ""];
      if (!resid) continue;
      const logits = await runner.readOut(float32(resid.data, [settings.length, positions, dModel]), settings);
      if (row === nLayers) lensError = relativeError(logits, final!);
      const at = (setting: number, position: number) =>
        logits.data.subarray((setting * positions + position) * dVocab, (setting * positions + position + 1) * dVocab);
      const cellOf: Record<LensPanel, (position: number) => LensCell> = {
        base: (position) => predictionCell(at(0, position), k),
        adapted: (position) => predictionCell(at(1, position), k),
        difference: (position) => changeCell(at(0, position), at(1, position), k),
      };
      for (const panel of panels) {
        const cells = prompt.ids.map((_, position) => cellOf[panel](position));
        for (const id of cells.flatMap(({ ids }) => ids)) texts[id] ??= subject.tokenText(id);
        yield* lensRow(panel, row, cells);
      }
      yield { type: "figure", figure: lensFigure(panels, nLayers, prompt.tokens, { ...texts }) };
      yield { type: "progress", done: nLayers + 1 - row, total: nLayers + 1, unit: "layers" };
    }
    yield { type: "check", check: { name: "last row is the model's output", ok: lensError <= 1e-4, value: lensError, expected: "logits equal within 1e-4" } };
    yield everyHookFired(hooks, taps);
  },
});

/** Largest difference, as a share of the largest number that was expected. */
function relativeError(found: FloatTensor, expected: FloatTensor): number {
  let scale = 1e-9;
  let error = 0;
  for (const [i, value] of expected.data.entries()) {
    scale = Math.max(scale, Math.abs(value));
    error = Math.max(error, Math.abs(value - (found.data[i] ?? NaN)));
  }
  return error / scale;
}
