/** This machine's limits, and how near to them the workbench comes, as a table that one can act on. */
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { availableEngines, createEngine } from "../tensors/providers.ts";
import type { EngineName } from "../tensors/engine.ts";
import { copySpeed, productShapes, productSpeed, type ProductShape } from "./machineSpeed.ts";
import { nodeKinds } from "./nodeTimes.ts";
import { makeCheckpoint } from "./randomCheckpoint.ts";
import { timedWorkloads, type Workload } from "./workloads.ts";

interface Products {
  readonly engine: EngineName;
  readonly threads: number;
  /** By shape, floating point operations a second. */
  readonly speeds: readonly number[];
}
export interface LimitsReport {
  readonly processor: string;
  readonly load: number;
  readonly model: string;
  readonly shapes: readonly ProductShape[];
  readonly products: readonly Products[];
  /** Bytes a second, one thread. */
  readonly copying: number;
  readonly workloads: readonly Workload[];
}

/** Engines of one thread are measured once. */
const threaded: ReadonlySet<EngineName> = new Set(["onnx-cpu"]);

/**
 * @param modelFolder null measures four layers of GPT-2-small's width with random weights
 * @throws what opening the model throws
 */
export async function limitsReport(modelFolder: string | null, threads: number | undefined, say: (what: string) => void): Promise<LimitsReport> {
  const all = threads ?? availableParallelism();
  const products: Products[] = [];
  for (const { name, available } of await availableEngines()) {
    if (!available) continue;
    for (const count of threaded.has(name) && all > 1 ? [1, all] : [all]) {
      say(`products on ${name}, ${count === 1 ? "one thread" : `${count} threads`}`);
      const engine = await createEngine(name, threaded.has(name) ? { threads: count } : {});
      const speeds: number[] = [];
      for (const shape of productShapes) speeds.push(await productSpeed(engine, shape));
      await engine.dispose();
      products.push({ engine: name, threads: threaded.has(name) ? count : 1, speeds });
    }
  }
  const made = modelFolder === null ? mkdtempSync(join(tmpdir(), "deltascope-limits-")) : null;
  try {
    const folder = modelFolder ?? makeCheckpoint(made ?? "", "gpt2-4-layers");
    say("a forward, a sweep and a training step");
    return {
      processor: cpus()[0]?.model.trim() ?? "unknown",
      load: loadavg()[0] ?? 0,
      model: modelFolder ?? "4 layers of GPT-2-small's width, random weights",
      shapes: productShapes,
      products,
      copying: await copySpeed(),
      workloads: await timedWorkloads(folder, threads),
    };
  } finally {
    if (made !== null) rmSync(made, { recursive: true, force: true });
  }
}

/** The report as lines for a terminal. */
export function formatLimits(report: LimitsReport): string {
  const { shapes, products, copying, workloads } = report;
  const best = Math.max(...products.filter(({ engine }) => engine === "onnx-cpu").flatMap(({ speeds }) => speeds));
  const percent = (part: number, whole: number) => `${Math.round((100 * part) / whole)} %`;
  const giga = (value: number) => (value / 1e9).toFixed(value < 1e10 ? 1 : 0);
  return [
    `${report.processor} · load ${report.load.toFixed(1)}${
      report.load > 0.3 * availableParallelism() ? ": others are at work, so all of this is too " + "slow" : ""
    }`,
    "",
    "matrix products, GFLOP/s (rows × inner × columns), the fastest of nine",
    ...table([
      ["engine", "threads", ...shapes.map((shape) => shape.join("×"))],
      ...products.map(({ engine, threads, speeds }) => [engine, String(threads), ...speeds.map(giga)]),
    ]),
    "",
    `copying memory, one thread: ${giga(copying)} GB/s read and written`,
    "",
    `where the time goes on onnx-cpu: ${report.model}`,
    ...table([
      ["what", "ms", ...nodeKinds, "ONNX Runtime", "JavaScript", "products at"],
      ...workloads.map(({ name, wall, seconds, runs, operations }) => {
        const nodes = nodeKinds.reduce((sum, kind) => sum + seconds[kind], 0);
        return [
          name,
          (1000 * wall).toFixed(1),
          ...nodeKinds.map((kind) => percent(seconds[kind], wall)),
          percent(Math.max(0, runs - nodes), wall),
          percent(Math.max(0, wall - runs), wall),
          `${giga(operations / seconds.products)} GFLOP/s, ${percent(operations / seconds.products, best)} of the best`,
        ];
      }),
    ]),
    "",
  ].join("\n");
}

/** Columns under their heads, the first to the left, the others to the right. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => `  ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  ")}`);
}
