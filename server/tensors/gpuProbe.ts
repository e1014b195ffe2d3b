/**
 * Asks whether a GPU provider of ONNX Runtime works here, and whether it is worth using.
 * In a process of its own: a driver that crashes or prints must not take the workbench with it.
 */
import "./noTelemetry.ts";
import { execFile } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { platform } from "node:os";
import { cudaLibraries, setCudaDefaults } from "./engineFolder.ts";
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
const { path, provider, model, size, koffi, libraries } = JSON.parse(process.argv[1]);
for (const library of libraries) require(koffi).load(library, { global: true });
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
  const koffi = createRequire(import.meta.url).resolve("koffi");
  setCudaDefaults();
  const libraries = provider === "cuda" ? cudaLibraries() : [];
  const question = JSON.stringify({ path, provider, size, koffi, libraries, model: Buffer.from(bytes).toString("base64") });
  return new Promise((resolve) => {
    execFile(process.execPath, ["-e", script, question], { timeout: probeTimeoutMs }, (error, stdout, stderr) => {
      resolve(readAnswer(stdout, stderr, error));
    });
  });
}

/** What the probe wrote, in words. */
export function readAnswer(stdout: string, stderr: string, error: Error | null): GpuProbe {
  let answer: { gpu?: { ms: number; value: number }; cpu?: { ms: number; value: number }; error?: string };
  try {
    answer = JSON.parse(stdout) as typeof answer;
  } catch {
    return { works: false, detail: error ? `the probe ended early: ${error.message.split("\n")[0]}` : "the probe said nothing" };
  }
  if (!answer.gpu || !answer.cpu) return { works: false, detail: shortReason(answer.error ?? "unknown", stderr) };
  const { gpu, cpu } = answer;
  const detail = `a ${size}³ product takes ${gpu.ms.toFixed(1)} ms there, ${cpu.ms.toFixed(1)} ms on the CPU`;
  // Small integers: exact in float32 on any correct device.
  if (gpu.value !== cpu.value) return { works: false, detail: `it computes ${gpu.value} where the CPU computes ${cpu.value}` };
  return { works: true, gpuMs: gpu.ms, cpuMs: cpu.ms, detail };
}

/** The cause, from ONNX Runtime's message and what the loader wrote beside it; source paths and signatures are left out. */
function shortReason(message: string, stderr: string): string {
  const failure = /CUDA failure \d+: [^;]*/.exec(message) ?? /CUDA failure \d+: [^;]*/.exec(stderr);
  if (failure) return failure[0].trim();
  const missing = /([\w.+-]+\.so[\w.]*): cannot open shared object file/.exec(`${stderr}\n${message}`)?.[1];
  if (missing === "libcuda.so.1") return "libcuda.so.1 is not here: an NVIDIA driver for CUDA 13 is needed (580 or newer)";
  if (missing !== undefined) return `${missing} is not here (deltascope setup cuda)`;
  const lines = message.trim().split("\n");
  return (lines.at(-1) ?? "").replace(/^.*was false\. /, "");
}
