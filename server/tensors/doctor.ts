/** What this installation runs on, as plain data and as text for a terminal. */
import { packageVersion as ownVersion } from "../packageFolder.ts";
import { arch, availableParallelism, cpus, freemem, platform, release, totalmem } from "node:os";
import * as tf from "@tensorflow/tfjs-core";
import { chooseEngine, measuredEngines, type Measured } from "./chooseEngine.ts";
import type { EngineName } from "./engine.ts";
import { measuredBlocks, milliseconds, usualBlockParameters, type MeasuredBlock } from "./engineSpeeds.ts";
import { packageVersion } from "./engineVersions.ts";
import { isBusy } from "./speedFile.ts";
import { availableEngines, type EngineAvailability } from "./providers.ts";

export interface ChosenFor {
  /** "small models (…)" */
  readonly models: string;
  readonly engine: EngineName;
  readonly why: string;
}

export interface DoctorReport {
  readonly versions: { readonly deltascope: string; readonly node: string; readonly onnxruntime: string; readonly tfjs: string };
  readonly platform: string;
  readonly cpu: string;
  readonly threads: number;
  readonly memoryBytes: { readonly total: number; readonly free: number };
  readonly engines: readonly EngineAvailability[];
  /** Null where there is one candidate, which nobody had to measure. */
  readonly measured: Measured | null;
  readonly chosen: readonly ChosenFor[];
}

/** Sizes at which the choice is shown. */
const sizes = [
  { models: "small models (the demo)", model: { parameters: 1.3e6, blockParameters: 12 * 128 ** 2 } },
  { models: "middle ones (GPT-2 small)", model: { parameters: 124e6, blockParameters: usualBlockParameters } },
  { models: "large ones (Llama 1B)", model: { parameters: 1.24e9, blockParameters: 61e6 } },
];

/** @throws "engine.unknown", "engine.unavailable" when `requested` cannot be used */
export async function doctorReport(requested?: string): Promise<DoctorReport> {
  const measured = await measuredEngines({ isPatient: true });
  const chosen: ChosenFor[] = [];
  for (const { models, model } of sizes) {
    const { engine, why } = await chooseEngine({ ...(requested === undefined ? {} : { engine: requested }), model });
    await engine.dispose();
    chosen.push({ models, engine: engine.name, why });
  }
  return {
    versions: {
      deltascope: ownVersion,
      node: process.version,
      onnxruntime: packageVersion("onnxruntime-node") ?? "not installed",
      tfjs: tf.version_core,
    },
    platform: `${platform()} ${release()} ${arch()}`,
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    threads: availableParallelism(),
    memoryBytes: { total: totalmem(), free: freemem() },
    engines: await availableEngines(),
    measured,
    chosen,
  };
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

/** The report as lines for a terminal. */
export function formatDoctor(report: DoctorReport): string {
  const { versions, memoryBytes, chosen } = report;
  const width = Math.max(...report.engines.map(({ name }) => name.length));
  const isChosen = (name: EngineName) => chosen.some(({ engine }) => engine === name);
  const engines = report.engines.map(
    ({ name, available, reason, detail }) =>
      `  ${isChosen(name) ? "→" : " "} ${name.padEnd(width)}  ${available ? "yes" : "no "}  ${available ? `${reason} (${detail})` : reason}`,
  );
  return [
    `deltascope ${versions.deltascope} · node ${versions.node} · onnxruntime-node ${versions.onnxruntime} · tfjs ${versions.tfjs}`,
    `${report.platform} · ${report.cpu} · ${report.threads} threads · ${gib(memoryBytes.total)} memory, ${gib(memoryBytes.free)} free`,
    "engines:",
    ...engines,
    ...measuredLines(report.measured, width),
    ...chosenLines(chosen),
    "",
  ].join("\n");
}

const blockWords = ({ width, rows }: MeasuredBlock): string => `${rows} rows at width ${width}`;

function measuredLines(measured: Measured | null, width: number): string[] {
  if (!measured) return ["measured: nothing, as there is one candidate"];
  const { table, kept } = measured;
  const busy = isBusy(table) ? [`    others were at work (load ${table.load.toFixed(1)}): these times are taken again on another occasion`] : [];
  return [
    `measured ${table.measuredAt}, a transformer block of ${blockWords(measuredBlocks.small)} and of ${blockWords(measuredBlocks.large)} (${kept}):`,
    ...Object.entries(table.engines).map(([name, speed]) => {
      const words = "failed" in speed ? `no time: ${speed.failed}` : `${milliseconds(speed.small).padStart(8)}  ${milliseconds(speed.large).padStart(8)}`;
      return `    ${name.padEnd(width)}  ${words}`;
    }),
    ...busy,
  ];
}

/** One line where size makes no difference to what is said. */
function chosenLines(chosen: readonly ChosenFor[]): string[] {
  const [first] = chosen;
  if (first && chosen.every(({ why }) => why === first.why)) return [`chosen: ${first.why}`];
  return chosen.map(({ models, why }) => `chosen for ${models}: ${why}`);
}
