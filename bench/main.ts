/**
 * `npm run bench`: ours, the peers' and, with `--against REV`, those of an earlier revision, in turn on one machine.
 *
 * Each is a process of its own that stays open; a round measures each once, and the ratio is taken round by round, so that what
 * disturbs the machine disturbs both. A row ends when its ratios agree, or at its time. Python is used when $BENCH_PYTHON (or
 * python3) has torch, transformer_lens and peft; without it the peers' columns are empty, and it says so.
 */
import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { workerNodeFlags } from "../server/jobs/workerProcess.ts";
import { makeCheckpoint } from "../server/limits/randomCheckpoint.ts";
import { checkoutOf } from "./against.ts";
import { machineText, watchOthers } from "./machine.ts";
import { isSettled, median, ratioOf, ratioText, type Ratio } from "./ratios.ts";
import { rows, type Row } from "./rows.ts";
import { Side } from "./side.ts";

interface Flags {
  readonly quick?: true;
  readonly against?: string;
  readonly peers: boolean;
}
interface Result {
  readonly checkpoint: string;
  readonly label: string;
  readonly date: string;
  readonly machine: string;
  readonly ours: number;
  readonly peer: Ratio | null;
  readonly against: { readonly revision: string; readonly ratio: Ratio } | null;
  readonly others: number | null;
}

const repository = fileURLToPath(new URL("..", import.meta.url));
const root = join(process.env["BENCH_DIR"] ?? tmpdir(), "deltascope-bench");
const history = join(root, "bench.jsonl");
const python = process.env["BENCH_PYTHON"] ?? "python3";
/** Seconds that a row may take once its processes are ready, and rounds it takes at least. */
const rowSeconds = { quick: 12, all: 60 };
const leastRounds = 3;
/** Others at work on more than this share of the machine are told. */
const disturbing = 0.1;

const program = new Command("bench")
  .argument("[text]", "only the rows whose checkpoint and label hold this")
  .option("--quick", "the rows that matter most, in about three minutes")
  .option("--against <revision>", "build this revision too and measure it in turn")
  .option("--no-peers", "leave PyTorch out")
  .parse();
const flags = program.opts<Flags>();
const [only = ""] = program.args;

mkdirSync(root, { recursive: true });
const base = flags.against === undefined ? null : { revision: flags.against, folder: checkoutOf(repository, root, flags.against) };
const hasPeers = flags.peers && spawnSync(python, ["-c", "import torch, transformer_lens, peft"], { stdio: "ignore" }).status === 0;
const machine = machineText();
const print = (text: string) => process.stdout.write(`${text}\n`);
print(`${machine}${hasPeers || !flags.peers ? "" : ` · ${python} has no torch, transformer_lens and peft: peers are left out`}`);
print(`| checkpoint | what | ours | before | peer | its time over ours${base ? ` | ${base.revision}'s time over ours` : ""} | peak, ours and peer | |`);
print(`|---|---|---|---|---|---${base ? "|---" : ""}|---|---|`);
const earlier = pastResults();
for (const row of rows) {
  if (!`${row.checkpoint} ${row.label}`.includes(only) || (flags.quick && !row.quick)) continue;
  await measureRow(row);
}
print(`\nIntervals hold the median of the ratios in 95 of 100 cases, from six rounds on. Every result: ${history}`);

async function measureRow(row: Row): Promise<void> {
  const path = row.checkpoint === "demo" ? join(repository, "fixtures/demo/base") : makeCheckpoint(root, row.checkpoint);
  const measureIn = (folder: string) => ({
    command: process.execPath,
    args: [...workerNodeFlags, "--import", "tsx", join(folder, "bench/measure.ts"), row.ours, path],
    cwd: folder,
  });
  const ours = await Side.start(measureIn(repository));
  const before = base && (await Side.start(measureIn(base.folder)));
  const peer = hasPeers && row.peer ? await Side.start({ command: python, args: [join(repository, "bench/peers.py"), row.peer.call, path] }) : null;
  const sides = [ours, before, peer].filter((side): side is Side => side !== null);
  const ratios = () => [before, peer].flatMap((side) => (side === null || side.failed !== null ? [] : [ratioOf(ours.seconds, side.seconds)]));
  const others = watchOthers();
  const end = performance.now() + 1000 * (flags.quick ? rowSeconds.quick : rowSeconds.all);
  for (let round = 0; ours.failed === null && (round < leastRounds || (performance.now() < end && !ratios().every(isSettled))); round++) {
    // Whoever comes first in one round comes last in the next.
    for (const side of round % 2 === 0 ? sides : sides.toReversed()) await side.measure();
  }
  const shareOfOthers = others();
  for (const side of sides) await side.end();
  const ratioTo = (side: Side | null) => (side === null || side.failed !== null ? null : ratioOf(ours.seconds, side.seconds));
  const ratioCell = (side: Side | null) =>
    side === null ? "" : side.failed !== null ? `failed: ${side.failed}` : ratioText(ratioOf(ours.seconds, side.seconds));
  const last = earlier.get(`${row.checkpoint} ${row.label}`);
  print(
    `| ${[
      row.checkpoint,
      row.label,
      ours.failed === null ? milliseconds(median(ours.seconds)) : `failed: ${ours.failed}`,
      last ? `${milliseconds(last.ours)}${last.machine.split(",")[0] === machine.split(",")[0] ? "" : " elsewhere"}` : "",
      peer ? `${peer.failed === null ? milliseconds(median(peer.seconds)) : ""} ${row.peer?.name ?? ""}` : "",
      ratioCell(peer),
      ...(base ? [ratioCell(before)] : []),
      `${gigabytes(ours.peakBytes)}${peer?.failed === null ? ` ${gigabytes(peer.peakBytes)}` : ""}`,
      shareOfOthers !== null && shareOfOthers > disturbing ? `others used ${Math.round(100 * shareOfOthers)} % of the processors` : "",
    ].join(" | ")} |`,
  );
  const result: Result = {
    checkpoint: row.checkpoint,
    label: row.label,
    date: new Date().toISOString(),
    machine,
    ours: median(ours.seconds),
    peer: ratioTo(peer),
    against: base && before ? { revision: base.revision, ratio: ratioOf(ours.seconds, before.seconds) } : null,
    others: shareOfOthers,
  };
  appendFileSync(history, `${JSON.stringify(result)}\n`);
}

/** The last result of each row. */
function pastResults(): Map<string, Result> {
  if (!existsSync(history)) return new Map();
  const lines = readFileSync(history, "utf8").trim().split("\n").filter(Boolean);
  return new Map(lines.map((line) => JSON.parse(line) as Result).map((result) => [`${result.checkpoint} ${result.label}`, result]));
}

function milliseconds(seconds: number): string {
  return `${(seconds * 1000).toFixed(seconds < 0.1 ? 1 : 0)} ms`;
}

function gigabytes(bytes: number): string {
  return bytes === 0 ? "" : `${(bytes / 2 ** 30).toFixed(2)} GB`;
}
