/**
 * `npm run bench`: ours and the peers', side by side in one run, on checkpoints with random weights at real sizes.
 * Every measurement is a process of its own; ours and theirs alternate, medians are compared. Python is used when
 * $BENCH_PYTHON (or python3) has torch, transformer_lens and peft; without it only our column is filled, and it says so.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { workerNodeFlags } from "../server/jobs/workerProcess.ts";
import { makeCheckpoint, type CheckpointName } from "./checkpoints.ts";

interface Row {
  readonly label: string;
  readonly ours: string;
  readonly theirs: string | null;
  readonly peer: string;
  readonly checkpoint: CheckpointName;
  readonly repeats: number;
}

const rows: readonly Row[] = [
  { label: "open", ours: "opening", theirs: "opening", peer: "transformers", checkpoint: "gpt2-124m", repeats: 3 },
  {
    label: "forward 1×128, every hook cached",
    ours: "forward_with_cache",
    theirs: "forward_with_cache",
    peer: "transformer_lens",
    checkpoint: "gpt2-124m",
    repeats: 7,
  },
  { label: "layer × position sweep, 16 tokens", ours: "resid_sweep", theirs: "resid_sweep", peer: "transformer_lens", checkpoint: "gpt2-124m", repeats: 3 },
  { label: "layer × head sweep, 16 tokens", ours: "head_sweep", theirs: "head_sweep", peer: "transformer_lens", checkpoint: "gpt2-124m", repeats: 3 },
  { label: "LoRA r=8 training step, 1×128", ours: "lora_step", theirs: "lora_step", peer: "peft", checkpoint: "gpt2-124m", repeats: 5 },
  { label: "LoRA r=8 training step, 4×128", ours: "lora_step_4", theirs: "lora_step_4", peer: "peft", checkpoint: "gpt2-124m", repeats: 5 },
  { label: "LoRA r=8 training step, 4×128", ours: "lora_step_4", theirs: "lora_step_4", peer: "peft", checkpoint: "llama-small", repeats: 5 },
  {
    label: "spectra of a 7B-shape adapter, 224 sites, rank 16",
    ours: "spectra",
    theirs: "spectra",
    peer: "torch QR + SVD",
    checkpoint: "gpt2-124m",
    repeats: 3,
  },
  {
    label: "forward 1×128, every hook cached",
    ours: "forward_with_cache",
    theirs: "forward_with_cache",
    peer: "transformer_lens",
    checkpoint: "llama-small",
    repeats: 7,
  },
  { label: "layer × position sweep, 16 tokens", ours: "resid_sweep", theirs: "resid_sweep", peer: "transformer_lens", checkpoint: "llama-small", repeats: 3 },
  { label: "open", ours: "opening", theirs: null, peer: "", checkpoint: "llama-1b-bf16", repeats: 1 },
  { label: "forward 1×16", ours: "forward_16", theirs: null, peer: "", checkpoint: "llama-1b-bf16", repeats: 1 },
  { label: "layer × position sweep, 16 tokens", ours: "resid_sweep", theirs: null, peer: "", checkpoint: "llama-1b-bf16", repeats: 1 },
];

const here = fileURLToPath(new URL(".", import.meta.url));
const root = join(process.env["BENCH_DIR"] ?? tmpdir(), "deltascope-bench");
mkdirSync(root, { recursive: true });
const python = process.env["BENCH_PYTHON"] ?? "python3";
const only = process.argv[2];
const hasPeers = spawnSync(python, ["-c", "import torch, transformer_lens, peft"], { stdio: "ignore" }).status === 0;

interface Measured {
  readonly median: number;
  readonly peakBytes: number;
}

/** Twice, ours and theirs in turn, as a machine is not equally quiet all the time. */
const rounds = 2;

function both(first: Timed | string, second: Timed | string): Measured | string {
  if (typeof first === "string") return first;
  if (typeof second === "string") return second;
  const sorted = [...first.seconds, ...second.seconds].toSorted((a, b) => a - b);
  return { median: sorted[Math.floor(sorted.length / 2)]!, peakBytes: Math.max(first.peakBytes, second.peakBytes) };
}

interface Timed {
  readonly seconds: readonly number[];
  readonly peakBytes: number;
}

function run(command: string, args: readonly string[]): Timed | string {
  const done = spawnSync(command, args, { encoding: "utf8", maxBuffer: 1 << 26 });
  const line = done.stdout.trim().split("\n").at(-1) ?? "";
  if (done.status !== 0 || !line.startsWith("{")) return (done.stderr.trim().split("\n").at(-1) ?? "failed").slice(0, 120);
  return JSON.parse(line) as Timed;
}

const print = (text: string) => process.stdout.write(`${text}\n`);
const milliseconds = (measured: Measured) => `${(measured.median * 1000).toFixed(measured.median < 0.1 ? 1 : 0)} ms`;
const gigabytes = (measured: Measured) => `${(measured.peakBytes / 2 ** 30).toFixed(2)} GB`;

print(
  `${cpus().length} × ${cpus()[0]?.model ?? "unknown processor"}, node ` +
    `${process.version}${hasPeers ? "" : ` · ${python} has no torch, transformer_lens and peft: peers are left out`}`,
);
print("| checkpoint | what | ours | peer | ratio | our peak | its peak |");
print("|---|---|---|---|---|---|---|");
const results: Record<string, unknown>[] = [];
for (const row of rows) {
  if (only !== undefined && !`${row.checkpoint} ${row.label}`.includes(only)) continue;
  const path = makeCheckpoint(root, row.checkpoint);
  const { theirs: peer } = row;
  const all = Array.from({ length: rounds }, () => ({
    ours: run(process.execPath, [...workerNodeFlags, "--import", "tsx", join(here, "measure.ts"), row.ours, path, String(row.repeats)]),
    theirs: hasPeers && peer ? run(python, [join(here, "peers.py"), peer, path, String(row.repeats)]) : null,
  }));
  const [one, two] = [all[0]!, all[1]!];
  const ours = both(one.ours, two.ours);
  const theirs = one.theirs && two.theirs ? both(one.theirs, two.theirs) : null;
  const cell = (measured: Measured | string | null, show: (m: Measured) => string) =>
    measured === null ? "" : typeof measured === "string" ? `failed: ${measured}` : show(measured);
  const ratio = ours && theirs && typeof ours !== "string" && typeof theirs !== "string" ? `${(theirs.median / ours.median).toPrecision(3)}×` : "";
  print(
    `| ${row.checkpoint} | ${row.label} | ${cell(ours, milliseconds)} | ` +
      `${cell(theirs, milliseconds)}${row.peer && theirs ? ` ${row.peer}` : ""} | ${ratio} | ${cell(ours, gigabytes)} | ${cell(theirs, gigabytes)} |`,
  );
  results.push({ ...row, ours, theirs });
}
writeFileSync(join(root, "bench.json"), JSON.stringify(results, null, 2));
print(`\nNumbers: ${join(root, "bench.json")}`);
