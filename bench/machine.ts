/** What a figure was measured on, and who else was at work meanwhile. */
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, totalmem } from "node:os";

const told = ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile"];

/** "2 × Intel Xeon … (avx2 fma avx512f), 15.6 GiB, node v20.20.2, load 0.3" */
export function machineText(): string {
  const flags =
    linesOf("/proc/cpuinfo")
      .find((line) => line.startsWith("flags"))
      ?.split(/\s+/) ?? [];
  const has = told.filter((flag) => flags.includes(flag));
  const model = (cpus()[0]?.model ?? "unknown processor").trim();
  return [
    `${availableParallelism()} × ${model}${has.length > 0 ? ` (${has.join(" ")})` : ""}`,
    `${(totalmem() / 2 ** 30).toFixed(1)} GiB`,
    `node ${process.version}`,
    `load ${(loadavg()[0] ?? 0).toFixed(1)}`,
  ].join(", ");
}

/** Time the processors spent since the start of the machine, in ticks: of everybody, and of `pids` and what they started. */
function ticks(pid: number): { all: number; ours: number } {
  const all = (linesOf("/proc/stat")[0] ?? "").split(/\s+/).slice(1).map(Number);
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = all;
  return { all: user + nice + system + irq + softirq + steal, ours: processTicks(pid) };
}

/** Of a process, its threads, and those of its children that have ended; the living ones are asked one by one. */
function processTicks(pid: number): number {
  const stat = linesOf(`/proc/${pid}/stat`)[0] ?? "";
  const fields = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .map(Number);
  const own = [11, 12, 13, 14].reduce((sum, at) => sum + (fields[at] ?? 0), 0);
  const children = linesOf(`/proc/${pid}/task/${pid}/children`)[0]?.trim().split(" ").filter(Boolean).map(Number) ?? [];
  return children.reduce((sum, child) => sum + processTicks(child), own);
}

/** Starts counting; the answer is the share of all processors that others used since, 0 to 1, or null where it cannot be told. */
export function watchOthers(): () => number | null {
  const [start, began] = [ticks(process.pid), performance.now()];
  return () => {
    const end = ticks(process.pid);
    const available = (100 * availableParallelism() * (performance.now() - began)) / 1000;
    return end.all === 0 ? null : Math.max(0, (end.all - start.all - (end.ours - start.ours)) / available);
  };
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, "utf8").split("\n");
  } catch {
    return [];
  }
}
