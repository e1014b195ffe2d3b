/** What this installation runs on, as plain data and as text for a terminal. */
import { packageVersion as ownVersion } from "../packageFolder.ts";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { arch, availableParallelism, cpus, freemem, platform, release, totalmem } from "node:os";
import * as tf from "@tensorflow/tfjs-core";
import { availableEngines, chooseEngine, type EngineAvailability } from "./providers.ts";
import type { EngineName } from "./engine.ts";

export interface DoctorReport {
  readonly versions: { readonly deltascope: string; readonly node: string; readonly onnxruntime: string; readonly tfjs: string };
  readonly platform: string;
  readonly cpu: string;
  readonly threads: number;
  readonly memoryBytes: { readonly total: number; readonly free: number };
  readonly engines: readonly EngineAvailability[];
  readonly chosen: EngineName;
  readonly why: string;
}

/** @throws "engine.unknown", "engine.unavailable" when `requested` cannot be used */
export async function doctorReport(requested?: string): Promise<DoctorReport> {
  const { engine, why } = await chooseEngine(requested);
  await engine.dispose();
  return {
    versions: {
      deltascope: ownVersion,
      node: process.version,
      onnxruntime: packageVersion("onnxruntime-node"),
      tfjs: tf.version_core,
    },
    platform: `${platform()} ${release()} ${arch()}`,
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    threads: availableParallelism(),
    memoryBytes: { total: totalmem(), free: freemem() },
    engines: await availableEngines(),
    chosen: engine.name,
    why,
  };
}

function packageVersion(name: string): string {
  try {
    return versionIn(createRequire(import.meta.url).resolve(`${name}/package.json`));
  } catch {
    return "not installed";
  }
}

function versionIn(path: string): string {
  try {
    return (JSON.parse(readFileSync(path, "utf8")) as { version: string }).version;
  } catch {
    return "unknown";
  }
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

/** The report as lines for a terminal. */
export function formatDoctor(report: DoctorReport): string {
  const { versions, memoryBytes } = report;
  const width = Math.max(...report.engines.map(({ name }) => name.length));
  const engines = report.engines.map(
    ({ name, available, reason, detail }) =>
      `  ${name === report.chosen ? "→" : " "} ${name.padEnd(width)}  ${available ? "yes" : "no "}  ${available ? `${reason} (${detail})` : reason}`,
  );
  return [
    `deltascope ${versions.deltascope} · node ${versions.node} · onnxruntime-node ${versions.onnxruntime} · tfjs ${versions.tfjs}`,
    `${report.platform} · ${report.cpu} · ${report.threads} threads · ${gib(memoryBytes.total)} memory, ${gib(memoryBytes.free)} free`,
    "engines:",
    ...engines,
    `chosen: ${report.why}`,
    "",
  ].join("\n");
}
