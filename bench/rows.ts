/** What the bench measures: a row a question, ours beside the peer that answers the same one. */
import type { CheckpointName } from "../server/limits/randomCheckpoint.ts";

export interface Row {
  readonly label: string;
  /** A measurement of measure.ts. */
  readonly ours: string;
  /** A function of peers.py, and whose it is. */
  readonly peer?: { readonly call: string; readonly name: string };
  readonly checkpoint: CheckpointName | "demo";
  /** Part of `--quick`. */
  readonly quick?: true;
}

const transformerLens = (call: string) => ({ call, name: "transformer_lens" });
const peft = (call: string) => ({ call, name: "peft" });

export const rows: readonly Row[] = [
  { label: "open", ours: "opening", peer: { call: "opening", name: "transformers" }, checkpoint: "gpt2-124m" },
  { label: "forward 1×128, every hook cached", ours: "forward_with_cache", peer: transformerLens("forward_with_cache"), checkpoint: "gpt2-124m", quick: true },
  { label: "layer × position sweep, 16 tokens", ours: "resid_sweep", peer: transformerLens("resid_sweep"), checkpoint: "gpt2-124m", quick: true },
  { label: "layer × position sweep, 64 tokens", ours: "resid_sweep_64", checkpoint: "gpt2-124m" },
  { label: "layer × head sweep, 16 tokens", ours: "head_sweep", peer: transformerLens("head_sweep"), checkpoint: "gpt2-124m" },
  { label: "LoRA r=8 training step, 1×128", ours: "lora_step", peer: peft("lora_step"), checkpoint: "gpt2-124m" },
  { label: "LoRA r=8 training step, 4×128", ours: "lora_step_4", peer: peft("lora_step_4"), checkpoint: "gpt2-124m", quick: true },
  { label: "spectra, 7B shape, 224 sites, rank 16", ours: "spectra", peer: { call: "spectra", name: "torch QR + SVD" }, checkpoint: "gpt2-124m", quick: true },
  { label: "spectra, 70B shape, 560 sites, rank 64", ours: "spectra_70b", checkpoint: "gpt2-124m" },
  { label: "forward 1×128, every hook cached", ours: "forward_with_cache", peer: transformerLens("forward_with_cache"), checkpoint: "llama-small" },
  { label: "layer × position sweep, 16 tokens", ours: "resid_sweep", peer: transformerLens("resid_sweep"), checkpoint: "llama-small" },
  { label: "LoRA r=8 training step, 4×128", ours: "lora_step_4", peer: peft("lora_step_4"), checkpoint: "llama-small" },
  { label: "open", ours: "opening", checkpoint: "llama-1b-bf16" },
  { label: "forward 1×16", ours: "forward_16", checkpoint: "llama-1b-bf16" },
  { label: "layer × position sweep, 16 tokens", ours: "resid_sweep", checkpoint: "llama-1b-bf16" },
  { label: "patching, model opened, to the first tile", ours: "demo_first_tile", checkpoint: "demo", quick: true },
  { label: "patching, the whole probe", ours: "demo_patching", checkpoint: "demo", quick: true },
];
