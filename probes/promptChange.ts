/** What the adapters change on one prompt: KL(adapted ‖ base) of the prediction after each token. */
import { klDivergence } from "../server/runs/metrics.ts";
import type { Runner } from "../server/runs/runner.ts";
import { baseSetting, type AdapterSetting } from "../server/runs/worlds.ts";
import type { Prompt } from "./promptPair.ts";
import type { BarsFigure, ProbeEvent } from "./result.ts";

export async function* promptChange(runner: Runner, prompt: Prompt, setting: AdapterSetting, signal: AbortSignal): AsyncGenerator<ProbeEvent, void, void> {
  const { logits } = await runner.forward({ tokens: [prompt.ids, prompt.ids], settings: [baseSetting, setting], logits: "all", signal });
  const { dVocab } = runner.model.config;
  const positions = prompt.ids.length;
  const at = (row: number, pos: number) => logits!.data.subarray((row * positions + pos) * dVocab, (row * positions + pos + 1) * dVocab);
  const kl = Float32Array.from({ length: positions }, (_, pos) => klDivergence(at(1, pos), at(0, pos)));
  yield { type: "array", name: "kl", shape: [positions], axes: ["position"] };
  yield { type: "tile", array: "kl", offset: 0, data: kl };
  yield { type: "figure", figure: figure(prompt.tokens) };
  const largest = Math.max(...kl);
  yield { type: "check", check: { name: "the adapter changes the output", ok: largest > 1e-6, value: largest, expected: "KL above 1e-6 at some position" } };
}

const figure = (tokens: readonly string[]): BarsFigure => ({
  kind: "bars",
  id: "kl",
  title: "What the adapter changes on this prompt",
  subtitle: "KL of the adapted from the base prediction after each token",
  metrics: [{ id: "kl", label: "KL of adapted from base", unit: "nats", scale: "sequential" }],
  bars: tokens.map((token, position) => ({ label: token, group: "", place: { position } })),
  values: { kl: { array: "kl" } },
});
