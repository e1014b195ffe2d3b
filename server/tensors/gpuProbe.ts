/**
 * Asks whether a GPU provider of ONNX Runtime works here, and whether it is worth using.
 * In a process of its own: a driver that crashes or prints must not take the workbench with it.
 */
import "./noTelemetry.ts";
import { execFile } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { platform } from "node:os";
import { Graph } from "./graph.ts";

export interface GpuProbe {
  readonly works: boolean;
  /** Milliseconds of a 512×512×512 product there and back, the best of three, on the provider and on the CPU. */
  readonly gpuMs?: number;
  readonly cpuMs?: number;
  readonly detail: string;
}

const size = 512;
// A driver may compile shaders at first use; a hung one must not hang the start.
const probeTimeoutMs = 30_000;

/** Device files a GPU driver makes; without one only a software driver could answer. Elsewhere than on Linux the system always has one. */
export function hasGpuDevice(): boolean {
  if (platform() !== "linux") return true;
  const render = existsSync("/dev/dri") ? readdirSync("/dev/dri").filter((name) => name.startsWith("renderD")) : [];
  return render.length > 0 || existsSync("/dev/nvidia0") || existsSync("/dev/dxg");
}

const script = `
const { path, provider, model, size } = JSON.parse(process.argv[1]);
const ort = require(path);
const bytes = Buffer.from(model, "base64");
const best = async (executionProviders) => {
  const session = await ort.InferenceSession.create(bytes, { executionProviders, logSeverityLevel: 4 });
  const data = Float32Array.from({ length: size * size }, (_, i) => (i % 7) - 3);
  const x = new ort.Tensor("float32", data, [size, size]);
  let ms = Infinity;
  let value = NaN;
  for (let i = 0; i < 4; i++) {
    const start = performance.now();
    const { y } = await session.run({ x });
    if (i > 0) ms = Math.min(ms, performance.now() - start);
    value = y.data[1];
  }
  return { ms, value };
};
(async () => {
  const gpu = await best([provider]);
  const cpu = await best(["cpu"]);
  process.stdout.write(JSON.stringify({ gpu, cpu }));
})().catch((error) => { process.stdout.write(JSON.stringify({ error: error.message })); });
`;

/** Runs one product on the provider, in a child process. */
export function probeGpu(provider: "webgpu" | "cuda"): Promise<GpuProbe> {
  const graph = new Graph({ fusedMatMul: false, broadcastPow: false, decodesHalves: false });
  const x = graph.input("x", [size, size], "float32");
  const { bytes } = graph.toModel({ y: graph.op("MatMul", [x, x], [size, size], "float32") });
  const path = createRequire(import.meta.url).resolve("onnxruntime-node");
  const question = JSON.stringify({ path, provider, size, model: Buffer.from(bytes).toString("base64") });
  return new Promise((resolve) => {
    execFile(process.execPath, ["-e", script, question], { timeout: probeTimeoutMs }, (error, stdout) => {
      resolve(readAnswer(stdout, error));
    });
  });
}

function readAnswer(stdout: string, error: Error | null): GpuProbe {
  let answer: { gpu?: { ms: number; value: number }; cpu?: { ms: number; value: number }; error?: string };
  try {
    answer = JSON.parse(stdout) as typeof answer;
  } catch {
    return { works: false, detail: error ? `the probe ended early: ${error.message.split("\n")[0]}` : "the probe said nothing" };
  }
  if (!answer.gpu || !answer.cpu) return { works: false, detail: shortReason(answer.error ?? "unknown") };
  const { gpu, cpu } = answer;
  const detail = `a ${size}³ product takes ${gpu.ms.toFixed(1)} ms there, ${cpu.ms.toFixed(1)} ms on the CPU`;
  // Small integers: exact in float32 on any correct device.
  if (gpu.value !== cpu.value) return { works: false, detail: `it computes ${gpu.value} where the CPU computes ${cpu.value}` };
  return { works: true, gpuMs: gpu.ms, cpuMs: cpu.ms, detail };
}

/** The end of ONNX Runtime's message; before it come source paths. */
function shortReason(message: string): string {
  const lines = message.trim().split("\n");
  return lines[lines.length - 1]!.replace(/^.*was false\. /, "");
}
